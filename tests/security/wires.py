"""Connections in memory, and peers that say on them whatever a test tells them (protocol sections 1 to 3)."""

import os
import socket
from collections.abc import Callable
from typing import Any

import anyio
import msgpack
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from chanlink import clock
from chanlink.security import suites
from chanlink.security.buffers import loop_buffers
from chanlink.security.noise.cipher import CipherState
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import KeyPair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import RecordKeys, Secrets, Thresholds
from chanlink.transport.sockets import SocketTransport

PROTOCOL_NAME = "Noise_XX_25519_ChaChaPoly_BLAKE2s"
DATA, CLOSE, REKEY, WELCOME = 0, 1, 2, 3
Edit = Callable[[int, bytes], bytes]


def prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def make_hello(*, magic: bytes = b"chanlink", version: int = 1, offer: object = None) -> bytes:
    packed = offer if isinstance(offer, bytes) else msgpack.packb(offer or {"pattern": "XX", "suites": ["chachapoly"]})
    return magic + bytes([version]) + prefixed(packed)


HELLO = make_hello()


def sealed_pair(
    thresholds: Thresholds | None = None, sockets: tuple[socket.socket, socket.socket] | None = None
) -> tuple[NoiseStream, NoiseStream]:
    """The two ends of a connection of sockets with small buffers, as after a handshake."""
    secrets = Secrets(*(os.urandom(32) for _ in range(4)))
    made = []
    for sock, client_side in zip(sockets or socket.socketpair(), (True, False), strict=True):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        buffers = loop_buffers()
        keys = RecordKeys(
            secrets,
            suites.suite("chachapoly"),
            client_side=client_side,
            now=clock.now(),
            plain=buffers.plain,
            thresholds=thresholds,
        )
        made.append(NoiseStream(SocketTransport(sock), keys, secrets, buffers))
    return made[0], made[1]


# --- connections in memory ------------------------------------------------------------------------------


class Wire(ByteStream):
    """One end of a connection in memory. ``sent`` has all that was sent here, before ``edit`` changed it.

    When both sides wait for each other in a handshake, nothing can come any more, and both see the end of the
    connection: what a timeout would do in life, without the time. A side that is ``patient`` waits on.
    """

    other: "Wire"

    def __init__(self, piece: int, patient: bool) -> None:
        self.piece = piece
        self.patient = patient
        self.sent = bytearray()
        self.edit: Edit = lambda at, data: data
        self.buffer = bytearray()
        self.ended = False
        self.closed = False
        self.half_closed = False
        self.waiting = False
        self._news = anyio.Event()

    def feed(self, data: bytes) -> None:
        """Let something arrive."""
        self.buffer += data
        self._wake()

    def end(self) -> None:
        """Let the connection's end arrive."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        self.waiting = False
        self._news.set()
        self._news = anyio.Event()

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await checkpoint()
        while not self.buffer:
            if self.closed:
                raise anyio.ClosedResourceError
            if self.ended:
                raise anyio.EndOfStream
            self.waiting = True
            if self.other.waiting and not self.patient:
                self.end()
                self.other.end()
            else:
                await self._news.wait()
        size = min(max_bytes, self.piece)
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def send(self, item: bytes) -> None:
        await checkpoint()
        if self.closed:
            raise anyio.ClosedResourceError
        if self.other.closed:
            raise anyio.BrokenResourceError
        at = len(self.sent)
        self.sent += item
        self.other.feed(self.edit(at, bytes(item)))

    async def send_eof(self) -> None:
        self.half_closed = True
        self.other.end()

    async def aclose(self) -> None:
        self.closed = True
        self._wake()
        self.other.end()


def wires(piece: int = 65_536, *, patient: bool = False) -> tuple[Wire, Wire]:
    """A connection that delivers at most ``piece`` bytes at a time."""
    one, two = Wire(piece, patient), Wire(piece, patient)
    one.other, two.other = two, one
    return one, two


def with_another_end(data: bytes) -> bytes:
    """Another last byte than there is, whatever that is."""
    return data[:-1] + bytes([data[-1] ^ 1])


def flipped(at: int, mask: int = 1) -> Edit:
    """Change one byte of what a side sends."""
    return _edit_at(at, lambda byte: bytes([byte[0] ^ mask]))


def removed(at: int) -> Edit:
    return _edit_at(at, lambda byte: b"")


def inserted(at: int) -> Edit:
    """Put a byte before another one, never the same: before a message's last one, that would change what comes after
    the message, and not the message."""
    return _edit_at(at, lambda byte: bytes([byte[0] ^ 1]) + byte)


def _edit_at(at: int, change: Callable[[bytes], bytes]) -> Edit:
    def edit(begin: int, data: bytes) -> bytes:
        offset = at - begin
        if not 0 <= offset < len(data):
            return data
        return data[:offset] + change(data[offset : offset + 1]) + data[offset + 1 :]

    return edit


# --- peers with a script --------------------------------------------------------------------------------


class Scripted:
    """A peer after its handshake: sends and receives single records."""

    def __init__(self, transport: ByteStream, sending: CipherState, receiving: CipherState, payload: bytes) -> None:
        self.transport = transport
        self.sending = sending
        self.receiving = receiving
        self.payload = payload
        """What the other side said in its certified payload."""

    async def send(self, kind: int, body: object) -> None:
        plaintext = bytes([kind]) + (body if isinstance(body, bytes) else msgpack.packb(body))
        await self.transport.send(prefixed(self.sending.encrypt_with_ad(b"", plaintext)))

    async def receive(self) -> tuple[int, Any]:
        plaintext = self.receiving.decrypt_with_ad(b"", await read_prefixed(self.transport))
        return plaintext[0], plaintext[1:] if plaintext[0] == DATA else msgpack.unpackb(plaintext[1:])


async def speak_as_client(
    transport: ByteStream, static: KeyPair, payload: bytes, *, hello: bytes = HELLO, first: bytes = b""
) -> Scripted:
    noise = HandshakeState(PROTOCOL_NAME, True, prologue=hello, s=static)
    await transport.send(hello + prefixed(noise.write_message(first)))
    offer = noise.read_message(await read_prefixed(transport))
    await transport.send(prefixed(noise.write_message(payload)))
    sending, receiving = noise.split()
    return Scripted(transport, sending, receiving, offer)


async def speak_as_server(transport: ByteStream, static: KeyPair, payload: bytes) -> Scripted:
    start = await read_exactly(transport, 9)
    hello = start + prefixed(await read_prefixed(transport))
    noise = HandshakeState(PROTOCOL_NAME, False, prologue=hello, s=static)
    noise.read_message(await read_prefixed(transport))
    await transport.send(prefixed(noise.write_message(payload)))
    answer = noise.read_message(await read_prefixed(transport))
    receiving, sending = noise.split()
    return Scripted(transport, sending, receiving, answer)


async def read_prefixed(transport: ByteStream) -> bytes:
    return await read_exactly(transport, int.from_bytes(await read_exactly(transport, 2), "big"))


async def read_exactly(transport: ByteStream, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += await transport.receive(length - len(data))
    return data


async def read_to_end(transport: ByteStream) -> bytes:
    """All that comes until the connection is closed, in order or not."""
    data = b""
    try:
        while True:
            data += await transport.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return data
