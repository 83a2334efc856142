"""What compares descriptors, threads, tasks, children and tables before and after a test does see them."""

import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests import leaks
from tests.leaks import Leaks, nothing_left

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def descriptor() -> AsyncIterator[None]:
    ends = os.pipe()
    try:
        yield
    finally:
        for end in ends:
            os.close(end)


@asynccontextmanager
async def child() -> AsyncIterator[None]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield
        finally:
            process.kill()


@asynccontextmanager
async def task() -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever, name="sleeper")
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def thread() -> AsyncIterator[None]:
    """A worker thread at work; a task has to wait for it, or it is abandoned."""
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: anyio.to_thread.run_sync(work, abandon_on_cancel=True))
        while not begun.is_set():
            await anyio.sleep(0)
        tasks.cancel_scope.cancel()
    try:
        yield
    finally:
        go.set()


@pytest.mark.parametrize(
    ("make", "words"), [(descriptor, "pipe:"), (child, "sleep"), (task, "sleeper"), (thread, "test_leaks.py:work")]
)
async def test_what_is_left_behind_is_named(
    make: Callable[[], Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "PATIENCE", 0.05)
    async with AsyncExitStack() as left:
        if words == "pipe:" and not os.path.exists("/proc/self/fd"):
            words = "descriptors:"
        with pytest.raises(AssertionError, match=words):
            async with nothing_left():
                await left.enter_async_context(make())


async def test_what_is_given_back_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with nothing_left():
        for make in (descriptor, child, task, thread):
            async with make():
                pass


async def test_a_table_is_compared_from_when_it_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PATIENCE", 0.05)
    table = [1]
    async with nothing_left() as held:
        held.watch("table", lambda: len(table))
    with pytest.raises(AssertionError, match="table: 2 entries, 1 before"):
        async with nothing_left() as held:
            held.watch("table", lambda: len(table))
            table.append(2)


async def test_what_is_under_way_may_end(no_leaks: Leaks) -> None:
    ours, theirs = os.pipe()

    @contextmanager
    def closing_later() -> Any:
        timer = threading.Timer(0.05, lambda: (os.close(ours), os.close(theirs)))
        timer.start()
        yield

    with closing_later():
        pass
