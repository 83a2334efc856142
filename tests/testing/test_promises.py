"""How a promise is checked, tried on promises that are made up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink.testing.promises import Bench, Promises, a_while, check, eventually, expect, raising
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

MADE_UP = Promises()


@MADE_UP.add
async def it_is_kept(bench: Bench) -> None:
    """It is kept."""


@MADE_UP.add
async def it_is_broken(bench: Bench) -> None:
    """It would be kept."""
    async with anyio.create_task_group() as tasks:  # whose groups are not what is told
        tasks.start_soon(fail)
        await anyio.sleep_forever()


@MADE_UP.add
async def it_never_ends(bench: Bench) -> None:
    """It ends."""
    await anyio.sleep_forever()


@MADE_UP.add
async def it_raises(bench: Bench) -> None:
    """It raises nothing."""
    raise LookupError("nothing here")


async def fail() -> None:
    expect(False, "it is not")


@asynccontextmanager
async def pipe(capacity: int | None) -> AsyncIterator[Any]:
    yield chanlink.pipe(capacity)


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        ("it_is_broken", "this one does not keep the promise 'it_is_broken' (It would be kept): it is not"),
        ("it_never_ends", "does not keep the promise 'it_never_ends' (It ends): it was not done after 0.01 s"),
        ("it_raises", "(It raises nothing): LookupError was raised: nothing here"),
    ],
)
async def test_what_is_broken_is_told_in_the_words_of_the_promise(promise: str, words: str) -> None:
    patience = 0.01 if promise == "it_never_ends" else PATIENCE
    with pytest.raises(AssertionError) as caught:
        await check(MADE_UP, pipe, [promise], patience, "this one")
    assert words in str(caught.value)


async def test_what_is_kept_is_silent() -> None:
    await check(MADE_UP, pipe, ["it_is_kept"], PATIENCE, "this one")


async def test_a_bench_closes_all_ends_that_it_knows_and_none_that_it_was_told_to_forget() -> None:
    bench = Bench(pipe)
    (sender, receiver), (kept, _) = bench.pipe(), bench.pipe()
    near, far = bench.byte_pipe()
    bench.forget(kept)
    bench.close()
    for end in (sender, receiver, near, far):
        assert end.is_void
    assert not kept.is_void
    kept.close()
    nested = chanlink.pipe()
    bench.keep({"deep": [nested]})
    bench.close()
    assert nested[0].is_void
    assert nested[1].is_void


def test_a_block_that_has_to_raise_says_what_was_raised_instead() -> None:
    with raising(LookupError, "looking") as raised:
        raise KeyError("key")
    raised.carries(args=("key",))
    with pytest.raises(AssertionError, match=r"looking: the args is \('key',\), expected was 3"):
        raised.carries(args=3)
    nothing = pytest.raises(AssertionError, match="looking: nothing was raised, expected was LookupError")
    with nothing, raising(LookupError, "looking"):
        pass
    with pytest.raises(AssertionError, match=r"looking: ValueError\(\) was raised"), raising(LookupError, "looking"):
        raise ValueError


async def test_waiting_gives_all_others_their_turns() -> None:
    turns: list[int] = []

    async def count() -> None:
        for n in range(60):
            await anyio.lowlevel.checkpoint()
            turns.append(n)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await eventually(lambda: len(turns) == 60)
        del turns[:]
        tasks.start_soon(count)
        await a_while()
        assert len(turns) == 60
