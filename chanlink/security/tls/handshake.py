"""The handshake in TLS, as either side (protocol section 18). Until a client is known, what fails is told to nobody.

But for TLS itself, which has its alerts.
"""

import ssl
from collections.abc import Mapping
from typing import Any

import anyio
import msgpack
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute

from chanlink import clock
from chanlink.errors import ConnectFailed, HandshakeError, KeyFormatError, SessionClosed
from chanlink.features import CREDENTIAL_RENEWAL, FEATURES
from chanlink.limits import PeerLimits
from chanlink.security.handshake import NO_TURN, Admit, Authenticated, Found, answer_to
from chanlink.security.handshake_server import Heard, Met
from chanlink.security.hello import HUNG_UP, MAGIC, MAX_HANDSHAKE_MESSAGE, receive_prefixed, send
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.payloads import TLS_CLIENT, read
from chanlink.security.records import prefixed
from chanlink.security.rekey import FORGOTTEN
from chanlink.security.showing import agreed_of, presented
from chanlink.transport.base import BROKEN, as_transport, ip_of, receive_exactly, remote_of
from chanlink.transport.tls import TlsTransport, tls_over

from .certificate import NAMESPACE, PROTOCOL, key_hash, read_certificate
from .own import OwnKey
from .stream import TlsStream, finished_of, suite_of

PROOF = b"chanlink-tls-v1 client"
"""What the client's proof begins with."""
_HEADER = 5
"""Bytes that begin a record of TLS: its type, a version, and its length."""
_HELLO = b"\x16\x03"
"""With what a client of TLS begins."""
_MOST = 16_384
"""Bytes of a record of TLS that is in the clear."""
_BUSY = bytes.fromhex("15 0303 0002 02 50")
"""The alert ``internal_error``."""
_IS_BUSY = "TLSV1_ALERT_INTERNAL_ERROR"


def proof_data(server: bytes, finished: bytes, peer: bytes) -> bytes:
    """What the client signs: the hash of the server's key, of which connection, and whose that server is."""
    return PROOF + server + finished + peer


# --- as the client ------------------------------------------------------------------------------


async def as_client(
    transport: ByteStream, own: OwnKey, admit: Admit, *, eager: bool = False, service: str = ""
) -> Authenticated:
    """As `handshake_as_client`."""
    began = clock.now()
    tls = await _reach(transport, own.client_context)
    round_trip = clock.now() - began
    server = read_certificate(tls.extra(TLSAttribute.peer_certificate_binary) or b"")
    shown_by_server = presented(server.said, server.key_hash, Role.SERVER, namespace=NAMESPACE)
    limits = PeerLimits(**server.said.get("limits", {}))
    found = Found(shown_by_server, server.said, suite_of(tls), limits, round_trip)
    grant = admit(found.presented)
    key, shown = await own.shown()
    answer = answer_to(found, shown, own.limits, FEATURES, service)
    proof = key.private.sign(proof_data(server.key_hash, finished_of(tls), found.key.raw))
    await send(tls, prefixed(msgpack.packb({**answer, "key": key.public, "proof": proof})))
    agreed = agreed_of(FEATURES, found.offer)
    stream = _stream(tls, agreed, client_side=True)
    stream.expect_welcome(own.statics.identity.public_key, unshown=own.statics.unshown())
    if not eager:
        await stream.receive_welcome()
    return Authenticated(stream, found.presented, limits, grant, round_trip, agreed, None, service)


async def _reach(transport: ByteStream, context: ssl.SSLContext) -> TlsTransport:
    """TLS's handshake as the client. Raises as `handshake_as_client`."""
    try:
        tls = await tls_over(as_transport(transport), context, name="the server")
    except ConnectFailed as exc:
        cause = exc.__cause__
        if getattr(cause, "reason", None) == _IS_BUSY:
            raise SessionClosed("busy", NO_TURN) from cause
        code = "" if isinstance(cause, ssl.SSLError) else "no-answer"
        asks = " And does it say security=chanlink.nacl_tls?" if str(exc).endswith("?") else ""
        raise HandshakeError(f"{exc}{asks}", code=code) from cause
    return _checked(tls, "the server")


