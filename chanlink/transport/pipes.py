"""Two pipes as a connection: those of a child, or the standard input and output that we were started with."""

import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import anyio
from anyio.lowlevel import checkpoint, current_token

from chanlink import clock

from .base import Transport
from .watching import Watch

ROOM = 1024 * 1024
"""Bytes that a pipe may hold, where the system lets us have so many: a default one holds 64 KiB."""


def make_room(descriptor: int) -> None:
    """Let a pipe hold more."""
    with suppress(OSError, ImportError, AttributeError):  # no pipe; all that this user may have is in use; not Linux
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, ROOM)


class PipeTransport(Transport):
    """What is read from one descriptor and written to another one. It owns both."""

    waits_writable = True

    def __init__(self, reading: int, writing: int) -> None:
        """Both don't block from now on."""
        self._reading, self._writing = reading, writing
        self._is_empty = True
        self._watch: Watch | None = None
        for descriptor in (reading, writing):
            os.set_blocking(descriptor, False)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await checkpoint()
        buffer = memoryview(bytearray(max_bytes))
        while (size := self.receive_now(buffer)) is None:
            await self.wait_readable()
        if not size:
            raise anyio.EndOfStream
        return bytes(buffer[:size])

    async def wait_readable(self) -> None:
        self._check_open()
        if not self._is_empty:
            await checkpoint()
            return
        try:
            await anyio.wait_readable(self._reading)
        except (OSError, ValueError) as exc:  # it was closed meanwhile
            raise self._problem() from exc

    async def readable(self) -> bool:
        await self.wait_readable()
        self._check_open()
        waiting = select.poll()
        waiting.register(self._reading, select.POLLIN)
        return all(event & select.POLLIN for _, event in waiting.poll(0))

    async def each_time_readable(self, look: Callable[[], None]) -> NoReturn:
        loop: Any = current_token().native_token
        if not hasattr(loop, "add_reader"):
            await super().each_time_readable(look)
        self._check_open()
        self._watch = Watch(loop, self._reading, look)
        try:
            await self._watch.until_over()
        finally:
            self._watch = None

    def receive_now(self, buffer: memoryview) -> int | None:
        self._check_open()
        self._is_empty = True
        try:
            size = os.readv(self._reading, [buffer])
        except BlockingIOError:
            return None
        except OSError as exc:
            raise self._problem() from exc
        self._is_empty = 0 < size < len(buffer)
        return size

    def send_now(self, data: bytes | memoryview) -> int:
        if self._writing < 0:
            raise anyio.ClosedResourceError
        try:
            sent = os.write(self._writing, data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise self._problem() from exc
        self.sent_at = clock.now()
        return sent

    async def send(self, item: bytes) -> None:
        await checkpoint()
        left = memoryview(item).cast("B")
        while left:
            sent = self.send_now(left)
            left = left[sent:]
            if not sent:
                await self.wait_writable()

    async def wait_writable(self) -> None:
        if self._writing < 0:
            raise anyio.ClosedResourceError
        try:
            await anyio.wait_writable(self._writing)
        except (OSError, ValueError) as exc:
            raise self._problem() from exc

    def peer_acknowledges(self, seconds: float) -> bool:
        """A pipe has an end when its other side has."""
        return self._reading >= 0

    async def send_eof(self) -> None:
        self._close_writing()

    def _check_open(self) -> None:
        if self._reading < 0:
            raise anyio.ClosedResourceError

    def _problem(self) -> Exception:
        return anyio.ClosedResourceError() if self._reading < 0 else anyio.BrokenResourceError()

    def _close_writing(self) -> None:
        if self._writing >= 0:
            descriptor, self._writing = self._writing, -1
            _close(descriptor)

    def close_now(self) -> bool:
        self._close_writing()
        if self._reading >= 0:
            if self._watch is not None:
                self._watch.end(anyio.ClosedResourceError())
            descriptor, self._reading = self._reading, -1
            _close(descriptor)
        return True

    async def aclose(self) -> None:
        self.close_now()

    @property
    def extra_attributes(self) -> Any:
        return {}


def _close(descriptor: int) -> None:
    anyio.notify_closing(descriptor)
    with suppress(OSError):  # others may go on with the same pipe, and expect of it what they knew
        os.set_blocking(descriptor, True)
    with suppress(OSError):
        os.close(descriptor)


def is_stream(descriptor: int) -> bool:
    """Whether it is a pipe or a socket, which can be waited for: no file, no terminal."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
