"""Tasks that are looked at when all of them are over."""

import anyio
import pytest

from examples.rexec.attempts import Attempt

pytestmark = pytest.mark.anyio


async def double(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return number * 2


async def fail() -> None:
    raise OSError("a disk is full")


async def test_it_has_what_the_call_returned() -> None:
    attempt = Attempt(double, 4)
    await attempt()
    assert attempt.result() == 8


async def test_an_error_cancels_no_other_task_and_is_raised_as_it_is() -> None:
    failing, going = Attempt(fail), Attempt(double, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(failing)
        tasks.start_soon(going)
    assert going.result() == 2
    for look in (failing.check, failing.result):
        with pytest.raises(OSError, match="a disk is full"):
            look()


async def test_one_that_was_cancelled_has_raised_nothing() -> None:
    attempt = Attempt(anyio.sleep_forever)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempt)
        tasks.cancel_scope.cancel()
    attempt.check()
