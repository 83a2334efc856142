"""The handshake as the side that accepts: it hears who a client is, and welcomes or refuses it (protocol section 2).

A client has proved who it is once its message 3 was heard; until then, what fails is told to nobody. What it is told
then is the first record of the session, or of a connection that ends with it.
"""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import anyio
import msgpack
from anyio.abc import ByteStream

from chanlink import clock
from chanlink.errors import ConnectionLost, HandshakeError, SessionClosed, SessionError, UntrustedPeer
from chanlink.features import CREDENTIAL_RENEWAL, FEATURES
from chanlink.limits import Limits, PeerLimits
from chanlink.security.early.prekey import Prekey
from chanlink.security.early.prekeys import FirstMessage
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import DHLEN
from chanlink.security.resuming.agreement import Terms
from chanlink.security.resuming.proofs import RESUME_BYTES, Resume
from chanlink.transport.base import BROKEN, ip_of, remote_of

from .buffers import RECEIVE
from .handshake import Admit, Authenticated, keys_for
from .hello import HUNG_UP, MAX_HANDSHAKE_MESSAGE, Hello, receive_ordinary, receive_prefixed, send
from .noise_stream import NoiseStream
from .payloads import ANSWER, FIRST, read
from .records import RESUME, WELCOME, prefixed
from .rekey import RecordKeys, Secrets, Thresholds, secrets_of
from .showing import agreed_of, presented, understood
from .statics import Statics
from .suites import Suite

REFUSAL = 1.0
"""Seconds that a refused client has to read why."""


async def handshake_as_server(
    transport: ByteStream,
    statics: Statics,
    admit: Admit,
    limits: Limits,
    *,
    features: Collection[str] = FEATURES,
    thresholds: Thresholds | None = None,
) -> Authenticated:
    """Authenticate as the side that accepted the connection, and has no sessions to come back to.

    Raises `UntrustedPeer`, or another `SessionClosed` of ``admit``, after having told the client so, and
    `HandshakeError` without a word to anybody.
    """
    met = await meet(transport, statics, limits, features=features, thresholds=thresholds)
    terms = Terms.made(0)
    if met.resume is not None:
        gone = SessionClosed("gone")
        await refuse(met, gone, {"instance": terms.instance})
        raise gone
    return await welcome(met, admit, terms)


class Heard(NamedTuple):
    """A client that has shown who it is: what remains of its handshake, of which no record was sealed or opened."""

    suite: Suite
    secrets: Secrets
    presented: Presented
    peer_limits: PeerLimits
    round_trip: float
    features: frozenset[str]
    """Those that both sides have listed."""
    asked: int
    """For how many milliseconds it would like to be able to come back; 0 if it has not asked."""
    session: bytes
    """The session that it comes back to; empty if to none."""
    service: str
    """The only service that it has come for; empty if for all."""
    wants_prekey: bool
    """Whether it would like to have one."""
    declined: FirstMessage | None
    """The first message that was declined before, if there was one and we have its prekey."""


class Met(NamedTuple):
    """A client that has shown who it is, and waits for the welcome."""

    transport: ByteStream
    stream: NoiseStream
    heard: Heard
    resume: Resume | None
    """What it says of the session that it comes back to."""

    @property
    def key(self) -> PublicKey:
        return self.heard.presented.key


async def meet(
    transport: ByteStream,
    statics: Statics,
    limits: Limits,
    *,
    hello: Hello | None = None,
    features: Collection[str] = FEATURES,
    thresholds: Thresholds | None = None,
) -> Met:
    """The handshake up to the welcome, as the side that accepted the connection. Raises `HandshakeError`.

    What comes then is `welcome` or `refuse`, and of a client that has a session, what becomes of that. ``hello`` is
    given where it was received before.
    """
    return await met_of(transport, await hear(transport, statics, limits, hello=hello, features=features), thresholds)


async def met_of(transport: ByteStream, heard: Heard, thresholds: Thresholds | None = None) -> Met:
    """What comes of a client that was heard, here or by another process. Raises `HandshakeError`."""
    keys, buffers = keys_for(heard.secrets, heard.suite, Role.SERVER, thresholds)
    if CREDENTIAL_RENEWAL in heard.features:
        keys.expect_credentials()
    resume = await _receive_resume(transport, keys) if heard.session else None
    return Met(transport, NoiseStream(transport, keys, heard.secrets, buffers), heard, resume)


