"""Byte streams: `byte_pipe`, `ByteStream`."""

from types import NoneType, TracebackType
from typing import Any, NamedTuple

from anyio.abc import ByteStream as AnyByteStream
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect
from chanlink.bytes_like import as_bytes
from chanlink.errors import END, ChannelClosed, ChannelError, EndOfChannel, Reason

from .channel import check_reason, failure
from .cores import ReceiveCore, SendCore
from .handle import ReceiveHandle, SendHandle
from .memory import ByteQueue
from .values import Kind
from .waiting import Loop

WRONG_SIZE = "wrong-size"


class ByteStreamStatistics(NamedTuple):
    """A moment in the life of a byte stream."""

    sent: int
    """Bytes accepted."""
    queued: int
    """Bytes that were accepted and have not left this process yet (in memory: that were not taken)."""
    credit: int | None
    """Bytes that would be accepted now."""
    received: int
    """Bytes taken."""
    arrived: int
    """Bytes that have arrived and were not taken."""
    sending: int
    """How many tasks wait in `send`."""
    receiving: int
    """How many tasks wait in `receive`."""


def byte_pipe(size: int | None = None) -> "tuple[ByteStream, ByteStream]":
    """Make two byte streams, joined: what goes in at one end comes out at the other, both ways.

    Either may be sent to another process inside a message, also after some bytes were written to the other.

    With `size`, exactly this many bytes have to flow from the left end to the right one: sending more, or ending with
    less, fails on both sides with code ``wrong-size``. The other direction has no size.

    Raises `ValueError` for a size below 0.
    """
    if size is not None:
        expect("size", size, int, NoneType)
        if size < 0:
            raise ValueError("size must be None or at least 0")
    loop = Loop()
    there, back = ByteQueue(loop, size), ByteQueue(loop)
    assert there.receiver is not None
    assert back.receiver is not None
    return ByteStream(there.sender, back.receiver), ByteStream(back.sender, there.receiver)


