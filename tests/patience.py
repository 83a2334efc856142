"""How long a test waits for what must happen, and how much work a call is. A busy machine changes neither."""

import sys
import time
from collections.abc import Callable
from typing import Any

import anyio

PATIENCE = 120
"""Seconds after which a test hangs. That is all they say: on a busy machine anything may take long."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until it is so, whoever else works on it: other tasks, threads or processes."""
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.002)


def lines_run(call: Callable[[], object]) -> int:
    """How many lines of Python a call runs: the same each time, however busy the machine is."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def processor_time(call: Callable[[], object]) -> float:
    """Seconds of this thread for what C does, where no lines can be counted; the least of three times.

    Others that the machine works for don't count, but the processor may be slow: compare it with many times of what
    was measured.
    """
    return min(_thread_time(call) for _ in range(3))


def _thread_time(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began
