"""Blocks that are entered in tasks of their own, for tests that begin them here and end them there."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from chanlink.tasks import tasks_beside

from .leaving import Leavings, tasks_now

T = TypeVar("T")


class Hosts:
    """Enters blocks, each in a task of its own, and leaves them in reverse when it is told to.

    So whoever asks for a block, within whatever scopes of its own, is not the one that the tasks of the block belong
    to. An error of a block cancels nobody: it is kept for `leave`.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._hosted: list[tuple[anyio.Event, anyio.Event]] = []
        """Of each block, what tells it to end, and what says that it has."""
        self._errors: list[Exception] = []

    async def enter(self, block: AbstractAsyncContextManager[T]) -> T:
        """Enter a block, and return what it gives. Raises what entering it does."""
        enough, left = anyio.Event(), anyio.Event()
        value: T = await self._tasks.start(self._live, block, enough, left)
        self._hosted.append((enough, left))
        return value

    async def leave(self) -> None:
        """Leave all blocks, the last one first. Raises the first error that one of them has ended with."""
        for enough, left in reversed(self._hosted):
            enough.set()
            await left.wait()
        if self._errors:
            raise self._errors[0]

    async def _live(
        self,
        block: AbstractAsyncContextManager[T],
        enough: anyio.Event,
        left: anyio.Event,
        *,
        task_status: TaskStatus[T],
    ) -> None:
        entered = False
        try:
            async with block as value:
                entered = True
                task_status.started(value)
                await enough.wait()
        except Exception as exc:
            if not entered:
                raise
            self._errors.append(exc)
        finally:
            left.set()


@asynccontextmanager
async def hosting(leavings: Leavings, plumbing: str = "") -> AsyncGenerator[Hosts, None]:
    """`Hosts` for a fixture that yields: what was entered is left at its end, and what is left behind is noticed.

    ``plumbing`` is in the names of tasks that belong to whoever runs the fixture. Raises as `Hosts.leave`.
    """
    before = tasks_now()
    async with tasks_beside() as tasks:
        hosts = Hosts(tasks)
        try:
            yield hosts
            leavings.collect()
        finally:
            await hosts.leave()
    await leavings.of_tasks(before, plumbing)
