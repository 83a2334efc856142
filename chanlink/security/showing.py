"""What each side shows of itself in a handshake, and what the other one makes of that (protocol sections 2.1 to 2.6).

A certificate ties the static key to the identity. Beside that a side may show a credential, by which an authority says
whose that identity is, and a successor, by which an old identity says that this one takes its place. What is wrong with
them in itself fails the handshake here; whether they count is a question of whom one trusts, and asked elsewhere.
"""

import time
from collections.abc import Collection
from typing import Any, NamedTuple

from chanlink.errors import HandshakeError, KeyFormatError
from chanlink.limits import Limits, PeerLimits
from chanlink.security.keys.certificate import NAMESPACE, Certificate, Role
from chanlink.security.keys.credential import HOST, USER, Credential
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.successor import Successor

CREDENTIAL, SUCCESSOR = "ssh_certificate", "successor"
"""The entries."""


class Shown(NamedTuple):
    """What this side shows."""

    certificate: Certificate
    credential: Credential | None = None
    successor: Successor | None = None

    def entries(self) -> dict[str, Any]:
        """As they travel in a payload."""
        said: dict[str, Any] = {"certificate": self.certificate.to_map()}
        if self.credential is not None:
            said[CREDENTIAL] = self.credential.blob
        if self.successor is not None:
            said[SUCCESSOR] = {"time": self.successor.time, "sshsig": self.successor.sshsig}
        return said


def type_of(role: Role) -> int:
    """The type of the credentials of who has this role."""
    return USER if role is Role.CLIENT else HOST


def presented(
    payload: dict[str, Any], static: bytes, role: Role, address: str = "", *, namespace: bytes = NAMESPACE
) -> Presented:
    """What a peer has shown, that has the static key ``static`` and comes from this IP address. Raises
    `HandshakeError`."""
    now = int(time.time())
    key = Certificate(**payload["certificate"]).verify(static, role, now, namespace=namespace)
    return Presented(key, _credential(payload, key, role), _successor(payload, key, now), address)


def _credential(payload: dict[str, Any], key: PublicKey, role: Role) -> Credential | None:
    blob = payload.get(CREDENTIAL)
    return None if blob is None else credential_of(blob, key, type_of(role))


def credential_of(blob: bytes, key: PublicKey, type: int) -> Credential:
    """The credential of this key. Raises `HandshakeError`: a peer would not have shown one that does not count."""
    try:
        credential = Credential.parse(blob)
    except KeyFormatError as exc:
        raise HandshakeError(f"the credential can't be read: {exc}") from exc
    if credential.key != key:
        raise HandshakeError("the credential is of another key")
    if credential.type != type:
        raise HandshakeError("the credential is of the wrong type: servers have those of hosts, and clients of users")
    if not credential.principals:
        raise HandshakeError("the credential names no principal")
    return credential


def _successor(payload: dict[str, Any], key: PublicKey, now: int) -> Successor | None:
    said = payload.get(SUCCESSOR)
    if said is None:
        return None
    try:
        successor = Successor.parse(said["time"], said["sshsig"], key)
    except KeyFormatError as exc:
        raise HandshakeError(f"the successor can't be read: {exc}") from exc
    return successor if successor.holds(now) else None


def understood(limits: Limits, features: Collection[str]) -> dict[str, Any]:
    """The entries that say what this side accepts and understands."""
    limits_map = {name: getattr(limits, name) for name in PeerLimits.__slots__}
    return {"limits": limits_map, "features": sorted(features)}


def agreed_of(features: Collection[str], payload: dict[str, Any]) -> frozenset[str]:
    """The features that both sides have listed."""
    return frozenset(features).intersection(payload.get("features", ()))
