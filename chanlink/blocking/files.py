"""Byte streams as file objects: raw ones, for the buffers of `io`."""

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from chanlink import ChannelClosed, EndOfChannel

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class Stream(Protocol):
    """What they need of a byte stream."""

    def send(self, data: bytes) -> None: ...
    def receive(self, max_bytes: int) -> bytes: ...
    def send_eof(self) -> None: ...
    def refuse(self) -> None: ...


class Reader(io.RawIOBase):
    """What a byte stream receives."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ended = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Some bytes; 0 at the end. Raises as `ByteStream.receive`."""
        room = memoryview(buffer).cast("B")
        if self._ended or not len(room):
            return 0
        try:
            data = self._stream.receive(len(room))
        except EndOfChannel:
            self._ended = True
            return 0
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Read no more."""
        if not self.closed:
            super().close()
            if not self._ended:
                with suppress(ChannelClosed):  # the whole stream was closed before
                    self._stream.refuse()


class Writer(io.RawIOBase):
    """What a byte stream sends."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """All of them. Raises as `ByteStream.send`."""
        sent = bytes(data)
        self._stream.send(sent)
        return len(sent)

    def close(self) -> None:
        """That was all."""
        if not self.closed:
            super().close()
            self._stream.send_eof()
