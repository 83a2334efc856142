"""The seam between records and the bytes below them: a `Transport`.

It is a byte stream that can also send and receive what needs no waiting, and that calls a reader. A socket is one by
nature (`sockets.SocketTransport`). Any other byte stream stands behind a small buffer, and records know no difference.
"""

import ipaddress
import math
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import anyio
from anyio import CancelScope
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint

from chanlink import clock

BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError)
"""What a byte stream raises when the connection is gone, on either side."""
BUFFER = 65_536
"""Bytes that are asked of a byte stream at a time."""


class Transport(ByteStream):
    """A byte stream to another process. Errors are those of anyio's byte streams, also of what needs no waiting."""

    sent_at = -math.inf
    """When something left last (`clock.now`)."""
    waits_writable = False
    """Whether there is `wait_writable`."""

    @abstractmethod
    def send_now(self, data: bytes | memoryview) -> int:
        """Send as much as can be sent without waiting: how many bytes. 0 is always a good answer.

        What it has not taken is what is sent next, if anything is.
        """

    async def wait_writable(self) -> None:
        """Wait until `send_now` can send something, or should be tried: unlike a `send`, this can be cancelled."""
        raise NotImplementedError

    @abstractmethod
    async def wait_readable(self) -> None:
        """Wait until `receive_now` has something, or should be tried."""

    @abstractmethod
    async def readable(self) -> bool:
        """As `wait_readable`; False if what has come is the end."""

    @abstractmethod
    def receive_now(self, buffer: memoryview) -> int | None:
        """Receive into a buffer what is there: how many bytes, 0 at the end; None when it is nothing yet."""

    async def each_time_readable(self, look: Callable[[], None]) -> NoReturn:
        """Call ``look`` each time that `receive_now` should be tried, until it raises.

        It need not be this task that calls it.
        """
        while True:
            await self.wait_readable()
            look()

    def close_now(self) -> bool:
        """Close it, if that needs no waiting; else False, and nothing has happened."""
        return False

    def peer_acknowledges(self, seconds: float) -> bool:
        """Whether the peer's machine is known to be there, though its process may say nothing."""
        return False

    def reset_when_closed(self) -> None:
        """Let the end look the same whatever was read, as far as these bytes can tell that."""


async def close_at_once(stream: ByteStream) -> None:
    """Close it without a farewell, also when this task is cancelled."""
    close_now = getattr(stream, "close_now", None)
    if close_now is not None and close_now():
        return
    with CancelScope(shield=True):
        await anyio.aclose_forcefully(stream)


async def receive_exactly(stream: ByteStream, length: int) -> bytes:
    """Receive this many bytes, and ask for no more: what is behind them stays in the system's buffers."""
    data = bytearray()
    while len(data) < length:
        data += await receive_some(stream, length - len(data))
    return bytes(data)


async def receive_some(stream: ByteStream, most: int) -> bytes | memoryview:
    """As `ByteStream.receive`; of a transport without a turn of the event loop, if it is there."""
    if not isinstance(stream, Transport):
        return await stream.receive(most)
    buffer = memoryview(bytearray(most))
    while (size := stream.receive_now(buffer)) is None:
        await stream.wait_readable()
    if not size:
        raise anyio.EndOfStream
    return buffer[:size]


async def send_whole(stream: ByteStream, data: bytes) -> None:
    """Send all of it; by a transport without a turn of the event loop, if there is room."""
    sent = stream.send_now(data) if isinstance(stream, Transport) else 0
    if sent < len(data):
        await stream.send(data[sent:])


def remote_of(stream: ByteStream) -> object:
    """The socket address at the other side, if that is known: a pair of TCP, a str of a Unix socket; else None."""
    return stream.extra(SocketAttribute.remote_address, None)


def ip_of(remote: object) -> str:
    """The IP address in a socket address, without its zone, one of IPv4 always as that; empty where there is none."""
    if not isinstance(remote, tuple):
        return ""
    try:
        ip = ipaddress.ip_address(str(remote[0]).partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def as_transport(stream: ByteStream) -> Transport:
    """A transport as it is, any other byte stream behind a buffer."""
    return stream if isinstance(stream, Transport) else BufferedTransport(stream)


class BufferedTransport(Transport):
    """Over a byte stream that can only wait: it is asked for more only when all of that has been received.

    It may be anybody's: TLS, the pipes of a process. What the system or TLS says of it (`OSError`) is a broken
    connection like others; and one that can't end its half alone is only closed, as the close record has said the same.
    """

    def __init__(self, below: ByteStream) -> None:
        self._below = below
        self._arrived = memoryview(b"")
        self._ended = False

    def send_now(self, data: bytes | memoryview) -> int:
        return 0

    async def send(self, item: bytes) -> None:
        try:
            await self._below.send(item)
        except OSError as exc:
            raise anyio.BrokenResourceError from exc
        self.sent_at = clock.now()

    async def wait_readable(self) -> None:
        if self._arrived or self._ended:
            await checkpoint()
            return
        try:
            self._arrived = memoryview(await self._receive(BUFFER))
        except anyio.EndOfStream:
            self._ended = True

    async def readable(self) -> bool:
        await self.wait_readable()
        return not self._ended

    async def _receive(self, max_bytes: int) -> bytes:
        try:
            return await self._below.receive(max_bytes)
        except OSError as exc:
            raise anyio.BrokenResourceError from exc

    def receive_now(self, buffer: memoryview) -> int | None:
        size = min(len(buffer), len(self._arrived))
        if not size:
            return 0 if self._ended else None
        buffer[:size] = self._arrived[:size]
        self._arrived = self._arrived[size:]
        return size

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self._arrived:
            return await self._receive(max_bytes)
        await checkpoint()
        data, self._arrived = bytes(self._arrived[:max_bytes]), self._arrived[max_bytes:]
        return data

    async def send_eof(self) -> None:
        try:
            await self._below.send_eof()
        except NotImplementedError:  # TLS
            await checkpoint()
        except (OSError, RuntimeError) as exc:  # uvloop's transports raise RuntimeError after a reset
            raise anyio.BrokenResourceError from exc

    async def aclose(self) -> None:
        with suppress(OSError, anyio.EndOfStream, *BROKEN):  # a farewell that fails; it is closed in any case
            await self._below.aclose()

    @property
    def extra_attributes(self) -> Any:
        return self._below.extra_attributes
