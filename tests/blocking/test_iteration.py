"""What an async generator yields, in a ``for`` of a thread."""

import gc
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from chanlink import blocking
from tests.patience import PATIENCE

from .services import count


def test_all_items_come_in_order(loop: blocking.Loop) -> None:
    said: list[str] = []
    assert list(loop.iterate(count, 3, said)) == [0, 1, 2]
    assert said == ["0", "1", "2", "closed"]


def test_an_item_is_not_begun_before_it_is_asked_for(loop: blocking.Loop) -> None:
    said: list[str] = []
    with loop.iterate(count, 3, said) as numbers:
        assert said == []
        assert next(numbers) == 0
        loop.pipe()  # a turn of the event loop
        assert said == ["0"]
    assert said == ["0", "closed"]


def test_leaving_it_closes_the_generator(loop: blocking.Loop) -> None:
    said: list[str] = []
    numbers = loop.iterate(count, 3, said)
    assert next(numbers) == 0
    numbers.close()
    numbers.close()
    assert said == ["0", "closed"]
    with pytest.raises(RuntimeError, match="left"):
        next(numbers)


def test_breaking_out_of_the_loop_closes_it_soon(loop: blocking.Loop) -> None:
    said: list[str] = []
    for _number in loop.iterate(count, 3, said):
        break
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while "closed" not in said and time.monotonic() < deadline:
        time.sleep(0.001)
    assert said == ["0", "closed"]


def test_one_that_never_began_is_closed_too(loop: blocking.Loop) -> None:
    said: list[str] = []
    loop.iterate(count, 3, said).close()
    assert said == []


def test_an_error_of_the_generator_comes_out(loop: blocking.Loop) -> None:
    async def broken():  # type: ignore[no-untyped-def]
        yield 1
        raise LookupError("at two")

    numbers = loop.iterate(broken)
    assert next(numbers) == 1
    with pytest.raises(LookupError, match="at two"):
        next(numbers)


def test_ends_come_as_ends_for_threads(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe()

    async def give(end):  # type: ignore[no-untyped-def]
        yield {"end": end}

    for item in loop.iterate(give, sender):
        item["end"].send("through it")
    assert receiver.receive() == "through it"
    sender.close()
    receiver.close()


def test_threads_share_it_and_none_sees_the_end_before_it_is_there(loop: blocking.Loop) -> None:
    ended = False

    async def numbers() -> AsyncGenerator[int, None]:
        nonlocal ended
        for number in range(200):
            await anyio.sleep(0.0001)
            yield number
        ended = True

    iteration = loop.iterate(numbers)
    with ThreadPoolExecutor(4) as threads:
        shares = list(threads.map(lambda _: (list(iteration), ended), range(4)))
    assert sorted(number for share, _ in shares for number in share) == list(range(200))
    assert all(saw_end for _, saw_end in shares)


def test_a_thread_that_waits_when_another_one_leaves_it_sees_no_end(loop: blocking.Loop) -> None:
    waits = threading.Event()

    async def forever() -> AsyncGenerator[int, None]:
        waits.set()
        await anyio.sleep_forever()
        yield 1

    iteration = loop.iterate(forever)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(next, iteration, None)
        assert waits.wait(PATIENCE)
        iteration.close()
        with pytest.raises(RuntimeError, match="was left"):
            waiting.result(PATIENCE)
