"""Tasks that wait, in the background of a test."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from chanlink.observing.tasks import Task, look
from tests.channels.pairs import settle

ELSEWHERE: list[Any] = []
"""What is here, others than the tasks that can be seen may use."""


@asynccontextmanager
async def background(function: Callable[..., Any], *args: Any, name: str = "it") -> AsyncIterator[None]:
    """A task with this name, which waits while the block runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function, *args, name=name)
        del args  # they are the task's now
        await settle()
        yield
        tasks.cancel_scope.cancel()


def the_task(name: str = "it") -> Task:
    (found,) = [task for task in look().tasks if task.name == name]
    return found
