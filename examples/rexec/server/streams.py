"""Our ends of what a command reads and writes: pipes, or a terminal."""

import errno
import fcntl
import io
import itertools
import math
import os
import pty
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

import anyio

from ..messages import Size
from ..pumps import PIECE, FileSink, FileSource, enlarge

LINGER = 10.0
"""Seconds of silence after which the outputs of a command that has ended are taken to be at their end."""


class OutputPipe(FileSource):
    """An output of a command.

    It ends when everybody has closed it, which may be later than the end of the command: what the command has left in
    the background may still write. So it is read on after `linger`, but a process that keeps it open and says nothing,
    as a daemon does, is not waited for. What was written before is never lost: time counts only while the pipe
    is empty.
    """

    _patience = math.inf
    _waiting: anyio.CancelScope | None = None

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        try:
            return await super().receive(max_bytes)
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            raise anyio.EndOfStream from None  # how a terminal says that everybody has closed it

    def linger(self) -> None:
        """The command has ended: from now on `LINGER` seconds of silence are the end."""
        self._patience = LINGER
        if self._waiting is not None:
            self._waiting.deadline = anyio.current_time() + LINGER

    async def wait(self) -> None:
        with anyio.CancelScope(deadline=anyio.current_time() + self._patience) as self._waiting:
            await super().wait()
        if self._waiting.cancelled_caught:
            raise anyio.EndOfStream


class CommandStreams:
    """Our ends of what a command reads and writes."""

    stdin: FileSink
    outputs: tuple[OutputPipe, ...]
    theirs: list[int]
    """The ends of the command: what is to be its descriptors 0, 1 and 2."""

    def end_input(self) -> None:
        """Let the command find the end of its input."""

    def resize(self, size: Size) -> None:
        """Does nothing: only a terminal has a size."""

    def close(self) -> None:
        for output in self.outputs:
            output.close()
        self.stdin.close()


class Pipes(CommandStreams):
    """Three pipes."""

    def __init__(self) -> None:
        (their_stdin, stdin), (stdout, their_stdout), (stderr, their_stderr) = _several(os.pipe, 3)
        self.theirs = [their_stdin, their_stdout, their_stderr]
        self.stdin = FileSink(_our_end(stdin, "w"))
        self.outputs = OutputPipe(_our_end(stdout, "r")), OutputPipe(_our_end(stderr, "r"))

    def end_input(self) -> None:
        self.stdin.close()


class NoInput(Pipes):
    """Three pipes, the first of which is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.end_input()


class Terminal(CommandStreams):
    """A terminal: one output, and an input whose end is a character."""

    def __init__(self, size: Size) -> None:
        ((ours, theirs),) = _several(pty.openpty, 1)
        try:
            copy = os.dup(ours)
        except OSError:
            os.close(ours)
            os.close(theirs)
            raise
        self.theirs = [theirs] * 3
        self._file = _our_end(copy, "w")
        self.stdin = self._input = _TerminalInput(self._file)
        self.outputs = (OutputPipe(_our_end(ours, "r")),)
        self.resize(size)

    def end_input(self) -> None:
        self._input.end()

    def resize(self, size: Size) -> None:
        """Also tells the job in the foreground there (WINCH)."""
        with suppress(OSError, ValueError):  # it was closed
            fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


class _TerminalInput(FileSink):
    """Remembers whether a line is begun: the end of file after one takes a second character."""

    _in_line = False

    async def send(self, item: bytes) -> None:
        try:
            await super().send(item)
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            raise anyio.BrokenResourceError from exc  # nobody has the terminal any more
        self._in_line = not item.endswith((b"\n", b"\r"))

    def end(self) -> None:
        with suppress(OSError, ValueError):
            character: bytes = termios.tcgetattr(self._file.fileno())[6][termios.VEOF]
            self._file.write(memoryview(character * (2 if self._in_line else 1)))


def _several(make: Callable[[], tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """This many pairs of descriptors, or none at all."""
    pairs: list[tuple[int, int]] = []
    try:
        while len(pairs) < count:
            pairs.append(make())
    except OSError:
        for descriptor in itertools.chain(*pairs):
            os.close(descriptor)
        raise
    return pairs


def _our_end(descriptor: int, mode: str) -> io.FileIO:
    file = io.FileIO(descriptor, mode)
    os.set_blocking(descriptor, False)
    enlarge(file)
    return file
