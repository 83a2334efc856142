"""What a test leaves behind: ends that it has forgotten, and tasks that still run."""

import gc
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import anyio

FORGOTTEN = re.compile(r"an? .* was forgotten without closing it")
"""What the warning says of an end that the garbage collector finds."""
PATIENCE = 1.0
"""Seconds in which tasks that are ending may end."""


class Leavings:
    """What is left behind; a line for each thing."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    @contextmanager
    def of_ends(self) -> Generator[None, None, None]:
        """Notice the ends that are forgotten in this block. Other warnings are given when it is left."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.filterwarnings("always", FORGOTTEN.pattern, ResourceWarning)
            yield
        for one in seen:
            if issubclass(one.category, ResourceWarning) and FORGOTTEN.match(str(one.message)):
                self.problems.append(str(one.message))
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno, source=one.source)

    def collect(self) -> None:
        """Find the ends that nobody can reach any more; call it while their sessions are open."""
        gc.collect()

    async def of_tasks(self, before: set[int], plumbing: str) -> None:
        """Notice the tasks that were not there ``before`` and do not end.

        Those with ``plumbing`` in their names don't count; if it is empty, all do.
        """
        with anyio.move_on_after(PATIENCE):
            while tasks_beyond(before, plumbing):
                await anyio.sleep(0.005)
        self.problems += [f"the task {words} still runs" for words in tasks_beyond(before, plumbing)]


def tasks_now() -> set[int]:
    """The tasks of this event loop, by their ids."""
    return {task.id for task in anyio.get_running_tasks()}


def tasks_beyond(before: set[int], plumbing: str) -> list[str]:
    """Words about each task that was not there before."""
    return [
        f"{task.name!r} ({task.coro})"
        for task in anyio.get_running_tasks()
        if task.id not in before and not (plumbing and plumbing in f"{task.name} {task.coro}")
    ]
