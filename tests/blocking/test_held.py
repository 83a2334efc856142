"""An async block that is held for a thread: entering and leaving, also when that is broken off."""

import gc
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from chanlink import blocking
from tests.patience import PATIENCE


@asynccontextmanager
async def block(seen: list[str], *, suppress: bool = False, fail: bool = False) -> AsyncGenerator[str, None]:
    await anyio.sleep(0)
    seen.append("entered")
    try:
        yield "value"
    except LookupError:
        seen.append("lookup error")
        if not suppress:
            raise
    finally:
        seen.append("left")
    if fail:
        raise OSError("while it was left")


def test_it_is_left_as_the_block_is(loop: blocking.Loop) -> None:
    seen: list[str] = []
    with loop.enter(block(seen)) as value:
        assert value == "value"
    assert seen == ["entered", "left"]
    with pytest.raises(LookupError, match="mine"), loop.enter(block(seen)):
        raise LookupError("mine")
    assert seen == ["entered", "left", "entered", "lookup error", "left"]


def test_it_may_suppress_an_exception_or_raise_another(loop: blocking.Loop) -> None:
    seen: list[str] = []
    with loop.enter(block(seen, suppress=True)):
        raise LookupError
    with pytest.raises(OSError, match="while it was left"), loop.enter(block(seen, fail=True)):
        pass


def test_one_that_can_not_be_entered_says_why(loop: blocking.Loop) -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[None, None]:
        await anyio.sleep(0)
        raise OSError("no")
        yield

    with pytest.raises(OSError, match="no"), loop.enter(broken()):
        pass


def test_what_is_left_entered_is_left_with_its_event_loop() -> None:
    seen: list[str] = []
    with blocking.loop() as loop:
        held = loop.enter(block(seen))
        held.__enter__()
    assert seen == ["entered", "left"]
    del held


def test_one_that_nobody_holds_any_more_is_left(loop: blocking.Loop) -> None:
    seen: list[str] = []
    loop.enter(block(seen)).__enter__()
    gc.collect()
    until = time.monotonic() + PATIENCE
    while seen != ["entered", "left"] and time.monotonic() < until:
        time.sleep(0.001)
    assert seen == ["entered", "left"]
