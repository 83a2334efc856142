"""A byte stream that misbehaves."""

import random
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import anyio
from anyio.abc import ByteStream as AnyByteStream
from anyio.lowlevel import checkpoint

from chanlink import ByteStream
from chanlink.arguments import expect


class FaultyStream(AnyByteStream):
    """A byte stream around another one, with faults; each is off until it is asked for, and they add up.

    ``cut_after``: once this many bytes were sent, or this many received, the connection breaks, in the middle of
    whatever it is: both directions raise `anyio.BrokenResourceError` from then on. The other side sees what a broken
    connection looks like there; when the stream below is a `chanlink.ByteStream` that is a failure, never an end.

    ``stall_after``: once this many bytes were sent, or this many received, nothing goes through any more in either
    direction, and nothing breaks: as when a cable is pulled, or a process stopped. See `resume`.

    ``corrupt_at``: of the byte with this number (from 0), among those sent and among those received, a bit is flipped.

    ``piece``: sends and receives at most this many bytes at a time; 1 is the hardest test of a parser.

    ``delay``: seconds that each piece waits before it is sent.

    ``seed``: tasks run in another order than usual. Before each piece there are none to ``steps`` extra turns for
    other tasks, by a random generator with this seed, so that what fails once fails again.

    Raises `ValueError` for a ``piece`` below 1.
    """

    def __init__(
        self,
        stream: AnyByteStream,
        *,
        cut_after: int | None = None,
        stall_after: int | None = None,
        corrupt_at: int | None = None,
        piece: int | None = None,
        delay: float = 0.0,
        seed: int | None = None,
        steps: int = 5,
    ) -> None:
        expect("stream", stream, AnyByteStream)
        numbers = {"cut_after": cut_after, "stall_after": stall_after, "corrupt_at": corrupt_at}
        for name, number in {**numbers, "piece": piece, "seed": seed}.items():
            expect(name, number, int, NoneType)
        expect("delay", delay, int, float)
        expect("steps", steps, int)
        if piece is not None and piece < 1:
            raise ValueError("piece must be at least 1")
        self._stream = stream
        self._left_to_send = self._left_to_receive = cut_after
        self._stall_after = stall_after
        self._corrupt_to_send = self._corrupt_to_receive = corrupt_at
        self._stalled: anyio.Event | None = None
        """Set when it flows again."""
        self._kept = b""
        """What had come from below when this was stalled, or a receive cancelled."""
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
            data = bytes(left[: self._allowed(len(left), self._left_to_send, self.sent)])
            left = left[len(data) :]
            if data:
                damaged, self._corrupt_to_send = _corrupted(data, self.sent, self._corrupt_to_send)
                await self._stream.send(damaged)
                self.sent += len(data)
            self._stall_at(self.sent)
            self._left_to_send = await self._count(len(data), self._left_to_send)
        self._check()

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """As the stream below; in pieces, and up to the cut."""
        await self._disturb()
        self._check()
        if not self._kept:
            allowed = self._allowed(max_bytes, self._left_to_receive, self.received)
            if allowed == 0:
                await self.cut()
                self._check()
            try:
                self._kept = await self._stream.receive(allowed)
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                self._check()  # it was cut meanwhile
                raise
        await self._until_it_flows()
        self._check()
        data, self._kept = self._kept[:max_bytes], self._kept[max_bytes:]
        damaged, self._corrupt_to_receive = _corrupted(data, self.received, self._corrupt_to_receive)
        self.received += len(data)
        self._stall_at(self.received)
        if self._left_to_receive is not None:
            self._left_to_receive -= len(data)
        return damaged

    async def send_eof(self) -> None:
        """As the stream below."""
        await self._until_it_flows()
        self._check()
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As the stream below."""
        self.resume()
        await self._stream.aclose()

    async def cut(self) -> None:
        """Break the connection now."""
        if self._is_cut:
            return
        self._is_cut = True
        self.resume()
        if isinstance(self._stream, ByteStream):
            if not self._stream.is_void:
                self._stream.fail("cut")
            self._stream.close()
        else:
            await anyio.aclose_forcefully(self._stream)

    def stall(self) -> None:
        """Let nothing through from now on, in either direction, and break nothing: sends wait, and nothing comes."""
        if self._stalled is None and not self._is_cut:
            self._stalled = anyio.Event()

    def resume(self) -> None:
        """Let through what was stalled, and what comes after it."""
        self._stall_after = None
        if self._stalled is not None:
            self._stalled.set()
            self._stalled = None

    async def cut_if_stalled(self) -> None:
        """Break the connection if nothing goes through: whoever closes a session over it need not wait for that."""
        if self._stalled is not None:
            await self.cut()

    def corrupt(self) -> None:
        """Flip a bit of the next byte that is sent, and of the next one that is received."""
        self._corrupt_to_send, self._corrupt_to_receive = self.sent, self.received

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """As the stream below."""
        return self._stream.extra_attributes

    def _check(self) -> None:
        if self._is_cut:
            raise anyio.BrokenResourceError("the connection was cut")

    def _allowed(self, wanted: int, left: int | None, done: int) -> int:
        """How many bytes may go on together: no piece crosses the place of a cut or a stall."""
        until_stall = None if self._stall_after is None or done >= self._stall_after else self._stall_after - done
        return min(one for one in (wanted, self._piece, left, until_stall) if one is not None)

    def _stall_at(self, done: int) -> None:
        if self._stall_after is not None and done >= self._stall_after:
            self.stall()

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
        if self._stall_after == 0:
            self.stall()
        await self._until_it_flows()

    async def _until_it_flows(self) -> None:
        while self._stalled is not None:
            await self._stalled.wait()


def _corrupted(data: bytes, begin: int, at: int | None) -> tuple[bytes, int | None]:
    """These bytes, which begin at a place in the stream, with the one at ``at`` changed; and where to change next."""
    if at is None or not begin <= at < begin + len(data):
        return data, at
    damaged = bytearray(data)
    damaged[at - begin] ^= 1
    return bytes(damaged), None
