"""How a handshake begins: the hello, and the bytes that its messages travel in (protocol sections 1 and 2).

What a stranger sends is read exactly, so that it can make us keep nothing, and each length is looked at before the
bytes that it promises.
"""

from typing import NamedTuple

import anyio
import msgpack
from anyio.abc import ByteStream

from chanlink.errors import HandshakeError
from chanlink.security.early.prekeys import FirstMessage
from chanlink.transport.base import BROKEN, receive_exactly, send_whole

from . import suites
from .payloads import HELLO, read
from .records import LENGTH, prefixed
from .statics import EARLY_PATTERN, PATTERN, Statics
from .suites import Suite

MAGIC = b"chanlink"
VERSION = 1
MAX_OFFER = 1_024
MAX_HANDSHAKE_MESSAGE = 4_096
MAX_EARLY_MESSAGE = 8_192
"""Bytes of a message 1 that has data."""
HUNG_UP = "the peer closed the connection during the handshake"


class Hello(NamedTuple):
    """How a client begins."""

    passed: bytes
    """All bytes that have gone over the connection, both ways: the prologue."""
    suite: Suite
    """Our choice."""
    prekey: bytes
    """The name of the prekey by which it wants to begin; empty if it does not, or that was declined."""
    declined: FirstMessage | None = None
    """The first message that was declined, where we have its prekey."""


def hello_of(pattern: str, **more: bytes) -> bytes:
    """What a client begins with; ``more`` are entries of the offer."""
    offer = msgpack.packb({"pattern": pattern, "suites": suites.offer(), **more})
    return MAGIC + bytes([VERSION]) + prefixed(offer)


def offered(name: str) -> Suite:
    """The suite that the server chose."""
    if name not in suites.offer():
        raise HandshakeError("the server chose a record suite that was not offered")
    return suites.suite(name)


async def receive_hello(transport: ByteStream, statics: Statics) -> Hello:
    """Read the client's hello. Nine bytes of it tell a client that speaks something else. Raises `HandshakeError`."""
    start = await _receive(transport, len(MAGIC) + 1)
    if start.startswith(b"\x16\x03"):
        raise HandshakeError("the client speaks TLS: this side has another security=")
    if start[:-1] != MAGIC:
        raise HandshakeError("the client does not speak chanlink")
    if start[-1] != VERSION:
        raise HandshakeError(f"the client speaks version {start[-1]}")
    packed = await receive_prefixed(transport, MAX_OFFER)
    offer = read(packed, HELLO)
    patterns = (PATTERN, EARLY_PATTERN) if statics.psk is None else (statics.pattern,)
    if offer["pattern"] not in patterns:
        raise HandshakeError("the client and this side do not both have a pre-shared key, or it wants another pattern")
    if (suite := suites.choose(offer["suites"])) is None:
        raise HandshakeError("the client offers no record suite that this side can use")
    is_early = offer["pattern"] == EARLY_PATTERN
    if is_early != ("prekey" in offer):
        raise HandshakeError("the client names a prekey, and does not begin by it, or the other way round")
    return Hello(start + prefixed(packed), suite, offer.get("prekey", b""))


async def decline(transport: ByteStream, hello: Hello, message: bytes, declined: FirstMessage | None = None) -> Hello:
    """Have a client that wants to begin by a prekey begin by the ordinary handshake (protocol section 2.4)."""
    await send(transport, prefixed(b""))
    passed = hello.passed + prefixed(message) + prefixed(b"")
    return hello._replace(passed=passed, prekey=b"", declined=declined)


async def receive_ordinary(transport: ByteStream, statics: Statics) -> Hello:
    """As `receive_hello`; a client that wants to begin by a prekey is declined."""
    hello = await receive_hello(transport, statics)
    if hello.prekey:
        hello = await decline(transport, hello, await receive_prefixed(transport, MAX_EARLY_MESSAGE))
    return hello


async def receive_prefixed(transport: ByteStream, limit: int) -> bytes:
    """A handshake message. Raises `HandshakeError`."""
    (length,) = LENGTH.unpack(await _receive(transport, LENGTH.size))
    if length > limit:
        raise HandshakeError("a handshake message is too long")
    return await _receive(transport, length)


async def _receive(transport: ByteStream, length: int) -> bytes:
    try:
        return await receive_exactly(transport, length)
    except (anyio.EndOfStream, *BROKEN) as exc:
        raise HandshakeError(HUNG_UP) from exc


async def send(transport: ByteStream, data: bytes) -> None:
    """Send bytes of the handshake. Raises `HandshakeError`."""
    try:
        await send_whole(transport, data)
    except BROKEN as exc:
        raise HandshakeError(HUNG_UP) from exc
