"""Our own terminal, in raw mode while a command on the other side has one.

What is typed goes there as it is, Ctrl-C included. Two things stay here: the size, which is told, and ``~.`` at the
beginning of a line, which gives up (``~~`` is a ``~``): a connection that hangs would otherwise have the last word.

Raw mode is undone whatever happens. When we are killed, nothing in us can do that, so a child does: it waits for our
end, or our word that all is done.
"""

import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from anyio.abc import ByteReceiveStream

from ..messages import Size
from .descriptors import in_background

ESCAPE = ord("~")


def size(descriptors: Iterable[int] = (0, 1, 2)) -> Size:
    """Of the terminal that one of these descriptors is; that of an old one if none is."""
    for descriptor in descriptors:
        with suppress(OSError):
            columns, rows = os.get_terminal_size(descriptor)
            if columns and rows:
                return Size(columns, rows)
    return Size(80, 24)


@contextmanager
def raw(descriptor: int, before: list[Any]) -> Iterator[None]:
    """A terminal in raw mode within a block; after it, the terminal has the modes that it had before."""
    tty.setraw(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        if not in_background(descriptor):  # else the shell has put it back, and would stop us for ever
            _restore(descriptor, before)


def _restore(descriptor: int, modes: list[Any]) -> None:
    with suppress(termios.error):
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)


class Restorer:
    """A child that puts our terminal back when we are killed. Make it before there are threads and connections."""

    def __init__(self) -> None:
        self._saved = termios.tcgetattr(0)
        waiting, self._pipe = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            self._wait(waiting)
        os.close(waiting)

    def _wait(self, waiting: int) -> None:
        """What the child does."""
        try:
            os.close(self._pipe)
            os.setsid()  # what ends us by way of the terminal leaves it alone, and it may still set its mode
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTTOU):
                signal.signal(number, signal.SIG_IGN)
            os.close(1)  # what waits for their end must not wait for us
            os.close(2)
            if not os.read(waiting, 1):
                _restore(0, self._saved)
        finally:
            os._exit(0)

    def raw(self) -> AbstractContextManager[None]:
        """Raw mode within a block."""
        return raw(0, self._saved)

    def continued(self) -> None:
        """We were stopped, and the shell has put the terminal back meanwhile: raw mode again, if it is our turn."""
        if not in_background(0):
            tty.setraw(0, termios.TCSADRAIN)

    def close(self) -> None:
        """All is as it was: the child may go."""
        os.write(self._pipe, b".")
        os.close(self._pipe)
        os.waitpid(self._child, 0)


@contextmanager
def keeping_terminal() -> Iterator[Restorer | None]:
    """A `Restorer`, if our input is a terminal."""
    if not sys.__stdin__ or not os.isatty(0):
        yield None
        return
    if in_background(0):
        signal.raise_signal(signal.SIGTTOU)  # wait for our turn: the modes that it has now are those of the shell
    restorer = Restorer()
    try:
        yield restorer
    finally:
        restorer.close()


class Keyboard(ByteReceiveStream):
    """Our input, but for ``~.`` at the beginning of a line: ``give_up`` is called then."""

    def __init__(self, source: ByteReceiveStream, give_up: Callable[[], None]) -> None:
        self._source = source
        self._give_up = give_up
        self._line_begins = True
        self._escaped = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            typed = await self._source.receive(max_bytes)
            if data := self._read(typed):
                return data

    def _read(self, typed: bytes) -> bytes:
        data = bytearray()
        for byte in typed:
            if self._escaped:
                self._escaped = False
                if byte == ord("."):
                    self._give_up()
                    continue
                if byte != ESCAPE:
                    data.append(ESCAPE)
            elif self._line_begins and byte == ESCAPE:
                self._escaped = True
                continue
            data.append(byte)
            self._line_begins = byte in b"\r\n"
        return bytes(data)

    async def aclose(self) -> None:
        await self._source.aclose()
