"""A prekey: a static key of a server, its certificate, and what the server accepts (protocol section 2.4). No I/O."""

import hashlib
from collections.abc import Collection
from typing import NamedTuple

import msgpack

from chanlink.errors import HandshakeError
from chanlink.limits import PeerLimits
from chanlink.security.keys.certificate import Certificate, Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.noise.x25519 import check_public_key
from chanlink.security.payloads import PREKEY, PREKEY_MAX, PREKEY_NAME, read


class Prekey(NamedTuple):
    """What a client knows of one."""

    packed: bytes
    """As the server sent it, byte by byte: both sides hash these."""
    static: bytes
    certificate: Certificate
    limits: PeerLimits
    features: frozenset[str]

    @property
    def name(self) -> bytes:
        """What names it in an offer. Who knows the prekey knows the name, and nobody else can make another of it."""
        return name_of(self.packed)

    @property
    def ends_at(self) -> int:
        """Seconds since 1970."""
        return self.certificate.not_after

    def verify(self, now: int) -> PublicKey:
        """The server whose it is, at ``now`` (seconds since 1970). Raises `HandshakeError` where it is not good."""
        return self.certificate.verify(self.static, Role.PREKEY, now)


def name_of(packed: bytes) -> bytes:
    return hashlib.blake2s(packed).digest()[:PREKEY_NAME]


def made(static: bytes, certificate: Certificate, limits: PeerLimits, features: Collection[str]) -> Prekey:
    """A prekey of ours."""
    said = {
        "static": static,
        "certificate": certificate.to_map(),
        "limits": {name: getattr(limits, name) for name in PeerLimits.__slots__},
        "features": sorted(features),
    }
    return Prekey(msgpack.packb(said), static, certificate, limits, frozenset(features))


def read_prekey(packed: bytes) -> Prekey:
    """One that came from elsewhere; its certificate was not looked at. Raises `HandshakeError`."""
    if len(packed) > PREKEY_MAX:
        raise HandshakeError(f"a prekey of more than {PREKEY_MAX} bytes")
    said = read(packed, PREKEY)
    static = check_public_key(said["static"])
    limits = PeerLimits(**said.get("limits", {}))
    return Prekey(packed, static, Certificate(**said["certificate"]), limits, frozenset(said.get("features", ())))
