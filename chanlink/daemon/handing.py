"""What is handed over: a finished handshake, with its connection, in one packet (protocol section 16.3).

What is here has the keys of records for a moment. Nobody keeps the message, and behind the packet there is no use of
the connection: the daemon closes its descriptor, and the other process has its own.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from anyio.abc import ByteStream, SocketAttribute

from chanlink.features import CREDENTIAL_RENEWAL, FEATURES
from chanlink.handover.messages import HandedOver
from chanlink.handover.passing import Line
from chanlink.limits import Limits, PeerLimits
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant, Issued
from chanlink.security.rekey import FORGOTTEN, Secrets
from chanlink.session.vouching import GRACE

from .journal import Row

OURS = FEATURES - {CREDENTIAL_RENEWAL}
"""The features of sessions that are handed over: only the daemon could show something newer."""
FOREVER = 2**63
"""A credential that ends then, or later, has no end."""
MOST_NAMES = 256
"""Of a peer in a directory that an application is told."""


class Keys:
    """The keys of the records of one session. Whoever takes them has them, and nobody else has then."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def take(self) -> Secrets:
        """The keys; there are none from then on."""
        secrets, self._secrets = self._secrets, FORGOTTEN
        return secrets


class Handshake(NamedTuple):
    """What has come of one, whichever side we were."""

    keys: Keys
    suite: str
    presented: Presented
    grant: Grant
    peer_limits: PeerLimits
    features: Collection[str]
    """Those that are agreed."""
    round_trip: float
    limits: Mapping[str, int]
    """What was said of this side."""
    identity: PublicKey
    """The identity that this side has shown."""
    address: str

    @property
    def expires(self) -> int | None:
        """When the session ends, in seconds since 1970; None if no credential says so."""
        return _expiry(self.grant) or None

    def __repr__(self) -> str:
        return f"<Handshake with {self.grant.name}>"


def hand_over(line: Line, connection: ByteStream, id_: bytes, handshake: Handshake, **more: Any) -> None:
    """Hand a session over by its control line; ``more`` are entries that only servers have. Raises `ConnectionLost`.

    Whatever comes of it, this process has no keys of it then, and the caller closes its descriptor of the connection.
    """
    line.send_now(_message(id_, handshake, more), connection.extra(SocketAttribute.raw_socket))


def _message(id_: bytes, handshake: Handshake, more: dict[str, Any]) -> HandedOver:
    secrets = handshake.keys.take()
    return HandedOver(
        id=id_,
        suite=handshake.suite,
        client_key=secrets.client_key,
        server_key=secrets.server_key,
        exporter_secret=secrets.exporter_secret,
        h=secrets.h,
        identity=handshake.identity.raw,
        peer=_peer(handshake.presented, handshake.grant),
        address=handshake.address,
        peer_limits=entries_of(handshake.peer_limits),
        limits=handshake.limits,
        features=sorted(handshake.features),
        round_trip=int(handshake.round_trip * 1_000_000),
        expires=handshake.expires,
        **more,
    )


def entries_of(limits: Limits | PeerLimits) -> dict[str, int]:
    """As they travel."""
    return {name: getattr(limits, name) for name in PeerLimits.__slots__}


def vouched(grant: Grant) -> dict[str, Any]:
    """The entries of a row that say who a peer is, and what vouches for it."""
    issued = grant.issued
    if issued is None:
        return {"name": grant.name, "issuer": "", "principal": "", "credential": "", "expiry": 0}
    return {
        "name": grant.name,
        "issuer": issued.issuer,
        "principal": issued.principal,
        "credential": issued.credential.blob.hex(),
        "expiry": _expiry(grant),
    }


def granted(row: Row, presented: Presented) -> Grant:
    """What a row says of who its peer is, and what vouches for it."""
    credential = presented.credential
    issued = None if credential is None else Issued(row.issuer, row.principal, credential)
    return Grant(row.name, frozenset({row.service}), None, issued)


def _expiry(grant: Grant) -> int:
    """When a session with this peer ends, in seconds since 1970; 0 for never."""
    if grant.issued is None or grant.issued.credential.valid_before >= FOREVER:
        return 0
    return grant.issued.credential.valid_before + GRACE


def presented_in(row: Row) -> Presented:
    """What the peer of a session has shown. Raises `ConfigError` for what was changed by somebody else."""
    credential = Credential.parse(bytes.fromhex(row.credential)) if row.credential else None
    return Presented(PublicKey(bytes.fromhex(row.key)), credential, None, row.address)


def _peer(presented: Presented, grant: Grant) -> dict[str, Any]:
    peer: dict[str, Any] = {"key": presented.key.raw, "name": grant.name}
    if grant.names is not None:
        peer["names"] = sorted(grant.names)[:MOST_NAMES]
    if grant.issued is not None:
        peer["issuer"], peer["principal"] = grant.issued.issuer, grant.issued.principal
        peer["credential"] = grant.issued.credential.blob
    return peer
