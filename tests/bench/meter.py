"""What a piece of work takes: time, processor time of both ends, memory.

Processor time and memory are Linux's; elsewhere there are none, and the table has no figure for them.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LINUX = sys.platform == "linux"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Missing(Exception):
    """What a measurement needs is not on this machine; says what, and how to get it."""


def processor(pid: int) -> float:
    """Seconds of processor time that a process has used, with all its threads and children, those that are gone too."""
    total = time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3): /proc counts in hundredths of a second
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total += (int(after_name[13]) + int(after_name[14])) / TICKS  # of children that have been waited for
    for child in children(pid):
        with suppress(OSError):  # it has ended meanwhile, and is its parent's
            total += processor(child)
    return total


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]


def _words(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().split()
    return []


def memory(pid: int) -> int:
    """Bytes of memory that a process has in use (its resident set)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


class Meter:
    """Measures one run, in the process that does the work; the other end is a process of its own, or there is none."""

    def __init__(self, server: int | None = None, profile: str | None = None) -> None:
        self.server = server
        self.profile = profile
        """Where a work that starts a program of ours is to have it write a profile."""
        self.count = 0.0
        self.wall = 0.0
        self.cpu: float | None = None
        self.server_cpu: float | None = None
        """Of that, what the other end has used."""
        self.more: dict[str, Any] = {}
        """What else a work has to tell: whole series, for the plots."""

    @contextmanager
    def over(self, count: float) -> Iterator[None]:
        """What happens in the block are ``count`` messages, bytes, or whatever the unit of the row counts."""
        ours, servers, began = self._spent(), self.spent_by_server(), time.perf_counter()
        yield
        self.wall = time.perf_counter() - began
        self.count = count
        if ours is not None and servers is not None:
            self.server_cpu = (self.spent_by_server() or 0.0) - servers
            self.cpu = (self._spent() or 0.0) - ours + self.server_cpu

    def found(self, figure: float, **more: Any) -> None:
        """A work that has timed by itself tells its figure, and what else it saw."""
        self.count, self.wall, self.more = figure, 1.0, more

    def _spent(self) -> float | None:
        return processor(os.getpid()) if LINUX else None

    def spent_by_server(self) -> float | None:
        """Seconds of processor time that the other end has used so far."""
        if not LINUX:
            return None
        return 0.0 if self.server is None else processor(self.server)

    def both_memories(self) -> tuple[int, int]:
        """Bytes in use: of this process, and of the other end."""
        if not LINUX or self.server is None:
            raise Missing("measuring memory needs Linux")
        return memory(os.getpid()), memory(self.server)
