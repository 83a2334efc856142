"""Byte streams: `byte_pipe`, `ByteStream`."""

from types import TracebackType
from typing import Any, NamedTuple

from anyio.abc import ByteStream as AnyByteStream
from anyio.lowlevel import checkpoint

from .channel import failure
from .errors import END, ChannelClosed, ChannelError, Reason
from .handle import Handle
from .link import ByteLink
from .stream import Kind


class ByteStreamStatistics(NamedTuple):
    """A moment in the life of a byte stream."""

    sending: int
    """Tasks that wait in `send`."""
    receiving: int
    """Tasks that wait in `receive`."""


def byte_pipe() -> "tuple[ByteStream, ByteStream]":
    """Make two byte streams, joined: what goes in at one end comes out at the other, both ways.

    Either may be sent to another process inside a message, also after some bytes were written to the other.
    """
    there, back = ByteLink(), ByteLink()
    return ByteStream(there.sender, back.receiver), ByteStream(back.sender, there.receiver)


class ByteStream(Handle, AnyByteStream):
    """A two-way path for raw bytes with half-close; an `anyio.abc.ByteStream`.

    Leaving ``async with stream`` closes both directions; by an exception, what it sends *fails*.
    """

    kind: Kind = "bytes"

    async def send(self, item: bytes) -> None:
        """Send bytes; returns when they were accepted, all of them.

        Raises `ChannelRefused` when the other side reads no more, `SessionLost`, `ChannelClosed`. Cancelled: all was
        accepted or nothing.
        """
        if item:
            await self.put(bytes(item))
        else:
            await checkpoint()

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """At least one byte, at most `max_bytes`.

        Raises `EndOfChannel` (an `anyio.EndOfStream`) after the last byte, `ChannelFailed` when the other side gave up,
        `SessionLost`, `ChannelClosed`. A truncated stream is never an end. Cancelled: nothing is lost.
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        return await self.get(max_bytes)  # type: ignore[no-any-return]

    async def send_eof(self) -> None:
        """End what this side sends; it can still receive."""
        self._finish(END)
        await checkpoint()

    def fail(self, code: str, text: str = "") -> None:
        """Give up sending: the other side gets the bytes sent before, then `ChannelFailed(code, text)`."""
        self._finish(Reason("failed", code, text))

    def _finish(self, reason: Reason) -> None:
        self.check_open()
        assert self.send_core is not None
        self.send_core.outlet.finish(reason)  # the first one stays
        self.send_core.wake_all()

    def refuse(self, code: str = "closed", reason: str = "") -> None:
        """Read no more; the other side's `send` raises `ChannelRefused` from now on.  This side can still send."""
        self.check_open()
        assert self.receive_core is not None
        self.receive_core.refuse(Reason("refused", code, reason))

    def close(self) -> None:
        """End what this side sends, unless that is over, and read no more.  Closing twice is harmless."""
        self._close(END, Reason("refused", "closed"))

    async def aclose(self) -> None:
        """As `close`."""
        self.close()
        await checkpoint()

    def _close(self, sending: Reason, receiving: Reason) -> None:
        if self.void(ChannelClosed):
            assert self.send_core is not None
            assert self.receive_core is not None
            self.send_core.outlet.finish(sending)
            self.receive_core.refuse(receiving)

    async def wait_closed(self) -> ChannelError:
        """Return, with the reason, when the other side reads no more, though nothing is being sent."""
        return await self.until_refused()

    def statistics(self) -> ByteStreamStatistics:
        assert self.send_core is not None
        assert self.receive_core is not None
        return ByteStreamStatistics(len(self.send_core.room), len(self.receive_core.waiting))

    @property
    def extra_attributes(self) -> Any:
        return {}

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        why = failure(exc_type)
        if why is None:
            self.close()
        else:
            self._close(why, Reason("refused", why.code))
