"""The handshake: hello, Noise, and certificates (protocol sections 1 and 2).

`handshake_as_client` and `handshake_as_server` run over any byte stream and read from it exactly what they need, so
that a stranger can make us keep nothing. What remains of the handshake is a `NoiseStream`.

Before the peer is authenticated every failure is a `HandshakeError` here and a closed connection there; why it
failed is for our log only.
"""

import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import msgpack
from anyio.abc import ByteStream

from chanlink import clock
from chanlink.errors import (
    HandshakeError,
    ServerTooOld,
    SessionClosed,
)
from chanlink.features import CREDENTIAL_RENEWAL, FEATURES, ONE_SERVICE
from chanlink.limits import Limits, PeerLimits
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.state import HandshakeState
from chanlink.security.resuming.agreement import Agreement, to_milliseconds

from .buffers import Buffers, loop_buffers
from .hello import (
    MAX_HANDSHAKE_MESSAGE,
    hello_of,
    offered,
    receive_prefixed,
    send,
)
from .noise_stream import NoiseStream
from .payloads import OFFER, read
from .records import prefixed
from .rekey import RecordKeys, Secrets, Thresholds, secrets_of
from .showing import Shown, agreed_of, presented, understood
from .statics import Statics
from .suites import Suite

NO_TURN = "too many handshakes from our address fail, says the server, which has not proved who it is; try again later"

Admit = Callable[[Presented], Grant]
"""Says what the peer that has shown this may do. To end the handshake, it raises `WrongPeer`, `UntrustedPeer` or
`SessionClosed`."""


class Authenticated(NamedTuple):
    """What a handshake gives."""

    stream: NoiseStream
    presented: Presented
    """What the peer has shown of itself."""
    peer_limits: PeerLimits
    grant: Grant
    """What the peer may do."""
    round_trip: float
    features: frozenset[str]
    """Those that both sides have listed."""
    agreement: Agreement | None = None
    """That the session may outlive this connection; None if it may not."""
    service: str = ""
    """The only service that the session is for; empty if it is for all."""

    @property
    def key(self) -> PublicKey:
        """The peer's identity."""
        return self.presented.key


# --- the handshake -----------------------------------------------------------------------------


async def handshake_as_client(
    transport: ByteStream,
    statics: Statics,
    admit: Admit,
    limits: Limits,
    *,
    eager: bool = False,
    resume: float = 0.0,
    early: bool = False,
    service: str = "",
    features: Collection[str] = FEATURES,
    thresholds: Thresholds | None = None,
) -> Authenticated:
    """Authenticate as the side that connected.

    ``admit`` is asked before this side shows its own identity. With ``resume`` it asks for so many seconds in which it
    may come back; what it is granted is the `Agreement`, which an ``eager`` client can't wait for. With ``early`` it
    asks for a prekey, which is in the welcome. With ``service`` the session is for that alone. Raises `HandshakeError`,
    or `SessionClosed` when the server refuses for another reason than the client's key; the caller closes the transport
    then.
    """
    noise, shown, found = await ask(transport, statics)
    grant = admit(found.presented)
    answer = answer_to(found, shown, limits, features, service)
    if resume:
        answer["resume"] = to_milliseconds(resume)
    if early:
        answer["early"] = 1
    stream = await answer_with(transport, noise, found, answer, statics, thresholds)
    if not eager:
        await stream.receive_welcome()
    agreement = Agreement.read(stream.welcome, stream.export, resume) if resume else None
    agreed = agreed_of(features, found.offer)
    return Authenticated(
        stream, found.presented, found.peer_limits, grant, found.round_trip, agreed, agreement, service
    )


class Found(NamedTuple):
    """What a client knows once the server has answered."""

    presented: Presented
    offer: dict[str, Any]
    suite: Suite
    peer_limits: PeerLimits
    round_trip: float

    @property
    def key(self) -> PublicKey:
        return self.presented.key


async def ask(transport: ByteStream, statics: Statics, *, passed: bytes = b"") -> tuple[HandshakeState, Shown, Found]:
    """Send message 1, and read message 2. Raises as `handshake_as_client`.

    ``passed`` is what has gone over the connection before, both ways, where another handshake was declined.
    """
    hello = b"" if passed else hello_of(statics.pattern)
    noise, shown = await statics.begin(passed or hello)
    first = b"" if statics.psk is None else msgpack.packb({"time": int(time.time())})
    began = clock.now()
    await send(transport, hello + prefixed(noise.write_message(first)))
    message = await receive_answer(transport, statics)
    if not message:
        raise SessionClosed("busy", NO_TURN)
    offer = read(noise.read_message(message), OFFER)
    round_trip = clock.now() - began
    server, suite = presented(offer, noise.rs, Role.SERVER), offered(offer["suite"])
    return noise, shown, Found(server, offer, suite, PeerLimits(**offer.get("limits", {})), round_trip)


def answer_to(
    found: Found, shown: Shown, limits: Limits, features: Collection[str], service: str = ""
) -> dict[str, Any]:
    """What message 3 says to this server in any case. Raises `ServerTooOld` where it can't say the service."""
    answer = {**shown.entries(), "peer": found.key.raw, **understood(limits, features)}
    if not service:
        return answer
    if ONE_SERVICE not in agreed_of(features, found.offer):
        raise ServerTooOld("the server would let this side use all services, it knows of no sessions for one")
    return answer | {"service": service}


async def answer_with(
    transport: ByteStream,
    noise: HandshakeState,
    found: Found,
    answer: dict[str, Any],
    statics: Statics,
    thresholds: Thresholds | None = None,
) -> NoiseStream:
    """Send message 3, after which the server is to send its welcome. Raises `HandshakeError`."""
    secrets = await finish_as_client(transport, noise, answer)
    keys, buffers = keys_for(secrets, found.suite, Role.CLIENT, thresholds)
    if CREDENTIAL_RENEWAL in agreed_of(answer["features"], found.offer):
        keys.expect_credentials()
    stream = NoiseStream(transport, keys, secrets, buffers)
    resumes = "resume" in answer or "session" in answer
    stream.expect_welcome(statics.identity.public_key, resumes=resumes, unshown=statics.unshown())
    return stream


async def finish_as_client(transport: ByteStream, noise: HandshakeState, answer: dict[str, Any]) -> Secrets:
    """Send message 3: what remains is these secrets, no record has been sealed or opened. Raises `HandshakeError`."""
    await send(transport, prefixed(noise.write_message(msgpack.packb(answer))))
    return secrets_of(noise)


async def receive_answer(transport: ByteStream, statics: Statics) -> bytes:
    """The server's message. A server that does not want to talk to us says nothing, so that we can only guess why."""
    try:
        return await receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE)
    except HandshakeError as exc:
        if exc.__cause__ is None:  # it has said something
            raise
        guess = "it is no chanlink server, has a pre-shared key or TLS (security=), or has no room for us now"
        if statics.psk is not None:
            guess = f"it has another pre-shared key, or none; or {clock.which_is_wrong()}"
        text = f"the server closed the connection instead of an answer: {guess}"
        raise HandshakeError(text, code="no-answer") from exc.__cause__


def keys_for(
    secrets: Secrets, suite: Suite, role: Role, thresholds: Thresholds | None = None
) -> tuple[RecordKeys, Buffers]:
    """What seals and opens records from here on, and the room for them."""
    buffers, now = loop_buffers(), clock.now()
    client_side = role is Role.CLIENT
    keys = RecordKeys(secrets, suite, client_side=client_side, now=now, plain=buffers.plain, thresholds=thresholds)
    return keys, buffers
