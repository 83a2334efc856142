"""The event loop."""

import signal
from collections.abc import Callable
from typing import Any

import pytest
import sniffio

from examples.rexec.cli.loop import run_loop, run_quick


async def add(left: int, right: int) -> int:
    assert sniffio.current_async_library() == "asyncio"
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL
    return left + right


@pytest.mark.parametrize("run", [run_quick, run_loop])
def test_it_runs_a_function_to_its_end_and_then_interrupts_raise(run: Callable[..., Any]) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        assert run(add, 3, 4) == 7
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
