"""A byte stream that misbehaves."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream as AnyByteStream
from anyio.lowlevel import checkpoint

from chanlink import ByteStream


class FaultyStream(AnyByteStream):
    """A byte stream around another one, with faults; each is off until it is asked for, and they add up.

    ``cut_after``: once this many bytes were sent, or this many received, the connection breaks, in the middle of
    whatever it is: both directions raise `anyio.BrokenResourceError` from then on. The other side sees what a broken
    connection looks like there; when the stream below is a `chanlink.ByteStream` that is a failure, never an end.

    ``piece``: sends and receives at most this many bytes at a time; 1 is the hardest test of a parser.

    ``delay``: seconds that each piece waits before it is sent.

    ``seed``: tasks run in another order than usual. Before each piece there are none to ``steps`` extra turns for
    other tasks, by a random generator with this seed, so that what fails once fails again.
    """

    def __init__(
        self,
        stream: AnyByteStream,
        *,
        cut_after: int | None = None,
        piece: int | None = None,
        delay: float = 0.0,
        seed: int | None = None,
        steps: int = 5,
    ) -> None:
        if piece is not None and piece < 1:
            raise ValueError("piece must be at least 1")
        self._stream = stream
        self._left_to_send = self._left_to_receive = cut_after
        self._piece = piece
        self._delay = delay
        self._random = random.Random(seed) if seed is not None else None
        self._steps = steps
        self._is_cut = False
        self.sent = 0
        """Bytes that have gone through, so that a test can cut at each of them in turn."""
        self.received = 0

    async def send(self, item: bytes) -> None:
        """As the stream below; in pieces, and up to the cut. Cancelled: some pieces may have been sent."""
        self._check()
        left = memoryview(item)
        while left:
            await self._disturb()
            if self._delay:
                await anyio.sleep(self._delay)
            self._check()
            data = bytes(left[: self._allowed(len(left), self._left_to_send)])
            left = left[len(data) :]
            if data:
                await self._stream.send(data)
                self.sent += len(data)
            self._left_to_send = await self._count(len(data), self._left_to_send)
        self._check()

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """As the stream below; in pieces, and up to the cut."""
        await self._disturb()
        self._check()
        allowed = self._allowed(max_bytes, self._left_to_receive)
        if allowed == 0:
            await self.cut()
            self._check()
        try:
            data = await self._stream.receive(allowed)
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._check()  # it was cut meanwhile
            raise
        self.received += len(data)
        if self._left_to_receive is not None:
            self._left_to_receive -= len(data)
        return data

    async def send_eof(self) -> None:
        """As the stream below."""
        self._check()
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As the stream below."""
        await self._stream.aclose()

    async def cut(self) -> None:
        """Break the connection now."""
        if self._is_cut:
            return
        self._is_cut = True
        if isinstance(self._stream, ByteStream):
            if not self._stream.is_void:
                self._stream.fail("cut")
            self._stream.close()
        else:
            await anyio.aclose_forcefully(self._stream)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """As the stream below."""
        return self._stream.extra_attributes

    def _check(self) -> None:
        if self._is_cut:
            raise anyio.BrokenResourceError("the connection was cut")

    def _allowed(self, wanted: int, left: int | None) -> int:
        return min(one for one in (wanted, self._piece, left) if one is not None)

    async def _count(self, done: int, left: int | None) -> int | None:
        if left is None:
            return None
        if left == done:
            await self.cut()
        return left - done

    async def _disturb(self) -> None:
        """Only before something is done: a cancellation here has lost nothing."""
        if self._random is not None:
            for _ in range(self._random.randint(0, self._steps)):
                await checkpoint()