async def hear(
    transport: ByteStream,
    statics: Statics,
    limits: Limits,
    *,
    hello: Hello | None = None,
    features: Collection[str] = FEATURES,
) -> Heard:
    """The handshake up to message 3. Raises `HandshakeError`."""
    if hello is None or hello.prekey:
        hello = await receive_ordinary(transport, statics)
    noise, shown = await statics.begin(hello.passed)
    _check_first(await receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE), noise, statics)
    began = clock.now()
    offer = {**shown.entries(), "suite": hello.suite.name, **understood(limits, features)}
    await send(transport, prefixed(noise.write_message(msgpack.packb(offer))))
    answer = read(noise.read_message(await receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE)), ANSWER)
    round_trip = clock.now() - began
    client = presented(answer, noise.rs, Role.CLIENT, ip_of(remote_of(transport)))
    if answer["peer"] != statics.identity.public_key.raw:
        raise HandshakeError("the client believes that it talks to another server")
    asked, session = answer.get("resume", 0), answer.get("session", b"")
    if asked and session:
        raise HandshakeError("the client has a session, and asks for one")
    return Heard(
        suite=hello.suite,
        secrets=secrets_of(noise),
        presented=client,
        peer_limits=PeerLimits(**answer.get("limits", {})),
        round_trip=round_trip,
        features=agreed_of(features, answer),
        asked=asked,
        session=session,
        service=answer.get("service", ""),
        wants_prekey="early" in answer,
        declined=hello.declined,
    )


async def _receive_resume(transport: ByteStream, keys: RecordKeys) -> Resume:
    """The first record of a client that comes back."""
    sealed = await receive_prefixed(transport, 1 + RESUME_BYTES + keys.suite.cipher.tag_length)
    plaintext = keys.open(memoryview(sealed))
    if not plaintext or plaintext[0] != RESUME:
        raise HandshakeError("the first record of a client that comes back does not resume")
    return Resume.read(bytes(plaintext[1:]))


async def welcome(
    met: Met, admit: Admit, terms: Terms, prekey: Prekey | None = None, *, needs_service: bool = False
) -> Authenticated:
    """Let a client in, if it may, and give it a prekey for the next time. Raises as `handshake_as_server`.

    With ``needs_service``, one that has come for no service alone is refused.
    """
    heard = met.heard
    said: dict[str, Any] = {"instance": terms.instance} if heard.asked else {}
    try:
        grant = admit(heard.presented)
        if needs_service and not heard.service:
            raise SessionClosed("service-needed")
        if heard.declined is not None:
            heard.declined.use(clock.now())
    except (UntrustedPeer, SessionClosed) as exc:
        await refuse(met, exc, said)
        raise
    agreement = terms.grant(heard.asked, met.stream.export) if heard.asked else None
    if prekey is not None and heard.wants_prekey:
        said["prekey"] = prekey.packed
    if agreement is not None:
        said["resumable"] = agreement.to_map()
    await send_welcome(met, said)
    return Authenticated(
        met.stream,
        heard.presented,
        heard.peer_limits,
        grant,
        heard.round_trip,
        heard.features,
        agreement,
        heard.service,
    )


async def turn_away(transport: ByteStream, statics: Statics) -> None:
    """Tell a client that there is no handshake for it now (protocol section 2). Raises as `handshake_as_server`.

    It costs no operation on the curve; with a pre-shared key, only a client that has it is told.
    """
    hello = await receive_ordinary(transport, statics)
    noise, _ = await statics.begin(hello.passed)
    _check_first(await receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE), noise, statics)
    await send(transport, prefixed(b""))
    await transport.send_eof()


def _check_first(message: bytes, noise: HandshakeState, statics: Statics) -> None:
    """Read the client's first message. With a pre-shared key, it must be a fresh one."""
    payload = noise.read_message(message)
    if statics.psk is not None:
        said = read(payload, FIRST)["time"]
        statics.replay_guard.check(message[:DHLEN], said, time.time(), clock.now())
    elif payload:
        raise HandshakeError("the first message has a payload")


async def send_welcome(met: Met, said: Mapping[str, Any], code: str = "", text: str = "") -> None:
    """Send the server's first record. Raises `HandshakeError` if the client is gone."""
    word = {"code": code, **({"text": text} if text else {}), "you": met.key.raw}
    try:
        await met.stream.send_record(WELCOME, msgpack.packb({**word, **said}))
    except ConnectionLost as exc:
        raise HandshakeError(HUNG_UP) from exc


async def refuse(met: Met, why: UntrustedPeer | SessionClosed, said: Mapping[str, Any]) -> None:
    """Tell an authenticated client why there is no session, so that the reason arrives (protocol section 3.3)."""
    code, text = (why.code, why.text) if isinstance(why, SessionClosed) else ("untrusted", "")
    # It may have hung up: it is refused in any case.
    with suppress(SessionError, anyio.EndOfStream, *BROKEN), anyio.move_on_after(REFUSAL):
        await send_welcome(met, said, code, text)
        await met.stream.send_close(code, text)
        while True:  # a reset because of what was not read would overtake the reason
            await met.transport.receive(RECEIVE)
