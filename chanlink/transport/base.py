"""The seam between records and the bytes below them: a `Transport`.

It is a byte stream that can also send and receive what needs no waiting, and that calls a reader. A socket is one by
nature (`sockets.SocketTransport`). Any other byte stream stands behind a small buffer, and records know no difference.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn

import anyio
from anyio import CancelScope
from anyio.abc import ByteStream
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

    @abstractmethod
    def send_now(self, data: bytes | memoryview) -> int:
        """Send as much as can be sent without waiting: how many bytes. 0 is always a good answer."""

    @abstractmethod
    async def wait_readable(self) -> None:
        """Wait until `receive_now` has something, or should be tried."""

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

    def peer_acknowledges(self, seconds: float) -> bool:
        """Whether the peer's machine is known to be there, though its process may say nothing."""
        return False


async def close_at_once(stream: ByteStream) -> None:
    """Close it without a farewell, also when this task is cancelled."""
    with CancelScope(shield=True):
        await anyio.aclose_forcefully(stream)


async def receive_exactly(stream: ByteStream, length: int) -> bytes:
    """Receive this many bytes, and ask for no more: what is behind them stays in the system's buffers."""
    data = bytearray()
    while len(data) < length:
        data += await stream.receive(length - len(data))
    return bytes(data)


def as_transport(stream: ByteStream) -> Transport:
    """A transport as it is, any other byte stream behind a buffer."""
    return stream if isinstance(stream, Transport) else BufferedTransport(stream)


class BufferedTransport(Transport):
    """Over a byte stream that can only wait: it is asked for more only when all of that has been received."""

    def __init__(self, below: ByteStream) -> None:
        self._below = below
        self._arrived = memoryview(b"")
        self._ended = False

    def send_now(self, data: bytes | memoryview) -> int:
        return 0

    async def send(self, item: bytes) -> None:
        await self._below.send(item)
        self.sent_at = clock.now()

    async def wait_readable(self) -> None:
        if self._arrived or self._ended:
            await checkpoint()
            return
        try:
            self._arrived = memoryview(await self._below.receive(BUFFER))
        except anyio.EndOfStream:
            self._ended = True

    def receive_now(self, buffer: memoryview) -> int | None:
        size = min(len(buffer), len(self._arrived))
        if not size:
            return 0 if self._ended else None
        buffer[:size] = self._arrived[:size]
        self._arrived = self._arrived[size:]
        return size

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self._arrived:
            return await self._below.receive(max_bytes)
        await checkpoint()
        data, self._arrived = bytes(self._arrived[:max_bytes]), self._arrived[max_bytes:]
        return data

    async def send_eof(self) -> None:
        await self._below.send_eof()

    async def aclose(self) -> None:
        await self._below.aclose()

    @property
    def extra_attributes(self) -> Any:
        return self._below.extra_attributes
