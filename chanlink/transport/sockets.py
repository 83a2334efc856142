"""A connection: a non-blocking socket, and what anyio has to wait for one.

anyio's own streams on asyncio read before anyone receives (a stranger could make us hold 8 MB in 0.2 s), and can't be
asked to send what can be sent without waiting (docs/decisions/0011-sockets.md).
"""

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import anyio
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint, current_token

from chanlink import clock
from chanlink.forks import forget_in_child, let_go

from .address import Place
from .base import Transport
from .tcp_info import acknowledges
from .watching import Watch

UNSENT = 128 * 1024
"""Bytes that the system may hold before it sends them: what lies there, nothing can overtake."""

_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class SocketTransport(Transport):
    """A connected socket, read only as far as asked."""

    waits_writable = True

    def __init__(self, sock: socket.socket, place: Place | None = None) -> None:
        self.place = place
        """What it was connected to."""
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            with suppress(OSError):  # of a connection that is over already; `receive` says so
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._sock = sock
        self._is_empty = True
        self._watch: Watch | None = None
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the connection is the parent's."""
        let_go(self._sock)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await checkpoint()  # there is always something to read from a peer that floods us
        while True:
            try:
                data = self._sock.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
                continue
            except OSError as exc:
                raise self._problem() from exc
            if not data:
                raise anyio.EndOfStream
            return data

    async def wait_readable(self) -> None:
        self._check_open()
        if not self._is_empty:
            await checkpoint()  # there is always something to read from a peer that floods us
            return
        try:
            await anyio.wait_readable(self._sock)
        except (OSError, ValueError) as exc:  # it was closed meanwhile
            raise self._problem() from exc

    async def readable(self) -> bool:
        await self.wait_readable()
        try:
            return self._sock.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError as exc:
            raise self._problem() from exc

    async def each_time_readable(self, look: Callable[[], None]) -> NoReturn:
        """asyncio's event loop calls ``look`` by itself: for each time that saves two system calls and a switch to this
        task."""
        loop: Any = current_token().native_token
        if not hasattr(loop, "add_reader") or os.name == "nt":  # trio; a loop that has it in name only
            await super().each_time_readable(look)
        self._check_open()
        self._watch = Watch(loop, self._sock.fileno(), look)
        try:
            await self._watch.until_over()
        finally:
            self._watch = None

    def receive_now(self, buffer: memoryview) -> int | None:
        self._is_empty = True
        try:
            size = self._sock.recv_into(buffer)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise self._problem() from exc
        self._is_empty = size < len(buffer)
        return size

    def send_now(self, data: bytes | memoryview) -> int:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise self._problem() from exc
        self.sent_at = clock.now()
        return sent

    def peer_acknowledges(self, seconds: float) -> bool:
        """A Unix socket has an end when its peer has; of TCP, see `tcp_info.acknowledges`."""
        if self._sock.family == getattr(socket, "AF_UNIX", None):
            return self._sock.fileno() >= 0
        return acknowledges(self._sock, seconds)

    async def send(self, item: bytes) -> None:
        await checkpoint()
        left = memoryview(item).cast("B")  # sizes are in bytes, whatever its items are
        while left:
            sent = self.send_now(left)
            left = left[sent:]
            if not sent:
                await self.wait_writable()

    async def wait_writable(self) -> None:
        self._check_open()
        try:
            await anyio.wait_writable(self._sock)
        except (OSError, ValueError) as exc:
            raise self._problem() from exc

    def _check_open(self) -> None:
        """Call before waiting: trio never wakes a task that waits for a socket which is closed already."""
        if self._sock.fileno() < 0:
            raise anyio.ClosedResourceError

    def _problem(self) -> Exception:
        return anyio.ClosedResourceError() if self._sock.fileno() < 0 else anyio.BrokenResourceError()

    async def send_eof(self) -> None:
        with suppress(OSError):  # the peer has gone already: it sees the end in any case
            self._sock.shutdown(socket.SHUT_WR)

    def reset_when_closed(self) -> None:
        """As a `Transport`: else TCP says by a reset that something was not read."""
        if self._sock.family != socket.AF_UNIX:
            with suppress(OSError):  # it is closed already
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    @property
    def extra_attributes(self) -> Any:
        """The family, the socket itself and the address at the other side, as anyio's streams of sockets have them."""
        return {
            SocketAttribute.family: lambda: self._sock.family,
            SocketAttribute.raw_socket: lambda: self._sock,
            SocketAttribute.remote_address: self._remote,
        }

    def _remote(self) -> object:
        try:
            return self._sock.getpeername()
        except OSError:  # it is gone
            return None

    def close_now(self) -> bool:
        if self._sock.fileno() >= 0:
            if self._watch is not None:
                self._watch.end(anyio.ClosedResourceError())
            anyio.notify_closing(self._sock)
            with suppress(OSError):
                self._sock.close()
        return True

    async def aclose(self) -> None:
        self.close_now()
