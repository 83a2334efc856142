"""What an application makes of a handshake that was handed over to it (protocol section 16.3).

The first record of the application begins a new epoch (`NoiseStream.begin_epoch`), so that what the daemon had is good
for nothing a round trip later.
"""

from collections.abc import Collection

from chanlink.errors import HandshakeError, KeyFormatError, RemoteProtocolError
from chanlink.limits import Limits, PeerLimits
from chanlink.security import suites
from chanlink.security.handshake import keys_for
from chanlink.security.handshake_server import Heard
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant, Issued
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import Secrets
from chanlink.transport.base import Transport

from .messages import HandedOver

MICROSECONDS = 1_000_000


def said_of(limits: Limits) -> dict[str, int]:
    """What a peer is told of the limits of this side."""
    return {name: getattr(limits, name) for name in PeerLimits.__slots__}


def client_stream_of(transport: Transport, handed: HandedOver, *, resumes: bool) -> NoiseStream:
    """The stream of a client over a connection that was handed over; it expects the welcome. Raises `HandshakeError`.

    ``resumes`` says whether the session may be resumed, or this is a return.
    """
    secrets = _secrets(handed)
    keys, buffers = keys_for(secrets, _suite(handed), Role.CLIENT)
    stream = NoiseStream(transport, keys, secrets, buffers)
    stream.expect_welcome(PublicKey(handed.identity), resumes=resumes)
    return stream


def heard_of(handed: HandedOver, presented: Presented, service: str) -> Heard:
    """What a server has heard of a client that was handed over. Raises `HandshakeError`."""
    return Heard(
        suite=_suite(handed),
        secrets=_secrets(handed),
        presented=presented,
        peer_limits=PeerLimits(**handed.peer_limits),
        round_trip=handed.round_trip / MICROSECONDS,
        features=frozenset(handed.features),
        asked=handed.resume or 0,
        session=handed.id if handed.returns else b"",
        service=service,
        wants_prekey=False,
        declined=None,
    )


def _secrets(handed: HandedOver) -> Secrets:
    return Secrets(handed.client_key, handed.server_key, handed.exporter_secret, handed.h)


def _suite(handed: HandedOver) -> suites.Suite:
    """The suite of the records; the daemon may have another libsodium."""
    suite = suites.working(handed.suite)
    if suite is None:
        raise HandshakeError(f"the daemon has agreed on a record suite that does not work here: {handed.suite!r}")
    return suite


def presented_of(handed: HandedOver, services: Collection[str] | None) -> tuple[Presented, Grant]:
    """Who the other side is, by the word of the daemon, and what it may do: use these services, or all.

    Raises `RemoteProtocolError`.
    """
    peer = handed.peer
    key, issued = PublicKey(peer["key"]), None
    if "credential" in peer:
        try:
            credential = Credential.parse(peer["credential"])
        except KeyFormatError as exc:
            raise RemoteProtocolError(f"the daemon has handed over a credential that can't be read: {exc}") from exc
        issued = Issued(peer["issuer"], peer["principal"], credential)
    names = frozenset(peer["names"]) if "names" in peer else None
    grant = Grant(peer["name"], None if services is None else frozenset(services), names, issued)
    return Presented(key, issued and issued.credential), grant