# --- as the server ------------------------------------------------------------------------------


async def meet(transport: ByteStream, own: OwnKey) -> Met:
    """As `handshake_server.meet`."""
    begun = await _client_hello(transport)
    key, context = await own.server_context()
    began = clock.now()
    try:
        tls = await tls_over(as_transport(transport), context, server_side=True, name="the client", begun=begun)
    except ConnectFailed as exc:
        cause = exc.__cause__
        failed = f"the client speaks TLS, and fails in it ({getattr(cause, 'reason', None)})"
        raise HandshakeError(failed if isinstance(cause, ssl.SSLError) else HUNG_UP) from cause
    round_trip = clock.now() - began
    _checked(tls, "the client")
    answer = read(await receive_prefixed(tls, MAX_HANDSHAKE_MESSAGE), TLS_CLIENT)
    us = own.statics.identity.public_key.raw
    _check_proof(answer, proof_data(key.hash, finished_of(tls), us))
    if answer["peer"] != us:
        raise HandshakeError("the client believes that it talks to another server")
    address = ip_of(remote_of(transport))
    heard = Heard(
        suite=suite_of(tls),
        secrets=FORGOTTEN,
        presented=presented(answer, key_hash(answer["key"]), Role.CLIENT, address, namespace=NAMESPACE),
        peer_limits=PeerLimits(**answer.get("limits", {})),
        round_trip=round_trip,
        features=agreed_of(FEATURES, answer),
        asked=0,
        session=b"",
        service=answer.get("service", ""),
        wants_prekey=False,
        declined=None,
    )
    return Met(tls, _stream(tls, heard.features, client_side=False), heard, None)


def _check_proof(answer: Mapping[str, Any], data: bytes) -> None:
    try:
        is_good = PublicKey(answer["key"]).verify(data, answer["proof"])
    except KeyFormatError as exc:
        raise HandshakeError(f"the client's key of TLS is none: {exc}") from exc
    if not is_good:
        raise HandshakeError("the client's proof is wrong, or for another server or connection")


async def turn_away(transport: ByteStream) -> None:
    """Tell a client that there is no handshake for it now. Raises `HandshakeError` for one that speaks no TLS.

    It costs no operation on a curve.
    """
    header = await _client_hello(transport)
    length = int.from_bytes(header[-2:], "big")
    if length > _MOST:
        raise HandshakeError("the first record of the client is too long")
    try:
        await receive_exactly(transport, length)
    except (anyio.EndOfStream, *BROKEN) as exc:
        raise HandshakeError(HUNG_UP) from exc
    await send(transport, _BUSY)
    await transport.send_eof()


async def _client_hello(transport: ByteStream) -> bytes:
    """The beginning of what a client of TLS says first. Raises `HandshakeError` for any other one."""
    try:
        begun = await receive_exactly(transport, _HEADER)
    except (anyio.EndOfStream, *BROKEN) as exc:
        raise HandshakeError(HUNG_UP) from exc
    if begun == MAGIC[:_HEADER]:
        raise HandshakeError("the client speaks chanlink without TLS: it has to say security=chanlink.nacl_tls, too")
    if not begun.startswith(_HELLO):
        raise HandshakeError("the client does not speak TLS")
    return begun


# --- both ---------------------------------------------------------------------------------------


def _checked(tls: TlsTransport, who: str) -> TlsTransport:
    """Raise `HandshakeError` unless what is inside is chanlink."""
    if tls.extra(TLSAttribute.alpn_protocol) != PROTOCOL:
        raise HandshakeError(f"{who} speaks TLS, and does not speak chanlink in it")
    return tls


def _stream(tls: TlsTransport, features: frozenset[str], *, client_side: bool) -> TlsStream:
    stream = TlsStream(tls, client_side=client_side)
    if CREDENTIAL_RENEWAL in features:
        stream.expect_credentials()
    return stream
