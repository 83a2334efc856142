"""Task groups for blocks whose own exceptions are not to come in a group."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def tasks_beside() -> AsyncGenerator[TaskGroup, None]:
    """A task group for tasks beside a block: an exception of the block leaves it as it is, once the tasks have ended.

    anyio's own would wrap it in a group. It would also cancel the tasks: here the block does that when it is left,
    if they do not end by themselves.
    """
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        # Caught here and raised below.
        except BaseException as exc:
            error = exc
    if error is not None:
        raise error