class ByteStream(SendHandle[bytes], ReceiveHandle, AnyByteStream):
    """A two-way path for raw bytes with half-close; an `anyio.abc.ByteStream`.

    Leaving ``async with stream`` closes both directions; by an exception, what it sends *fails*. One that is garbage
    collected without having been closed fails with code ``abandoned``, and causes a `ResourceWarning`.
    """

    kind: Kind = "bytes"
    """What the peer gets when this end is sent to it."""

    def __init__(self, send_core: SendCore, receive_core: ReceiveCore) -> None:
        self._send_core = send_core
        self._receive_core = receive_core
        super().__init__()

    def _cores(self) -> tuple[SendCore, ReceiveCore]:
        return self._send_core, self._receive_core

    def _counts(self) -> dict[str, int]:
        now = self.statistics()
        sending = {"sent": now.sent, "queued": now.queued, "tasks that send": now.sending}
        return {**sending, "received": now.received, "arrived": now.arrived, "tasks that receive": now.receiving}

    async def send(self, item: bytes) -> None:
        """Send bytes, or what has a buffer of them; returns when they were accepted, all of them.

        Raises `ChannelRefused` when the other side reads no more, `SessionLost`, `ChannelClosed`; of a stream with a
        size `ChannelFailed` (``wrong-size``) when it is more, and nothing can be sent any more. Cancelled: all was
        accepted or nothing. Anything else than bytes is a `TypeError`.
        """
        data = as_bytes(item)
        if not data:
            await checkpoint()
            return
        core = self._send_core
        if core.bytes_left is None:
            await SendHandle.send(self, data)
        else:
            await self._send_sized(core, data)
        core.count(len(data))

    async def _send_sized(self, core: SendCore, data: bytes) -> None:
        size = len(data)
        if more := core.reserve(size):
            self._check_open()
            raise self._wrong_size(f"{more} bytes more than were said")
        sent = False
        try:
            await SendHandle.send(self, data)
            sent = True
        finally:
            core.release_reserved(size, sent=sent)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """At least one byte, at most `max_bytes`: of what has arrived as many frames (64 KiB at most) as fit.

        Raises `EndOfChannel` (an `anyio.EndOfStream`) after the last byte, `ChannelFailed` when the other side gave up,
        or sent more or less than the size that the stream was made for, `SessionLost`, `ChannelClosed`. A truncated
        stream is never an end. Cancelled: nothing is lost.
        """
        if type(max_bytes) is not int:
            expect("max_bytes", max_bytes, int)
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        core = self._receive_core
        data: bytes = await (self._get(max_bytes) if core.bytes_left is None else self._receive_sized(core, max_bytes))
        core.count(len(data))
        return data

    async def _receive_sized(self, core: ReceiveCore, max_bytes: int) -> bytes:
        assert core.bytes_left is not None
        try:
            data: bytes = await self._get(max_bytes)
        except EndOfChannel:
            if not core.bytes_left:
                raise
            data = b""
        if not 0 < len(data) <= core.bytes_left:
            failed = Reason("failed", WRONG_SIZE, "the other side sent another number of bytes than it said")
            core.fail(failed)
            raise failed.error()
        return data

    def _wrong_size(self, text: str) -> ChannelError:
        failed = Reason("failed", WRONG_SIZE, text)
        self._finish(failed)
        return failed.error()

    async def send_eof(self) -> None:
        """End what this side sends; it can still receive.

        Raises `ChannelFailed` (``wrong-size``) when less was sent than the size that the stream was made for.
        """
        self._check_open()
        core = self._send_core
        if core.bytes_left and core.shares:
            raise self._wrong_size(f"{core.bytes_left} bytes less than were said")
        self._finish(END)
        await checkpoint()

    def fail(self, code: str, text: str = "") -> None:
        """Give up sending: the other side gets the bytes sent before, then `ChannelFailed(code, text)`.

        This side can still receive. Raises `ChannelClosed` when this end is closed, or was sent away.
        """
        check_reason(code, "text", text)
        self._check_open()
        self._finish(Reason("failed", code, text))

    def _finish(self, reason: Reason) -> None:
        self._finish_sending(reason)
        self._send_core.wake_all()

    def _finish_sending(self, reason: Reason) -> None:
        if self._send_core.shares:  # the first reason stays
            self._send_core.release(reason)

    def refuse(self, code: str = "closed", reason: str = "") -> None:
        """Read no more; the other side's `send` raises `ChannelRefused` from now on. This side can still send."""
        check_reason(code, "reason", reason)
        self._check_open()
        self._receive_core.refuse(Reason("refused", code, reason))

    def close(self) -> None:
        """End what this side sends, unless that is over, and read no more. Closing twice is harmless.

        A stream that has not sent its whole size fails instead.
        """
        early = Reason("failed", WRONG_SIZE, "closed early") if self._send_core.bytes_left else END
        self._close(early, Reason("refused", "closed"))

    async def aclose(self) -> None:
        """As `close`."""
        self.close()
        await checkpoint()

    def _close(self, sending: Reason, receiving: Reason) -> None:
        if self._make_void(ChannelClosed):
            self._release(sending, receiving)

    def _release(self, sending: Reason, receiving: Reason) -> None:
        self._finish_sending(sending)
        self._receive_core.refuse(receiving)

    async def wait_closed(self) -> ChannelError:
        """Return, with the reason, when the other side reads no more, though nothing is being sent.

        Raises `ChannelClosed` when this side closes it, or sends it away, before.
        """
        return await self._until_refused()

    @property
    def size(self) -> int | None:
        """How many bytes come to this end in all, if the other side has said so; it can't send another number.

        Of an end that has travelled, those that were still to come then.
        """
        core = self._receive_core
        return None if core.bytes_left is None else core.bytes + core.bytes_left

    def statistics(self) -> ByteStreamStatistics:
        """What it is doing now."""
        sending, receiving = self._send_core, self._receive_core
        return ByteStreamStatistics(
            sending.bytes,
            sending.outlet.queued,
            sending.outlet.credit,
            receiving.bytes,
            receiving.queued,
            len(sending.senders),
            len(receiving.receivers),
        )

    @property
    def extra_attributes(self) -> Any:
        """As of anyio's streams; there are none."""
        return {}

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        why = failure(exc_type)
        if why is None:
            self.close()
        else:
            self._close(why, Reason("refused", why.code))
