"""A byte stream in the binary messages of a WebSocket (protocol section 20.3).

What a frame is knows the sans-I/O half of ``websockets``, an extra; so only functions that need it import this file.
"""

from collections import deque
from typing import Any, cast

import anyio
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from chanlink import clock
from chanlink.limits import Bucket

from .base import Transport
from .layered import LayeredTransport
from .websockets_library import OPEN, CloseCode, Frame, Opcode, Protocol

FRAME = 64 * 1024
"""Bytes of ours in one frame at most, in both directions: until it has come whole, we keep what has come of it."""
SLICE = 16 * 1024
"""Bytes that are read as frames at a time, if they bring something and frames are small: who sends the smallest that
there are costs no more of our time than that before what is in them was looked at."""
EMPTY, EMPTY_A_SECOND = 100, 10.0
"""Frames that carry nothing for us, pings and empty ones: so many at once, and so many a second more."""


class WebSocketTransport(LayeredTransport):
    """A WebSocket whose opening handshake is over.

    It can't end one half of a connection: a close frame is the end of both. Nor does a machine that acknowledges say
    anything of the peer, since it may be that of a proxy.
    """

    def __init__(self, below: Transport, protocol: Protocol, ahead: bytes, source: str = "") -> None:
        """``ahead`` came behind the opening handshake. ``source`` is the IP address that stands for the other side, if
        that is not the one of the connection."""
        super().__init__(below)
        self._protocol = protocol
        self._source = source
        self._unread = memoryview(b"")
        self._is_dense = False
        """Whether more than half of what was read last was for us: then frames cost little, and are read at once."""
        self._has_ended = False
        self._arrived: deque[memoryview] = deque()
        self._empty = Bucket(EMPTY, EMPTY_A_SECOND)
        self._refuses = ""
        """Why nothing more is taken, if that is not the library's word."""
        if ahead:
            self._feed(memoryview(ahead))

    def _encode(self, piece: bytes | memoryview) -> bytes:
        protocol = self._protocol
        if protocol.state is not OPEN:
            raise anyio.BrokenResourceError("the WebSocket is closed")
        for at in range(0, len(piece), FRAME):
            protocol.send_binary(piece[at : at + FRAME])
        return b"".join(protocol.data_to_send())

    def _feed(self, data: memoryview) -> None:
        self._has_ended = not data
        if self._is_dense:
            self._read(data)
        else:
            self._unread = memoryview(bytes(data))

    def _take(self, buffer: memoryview) -> int | None:
        while not self._arrived and self._unread and not self._refuses:
            size = len(self._unread) if self._is_dense else SLICE
            data, self._unread = self._unread[:size], self._unread[size:]
            self._read(data)
        if self._arrived:
            return self._hand_out(buffer)
        protocol = self._protocol
        if self._has_ended:
            protocol.receive_eof()
        if self._refuses or protocol.parser_exc is not None:
            raise anyio.BrokenResourceError(self._refuses or str(protocol.parser_exc)) from protocol.parser_exc
        return None if protocol.close_rcvd is None else 0

    def _read(self, data: memoryview) -> None:
        """Read these bytes as frames, and answer."""
        protocol, carried = self._protocol, 0
        protocol.receive_data(cast(Any, data))  # which copies it
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.TEXT:
                self._refuse(CloseCode.UNSUPPORTED_DATA, "binary messages only")
            elif frame.data and frame.opcode in (Opcode.BINARY, Opcode.CONT):
                self._arrived.append(memoryview(frame.data))
                carried += len(frame.data)
            elif not self._empty.take(clock.now()):
                self._refuse(CloseCode.POLICY_VIOLATION, "too many frames without data")
            if self._refuses:
                break
        self._is_dense = 2 * carried > len(data)
        for answer in protocol.data_to_send():
            if answer:  # an empty one stands for the end of the connection
                self._answer(answer)

    def _refuse(self, code: CloseCode, why: str) -> None:
        """Take nothing more, though the frames were right."""
        self._refuses = why
        self._protocol.fail(code, why)

    def _hand_out(self, buffer: memoryview) -> int:
        piece = self._arrived.popleft()
        size = min(len(piece), len(buffer))
        buffer[:size] = piece[:size]
        if size < len(piece):
            self._arrived.appendleft(piece[size:])
        return size

    def _farewell(self) -> bytes:
        protocol = self._protocol
        if protocol.state is OPEN:
            protocol.send_close(CloseCode.NORMAL_CLOSURE)
        return b"".join(protocol.data_to_send())

    async def send_eof(self) -> None:
        """Only send what was not sent yet: that nothing follows, the close record above has said."""
        self._check_open()
        await checkpoint()
        await self._push_all()

    def peer_acknowledges(self, seconds: float) -> bool:
        return False

    @property
    def extra_attributes(self) -> Any:
        """Those of the transport below; the address of the other side is the one that a proxy has told, if any."""
        attributes = super().extra_attributes
        return {**attributes, SocketAttribute.remote_address: lambda: (self._source, 0)} if self._source else attributes
