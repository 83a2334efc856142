"""What a process holds.  Compared before and after a test, it shows what an error path has forgotten.

Asynchronous tests name the fixture `no_leaks` (`tests/conftest.py`), a whole file by
``pytestmark = pytest.mark.usefixtures("no_leaks")``. What a server in another process holds is told by
`descriptors_of` and `children_of`.
"""

import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import anyio

from .patience import PATIENCE

IDLE = ("_backends/_asyncio.py:run", "_core/_thread_cache.py:_work", "futures/thread.py:_worker")
"""Where the threads of anyio, trio and concurrent.futures are when they wait for work."""

RUNNER = "TestRunner._call_in_runner_task"
"""A task of anyio's plugin for pytest: it has another one for each fixture and each test."""


class Held(NamedTuple):
    """What this process holds, each thing with words for people."""

    descriptors: dict[object, str]
    threads: dict[object, str]
    tasks: dict[object, str]
    children: dict[object, str]

    @classmethod
    def now(cls) -> "Held":
        """Call it in a task."""
        return cls(
            descriptors_of(os.getpid()),
            _busy_threads(),
            {task.id: f"{task.name}" for task in anyio.get_running_tasks() if RUNNER not in f"{task.coro}"},
            children_of(os.getpid()),
        )

    def beyond(self, before: "Held") -> list[str]:
        """What is held now, and was not before."""
        return [
            f"{kind}: {thing} ({words})"
            for kind, now, then in zip(self._fields, self, before, strict=True)
            for thing, words in now.items()
            if thing not in then
        ]


class Leaks:
    """What a test says of the tables that it wants compared, too."""

    def __init__(self) -> None:
        self._tables: list[tuple[str, Callable[[], int], int]] = []

    def watch(self, name: str, size: Callable[[], int]) -> None:
        """A table: it shall have as many entries at the end as it has now."""
        self._tables.append((name, size, size()))

    def beyond(self) -> list[str]:
        return [f"{name}: {size()} entries, {before} before" for name, size, before in self._tables if size() != before]


@asynccontextmanager
async def nothing_left() -> AsyncIterator[Leaks]:
    """The block leaves nothing behind; what is under way at its end may take a moment."""
    before, leaks = Held.now(), Leaks()
    yield leaks
    with anyio.move_on_after(PATIENCE):
        while Held.now().beyond(before) or leaks.beyond():
            await anyio.sleep(0.01)
    left = Held.now().beyond(before) + leaks.beyond()
    assert not left, "left behind: " + "; ".join(left)


def descriptors_of(pid: int) -> dict[object, str]:
    """The open descriptors of a process, each with what it is of."""
    folder = Path(f"/proc/{pid}/fd")
    if not folder.exists() and pid == os.getpid():
        return _our_descriptors()
    found: dict[object, str] = {}
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # that of the listing
            of = os.readlink(folder / name)
            if of == os.devnull and _is_spare(folder / name):
                continue
            found[int(name), of.partition("[")[0]] = of  # uvloop makes its sockets anew between a fixture and its test
    return found


def _is_spare(descriptor: Path) -> bool:
    """libuv keeps one, read only, for as long as its loop lives, from the first connection of its own on (of httpx)."""
    about = (descriptor.parent.parent / "fdinfo" / descriptor.name).read_text()
    found = re.search(r"^flags:\s*([0-7]+)$", about, re.MULTILINE)
    return found is not None and int(found[1], 8) & os.O_ACCMODE == os.O_RDONLY


def _our_descriptors() -> dict[object, str]:
    """Without /proc."""
    found: dict[object, str] = {}
    for number in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):
            about = os.fstat(number)
            found[number, about.st_dev, about.st_ino] = "see lsof"
    return found


def children_of(pid: int) -> dict[object, str]:
    """The ids of the children of a process, and what they are called; empty where the system does not tell."""
    found: dict[object, str] = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError):
            for child in (task / "children").read_text().split():
                found[int(child)] = Path(f"/proc/{child}/comm").read_text().strip()
    return found


def _busy_threads() -> dict[object, str]:
    """All but those that wait in a pool for the next call."""
    frames = sys._current_frames()
    found: dict[object, str] = {}
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is None or thread is threading.current_thread():
            continue
        place = _place(_beneath_waiting(frame))
        if place not in IDLE:
            found[thread.ident] = f"{thread.name} in {place}"
    return found


def _beneath_waiting(frame: FrameType) -> FrameType:
    """Who waits, if a thread waits for an event or a queue."""
    while frame.f_back is not None and Path(frame.f_code.co_filename).name in ("threading.py", "queue.py"):
        frame = frame.f_back
    return frame


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return "/".join(Path(code.co_filename).parts[-2:]) + f":{code.co_name}"
