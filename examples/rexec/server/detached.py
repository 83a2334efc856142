"""Commands that go on without their callers: their names, and what they have written."""

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from ..messages import NAME_TAKEN, NO_SUCH_COMMAND, Listed, StartError, is_name
from .process import Process

KEPT = 1024 * 1024
"""Bytes of output that are kept of each command."""
PIECE_COST = 64
"""What a piece costs besides its bytes: a command that writes one byte at a time shall not have more than others."""
LINES_MAX = 100_000
"""Characters of all lines of a listing together: it is one message."""
ENDED_KEPT = 20
"""How many commands that have ended are kept for each owner."""


class Backlog:
    """The last output of a command: pieces of both outputs, in their order.

    The oldest are dropped, but not while a reader is there that has not had them yet: `put` waits then.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """Bytes that nobody can read any more."""
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._first = 0
        self._size = 0
        self._over = False
        self._readers: set[Reader] = set()
        self._changed = anyio.Event()

    async def put(self, output: int, data: bytes) -> None:
        """Append what was written to an output (1 or 2)."""
        while self._size > KEPT and self._is_wanted():
            await self._changed.wait()
        self._pieces.append((output, data))
        self._size += len(data) + PIECE_COST
        while self._size > KEPT and not self._is_wanted():
            _, oldest = self._pieces.popleft()
            self._first += 1
            self._size -= len(oldest) + PIECE_COST
            self.dropped += len(oldest)
        self.changed()

    def _is_wanted(self) -> bool:
        return any(reader.at == self._first for reader in self._readers)

    def end(self) -> None:
        """Note that there will be no more."""
        self._over = True
        self.changed()

    def changed(self) -> None:
        """Have everybody that waits look again."""
        self._changed.set()
        self._changed = anyio.Event()

    @contextmanager
    def reader(self) -> "Iterator[Reader]":
        """A reader that begins with the oldest piece."""
        reader = Reader(self, self._first)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            self.changed()

    async def piece(self, number: int) -> tuple[int, bytes] | None:
        """A piece, when there is one; None at the end."""
        while number >= self._first + len(self._pieces):
            if self._over:
                return None
            await self._changed.wait()
        return self._pieces[number - self._first]


class Reader:
    """Iterates over pieces: the output (1 or 2), and bytes."""

    def __init__(self, backlog: Backlog, at: int) -> None:
        self._backlog = backlog
        self.at = at

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> tuple[int, bytes]:
        piece = await self._backlog.piece(self.at)
        if piece is None:
            raise StopAsyncIteration
        self.at += 1
        self._backlog.changed()
        return piece


class Detached:
    """A command that goes on without its caller."""

    def __init__(self, name: str, line: str) -> None:
        self.name = name
        self.line = line
        self.backlog = Backlog()
        self.scope = anyio.CancelScope()
        """To cancel it is to stop the command."""
        self.process: Process | None = None
        self.returncode: int | None = None
        self.note = ""
        self.over = anyio.Event()
        self._began = time.monotonic()
        self._seconds: float | None = None

    def end(self, returncode: int | None, note: str) -> None:
        self.returncode, self.note, self.process = returncode, note, None
        self._seconds = time.monotonic() - self._began
        self.backlog.end()
        self.over.set()

    def listed(self) -> Listed:
        """What its owner is told about it."""
        seconds = time.monotonic() - self._began if self._seconds is None else self._seconds
        pid = 0 if self.process is None else self.process.pid
        return Listed(self.name, self.line, pid, round(seconds, 3), self.returncode)


class Table:
    """The detached commands, by owner and name."""

    def __init__(self) -> None:
        self._commands: dict[str, dict[str, Detached]] = {}

    def add(self, owner: str, name: str, line: str) -> Detached:
        """Enter a command. Raises `StartError` if one of this name runs; one that has ended makes room."""
        commands = self._commands.setdefault(owner, {})
        if not name:
            stem = line.split()[0].rpartition("/")[2][:50]
            stem = stem if is_name(stem) else "command"
            name = next(made for n in itertools.count(1) if (made := f"{stem}-{n}") not in commands)
        elif name in commands and not commands[name].over.is_set():
            raise StartError(NAME_TAKEN, f"{name}: a command of this name runs")
        commands.pop(name, None)
        commands[name] = entry = Detached(name, line)
        ended = [entry.name for entry in commands.values() if entry.over.is_set()]
        for oldest in ended[: -ENDED_KEPT or None]:
            del commands[oldest]
        return entry

    def remove(self, owner: str, entry: Detached) -> None:
        """Forget a command that was not started."""
        self._commands[owner].pop(entry.name)

    def get(self, owner: str, name: str) -> Detached:
        """Raises `StartError`."""
        try:
            return self._commands[owner][name]
        except KeyError:
            raise StartError(NO_SUCH_COMMAND, f"{name}: there is no detached command of this name") from None

    def rows_of(self, owner: str) -> list[list[object]]:
        """As they are listed; if there are many, only the beginnings of their lines."""
        listed = [entry.listed() for entry in self._commands.get(owner, {}).values()]
        most = max(20, LINES_MAX // (len(listed) or 1))
        return [list(entry._replace(command=entry.command[:most])) for entry in listed]
