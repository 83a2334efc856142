"""Blocks in tasks of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from chanlink.testing.hosting import hosting
from chanlink.testing.leaving import Leavings

pytestmark = pytest.mark.anyio

PLUMBING = "TestRunner._call_in_runner_task"


@asynccontextmanager
async def block(name: str, log: list[str], *, fails: str = "") -> AsyncIterator[str]:
    if fails == "entering":
        raise OSError(name)
    async with anyio.create_task_group():
        log.append(f"{name} entered")
        yield name
        log.append(f"{name} left")
    if fails == "leaving":
        raise OSError(name)


async def test_blocks_are_entered_within_any_scope_and_left_in_reverse_outside_of_it() -> None:
    log: list[str] = []
    async with hosting(Leavings(), PLUMBING) as hosts:
        async with anyio.create_task_group() as tasks:
            assert await hosts.enter(block("a", log)) == "a"
            tasks.cancel_scope.cancel()
        await hosts.enter(block("b", log))
    assert log == ["a entered", "b entered", "b left", "a left"]


async def test_an_error_of_entering_is_the_callers_and_one_of_leaving_comes_at_the_end() -> None:
    log: list[str] = []
    with pytest.raises(OSError, match="late"):
        async with hosting(Leavings(), PLUMBING) as hosts:
            with pytest.raises(OSError, match="early"):
                await hosts.enter(block("early", log, fails="entering"))
            await hosts.enter(block("late", log, fails="leaving"))
            await hosts.enter(block("last", log))
            await anyio.sleep(0)  # nobody is cancelled
    assert log == ["late entered", "last entered", "last left", "late left"]


async def test_an_exception_of_the_test_leaves_it_as_it_is() -> None:
    log: list[str] = []
    with pytest.raises(LookupError, match="mine"):
        async with hosting(Leavings(), PLUMBING) as hosts:
            await hosts.enter(block("a", log))
            raise LookupError("mine")
