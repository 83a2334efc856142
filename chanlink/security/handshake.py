"""The handshake: hello, Noise, and certificates (protocol sections 1 and 2).

`handshake_as_client` and `handshake_as_server` run over any byte stream and read from it exactly what they need, so
that a stranger can make us keep nothing. What remains of the handshake is a `NoiseStream`.

Before the peer is authenticated every failure is a `HandshakeError` here and a closed connection there; why it
failed is for our log only.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import anyio
import msgpack
from anyio.abc import ByteStream

from chanlink import clock
from chanlink.errors import ConnectionLost, HandshakeError, SessionClosed, SessionError, UntrustedPeer
from chanlink.limits import Limits, PeerLimits
from chanlink.security.keys.certificate import Certificate, Role, which_clock
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import DHLEN
from chanlink.transport.base import BROKEN, receive_exactly

from . import suites
from .buffers import RECEIVE, loop_buffers
from .noise_stream import NoiseStream
from .payloads import ANSWER, FIRST, HELLO, OFFER, read
from .records import LENGTH, WELCOME, prefixed
from .rekey import RecordKeys, Thresholds, secrets_of
from .statics import Statics
from .suites import Suite

MAGIC = b"chanlink"
VERSION = 1
MAX_OFFER = 1_024
MAX_HANDSHAKE_MESSAGE = 4_096
REFUSAL = 1.0
"""Seconds that a refused client has to read why."""

NO_TURN = "too many handshakes from our address fail, says the server, which has not proved who it is; try again later"

Admit = Callable[[PublicKey], Grant]
"""Says what the peer with this key may do. To end the handshake, it raises `WrongPeer`, `UntrustedPeer` or
`SessionClosed`."""

_HUNG_UP = "the peer closed the connection during the handshake"


class Authenticated(NamedTuple):
    """What a handshake gives."""

    stream: NoiseStream
    key: PublicKey
    """The peer's identity."""
    peer_limits: PeerLimits
    grant: Grant
    """What the peer may do."""
    round_trip: float


# --- the handshake -----------------------------------------------------------------------------


async def handshake_as_client(
    transport: ByteStream,
    statics: Statics,
    admit: Admit,
    limits: Limits,
    *,
    eager: bool = False,
    thresholds: Thresholds | None = None,
) -> Authenticated:
    """Authenticate as the side that connected.

    ``admit`` is asked before this side shows its own identity. Raises `HandshakeError`, or `SessionClosed` when the
    server refuses for another reason than the client's key; the caller closes the transport then.
    """
    hello = _hello(statics.pattern)
    noise, certificate = await statics.begin(hello)
    first = b"" if statics.psk is None else msgpack.packb({"time": int(time.time())})
    began = clock.now()
    await _send(transport, hello + prefixed(noise.write_message(first)))
    message = await _receive_answer(transport, statics)
    if not message:
        raise SessionClosed("busy", NO_TURN)
    offer = read(noise.read_message(message), OFFER)
    round_trip = clock.now() - began
    key = _verified(offer, noise.rs, Role.SERVER)
    suite = _offered(offer["suite"])
    peer_limits = PeerLimits(**offer.get("limits", {}))
    grant = admit(key)
    answer = {"certificate": certificate.to_map(), "peer": key.raw, "limits": _limits_map(limits)}
    await _send(transport, prefixed(noise.write_message(msgpack.packb(answer))))
    stream = _stream(transport, noise, suite, Role.CLIENT, thresholds)
    stream.expect_welcome(statics.identity.public_key)
    if not eager:
        await stream.receive_welcome()
    return Authenticated(stream, key, peer_limits, grant, round_trip)


async def _receive_answer(transport: ByteStream, statics: Statics) -> bytes:
    """The server's message. A server that does not want to talk to us says nothing, so that we can only guess why."""
    try:
        return await _receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE)
    except HandshakeError as exc:
        if exc.__cause__ is None:  # it has said something
            raise
        guess = "it is no chanlink server, has a pre-shared key, or has no room for us now"
        if statics.psk is not None:
            guess = f"it has another pre-shared key, or none; or {which_clock()}"
        text = f"the server closed the connection instead of an answer: {guess}"
        raise HandshakeError(text, code="no-answer") from exc.__cause__


async def handshake_as_server(
    transport: ByteStream,
    statics: Statics,
    admit: Admit,
    limits: Limits,
    *,
    thresholds: Thresholds | None = None,
) -> Authenticated:
    """Authenticate as the side that accepted the connection.

    Raises `UntrustedPeer`, or another `SessionClosed` of ``admit``, after having told the client so, and
    `HandshakeError` without a word to anybody.
    """
    hello, suite = await _receive_hello(transport, statics.pattern)
    noise, certificate = await statics.begin(hello)
    _check_first(await _receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE), noise, statics)
    began = clock.now()
    offer = {"certificate": certificate.to_map(), "suite": suite.name, "limits": _limits_map(limits)}
    await _send(transport, prefixed(noise.write_message(msgpack.packb(offer))))
    answer = read(noise.read_message(await _receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE)), ANSWER)
    round_trip = clock.now() - began
    key = _verified(answer, noise.rs, Role.CLIENT)
    peer_limits = PeerLimits(**answer.get("limits", {}))
    if answer["peer"] != statics.identity.public_key.raw:
        raise HandshakeError("the client believes that it talks to another server")
    try:
        grant = admit(key)
    except (UntrustedPeer, SessionClosed) as exc:
        await _refuse(transport, _stream(transport, noise, suite, Role.SERVER, thresholds), key, exc)
        raise
    stream = _stream(transport, noise, suite, Role.SERVER, thresholds)
    await _send_welcome(stream, "", key)
    return Authenticated(stream, key, peer_limits, grant, round_trip)


