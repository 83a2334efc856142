"""Frames of WebSocket as they are on the wire, made and read by hand: what we send is not read by what has made it."""

import socket
import struct
from typing import Any, NamedTuple

from chanlink.transport.sockets import SocketTransport
from chanlink.transport.websocket import FRAME, WebSocketTransport

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x01\x80\xff\x55"


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True
    masked: bool = True


def masked(data: bytes, mask: bytes = MASK) -> bytes:
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def packed(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, length: int | None = None
) -> bytes:
    """One frame; with ``length``, it promises that many bytes."""
    length = len(payload) if length is None else length
    first = (0x80 if fin else 0) | opcode
    bit = 0x80 if mask else 0
    if length < 126:
        head = struct.pack("!BB", first, bit | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, bit | 127, length)
    return head + (MASK + masked(payload) if mask else payload)


def unpacked(data: bytes) -> list[Frame]:
    """The frames in these bytes, which end with one."""
    found = []
    while data:
        first, second = data[:2]
        length, at = second & 0x7F, 2
        if length >= 126:
            at = 4 if length == 126 else 10
            length = int.from_bytes(data[2:at], "big")
        mask = data[at : at + 4] if second & 0x80 else b""
        at += len(mask)
        payload = data[at : at + length]
        assert len(payload) == length
        found.append(Frame(first & 0xF, masked(payload, mask) if mask else payload, bool(first & 0x80), bool(mask)))
        data = data[at + length :]
    return found


def protocol_of(side: str) -> Any:
    """That of an open WebSocket."""
    from websockets.protocol import Protocol, Side, State

    return Protocol(Side[side.upper()], state=State.OPEN, max_size=(None, FRAME))


def opened(side: str) -> tuple[WebSocketTransport, socket.socket]:
    """One side of a WebSocket that is open, and the plain socket at the other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    return WebSocketTransport(SocketTransport(ours), protocol_of(side), b""), theirs
