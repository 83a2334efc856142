"""`blocking.loop`: async functions, blocks and select, for threads."""

import contextvars
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import blocking

from .services import add, fail


def test_an_async_function_is_called(loop: blocking.Loop) -> None:
    assert loop.call(add, 1, 2) == 3
    with pytest.raises(LookupError, match="so it is"):
        loop.call(fail)


def test_what_is_called_in_a_wrong_way_says_which_way_is_right(loop: blocking.Loop) -> None:
    async def count(to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number

    call: Any = loop.call
    iterate: Any = loop.iterate
    for verb in (call, iterate):
        with pytest.raises(TypeError, match="not what it gives when it is called"):
            verb(add(1, 2))
    with pytest.raises(TypeError, match="a stream of items, not one result: it is for iterate"):
        call(count, 3)
    with pytest.raises(TypeError, match="one result, not a stream of items: it is for call"):
        list(iterate(add, 1, 2))


def test_a_call_that_takes_too_long_is_cancelled(loop: blocking.Loop) -> None:
    seen = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cancelled")

    with pytest.raises(TimeoutError):
        loop.call(wait, timeout=0.01)
    assert seen == ["cancelled"]


def test_the_deadline_of_a_call_is_one_of_the_event_loop(loop: blocking.Loop) -> None:
    async def left() -> float:
        return anyio.current_effective_deadline() - anyio.current_time()

    assert 0 < loop.call(left, timeout=500) < 501
    assert loop.call(left) == float("inf")


def test_a_function_sees_the_context_variables_of_its_thread(loop: blocking.Loop) -> None:
    variable = contextvars.ContextVar("variable", default="none")

    async def look() -> str:
        return variable.get()

    def in_thread(value: str) -> str:
        variable.set(value)
        return loop.call(look)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(in_thread, "abcd")) == list("abcd")


def test_ends_go_into_async_functions_and_come_out(loop: blocking.Loop) -> None:
    async def take(receiver: chanlink.Receiver[Any], others: list[chanlink.ByteStream]) -> dict[str, Any]:
        assert isinstance(others[0], chanlink.ByteStream)
        return {"got": await receiver.receive(), "back": receiver}

    sender, receiver = loop.pipe()
    left, right = loop.byte_pipe()
    sender.send("hello")
    outcome = loop.call(take, receiver, [left])
    assert outcome["got"] == "hello"
    sender.send("again")
    assert outcome["back"].receive() == "again"
    for end in (sender, receiver, left, right):
        end.close()


def test_an_async_block_is_entered_and_left_by_one_task(loop: blocking.Loop) -> None:
    tasks = []

    @asynccontextmanager
    async def block() -> AsyncGenerator[str, None]:
        tasks.append(anyio.get_current_task().id)
        async with anyio.create_task_group():
            yield "value"
        tasks.append(anyio.get_current_task().id)

    with loop.enter(block()) as value:
        assert value == "value"
        loop.call(add, 1, 1)
    assert len(tasks) == 2
    assert len(set(tasks)) == 1


def test_select_takes_one_of_what_is_ready(loop: blocking.Loop) -> None:
    one, ones = loop.pipe()
    other, others = loop.pipe(1)
    with one, ones, other, others:
        with pytest.raises(TimeoutError):
            loop.select(ones, others, timeout=0)
        with pytest.raises(TimeoutError):
            loop.select(ones, others, timeout=0.01)
        one.send("first")
        selected = loop.select(others, ones, timeout=0)
        assert (selected.index, selected.channel, selected.value) == (1, ones, "first")
        selected = loop.select(ones, other.sending("second"))
        assert (selected.index, selected.channel, others.receive()) == (1, other, "second")
        one.close()
        selected = loop.select(ones, others)
        assert isinstance(selected.error, chanlink.EndOfChannel)
        assert loop.select(one.closing(), others).index == 0


def test_a_select_waits_for_another_thread(loop: blocking.Loop) -> None:
    (one, ones), (_other, others) = loop.pipe(), loop.pipe()
    timer = threading.Timer(0.01, one.send, ["late"])
    timer.start()
    assert loop.select(ones, others).value == "late"
    timer.join()
    with pytest.raises(TypeError, match="must be a receiver"):
        loop.select(5)  # type: ignore[arg-type]


def test_many_calls_at_once(loop: blocking.Loop) -> None:
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda n: loop.call(add, n, n), range(1000))) == [n + n for n in range(1000)]


def test_a_loop_that_is_left_cancels_what_still_runs(backend: dict[str, Any]) -> None:
    began = threading.Event()

    async def wait() -> None:
        began.set()
        await anyio.sleep_forever()

    with ThreadPoolExecutor() as threads:
        with blocking.loop(**backend) as loop:
            waiting = threads.submit(loop.call, wait)
            began.wait(60)
        with pytest.raises(RuntimeError, match="left"):
            waiting.result(60)
