"""How long a test waits for what must happen, and how much work a call is. A busy machine changes neither."""

import gc
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

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # a collection in the middle runs finalizers of things that earlier tests have left
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return count


def takes_less(call: Callable[[], object], seconds: float) -> bool:
    """Whether it does for C, in one of three times: the first is enough for most."""
    return any(_thread_time(call) < seconds for _ in range(3))


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