async def turn_away(transport: ByteStream, statics: Statics) -> None:
    """Tell a client that there is no handshake for it now (protocol section 2). Raises as `handshake_as_server`.

    It costs no operation on the curve; with a pre-shared key, only a client that has it is told.
    """
    hello, _ = await _receive_hello(transport, statics.pattern)
    noise, _ = await statics.begin(hello)
    _check_first(await _receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE), noise, statics)
    await _send(transport, prefixed(b""))
    await transport.send_eof()


def _check_first(message: bytes, noise: HandshakeState, statics: Statics) -> None:
    """Read the client's first message. With a pre-shared key, it must be a fresh one."""
    payload = noise.read_message(message)
    if statics.psk is not None:
        said = read(payload, FIRST)["time"]
        statics.replay_guard.check(message[:DHLEN], said, time.time(), clock.now())
    elif payload:
        raise HandshakeError("the first message has a payload")


def _stream(
    transport: ByteStream, noise: HandshakeState, suite: Suite, role: Role, thresholds: Thresholds | None
) -> NoiseStream:
    """What remains of a handshake."""
    secrets = secrets_of(noise)
    client_side, now = role is Role.CLIENT, clock.now()
    buffers = loop_buffers()
    keys = RecordKeys(secrets, suite, client_side=client_side, now=now, plain=buffers.plain, thresholds=thresholds)
    return NoiseStream(transport, keys, secrets, buffers)


async def _send_welcome(stream: NoiseStream, code: str, key: PublicKey, text: str = "") -> None:
    said = {"code": code, "you": key.raw}
    try:
        await stream.send_record(WELCOME, msgpack.packb({**said, "text": text} if text else said))
    except ConnectionLost as exc:
        raise HandshakeError(_HUNG_UP) from exc


async def _refuse(
    transport: ByteStream, stream: NoiseStream, key: PublicKey, why: UntrustedPeer | SessionClosed
) -> None:
    """Tell an authenticated client why there is no session, so that the reason arrives (protocol section 3.3)."""
    code, text = (why.code, why.text) if isinstance(why, SessionClosed) else ("untrusted", "")
    # It may have hung up: it is refused in any case.
    with suppress(SessionError, anyio.EndOfStream, *BROKEN), anyio.move_on_after(REFUSAL):
        await _send_welcome(stream, code, key, text)
        await stream.send_close(code, text)
        while True:  # a reset because of what was not read would overtake the reason
            await transport.receive(RECEIVE)


def _hello(pattern: str) -> bytes:
    offer = msgpack.packb({"pattern": pattern, "suites": suites.offer()})
    return MAGIC + bytes([VERSION]) + prefixed(offer)


def _offered(name: str) -> Suite:
    """The suite that the server chose."""
    if name not in suites.offer():
        raise HandshakeError("the server chose a record suite that was not offered")
    return suites.suite(name)


async def _receive_hello(transport: ByteStream, pattern: str) -> tuple[bytes, Suite]:
    """Read the client's hello: all of its bytes (the prologue), and our choice. Nine of them tell a client that speaks
    something else."""
    start = await _receive(transport, len(MAGIC) + 1)
    if start[:-1] != MAGIC:
        raise HandshakeError("the client does not speak chanlink")
    if start[-1] != VERSION:
        raise HandshakeError(f"the client speaks version {start[-1]}")
    packed = await _receive_prefixed(transport, MAX_OFFER)
    offer = read(packed, HELLO)
    if offer["pattern"] != pattern:
        raise HandshakeError("the client and this side do not both have a pre-shared key, or it wants another pattern")
    if (suite := suites.choose(offer["suites"])) is None:
        raise HandshakeError("the client offers no record suite that this side can use")
    return start + prefixed(packed), suite


def _verified(payload: dict[str, Any], static: bytes, role: Role) -> PublicKey:
    certificate = Certificate(**payload["certificate"])
    return certificate.verify(static, role, int(time.time()))


def _limits_map(limits: Limits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in PeerLimits.__slots__}


async def _receive_prefixed(transport: ByteStream, limit: int) -> bytes:
    (length,) = LENGTH.unpack(await _receive(transport, LENGTH.size))
    if length > limit:
        raise HandshakeError("a handshake message is too long")
    return await _receive(transport, length)


async def _receive(transport: ByteStream, length: int) -> bytes:
    try:
        return await receive_exactly(transport, length)
    except (anyio.EndOfStream, *BROKEN) as exc:
        raise HandshakeError(_HUNG_UP) from exc


async def _send(transport: ByteStream, data: bytes) -> None:
    try:
        await transport.send(data)
    except BROKEN as exc:
        raise HandshakeError(_HUNG_UP) from exc
