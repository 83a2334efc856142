"""Certificates: an identity's signature over a key of a process, for one role and for at most a day.

The identity itself never does Diffie-Hellman: see identity.py. docs/reference/protocol.md, section 2.1, says what is
signed.
"""

import dataclasses
import enum
from struct import Struct

from chanlink import clock
from chanlink.errors import HandshakeError, KeyFormatError
from chanlink.security.noise.x25519 import DHLEN

from . import openssh
from .identity import Identity
from .openssh import PublicKey

NAMESPACE = b"chanlink-static-v1"
CERTIFICATE_LIFETIME = 24 * 3600
"""Seconds, at most."""
CLOCK_SKEW = 300
"""Seconds that the peer's clock may be behind ours."""

_SIGNED_MESSAGE = Struct(">BB32sQQ")
"""Version, role, static key, not_before, not_after."""
_SIGNED_MESSAGE_VERSION = 1


class Role(enum.IntEnum):
    """Which side of the handshake a static key may be used on."""

    CLIENT = 0
    """The initiator."""
    SERVER = 1
    """The responder."""
    PREKEY = 2
    """The responder, where the initiator has known the static key before (protocol section 2.4)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """An identity's signature over a Noise static key, a role and a time.

    ``not_before`` and ``not_after`` are in seconds since 1970, of 64 bits, both included; ``sshsig`` is a binary SSHSIG
    blob. Having one proves nothing: call `verify`. What a peer sent has been read by `payloads.read`, which knows what
    each entry must be.
    """

    not_before: int
    not_after: int
    sshsig: bytes

    def to_map(self) -> dict[str, object]:
        """The entries that travel in a handshake payload."""
        return {"not_before": self.not_before, "not_after": self.not_after, "sshsig": self.sshsig}

    def verify(self, static: bytes, role: Role, now: int, *, namespace: bytes = NAMESPACE) -> PublicKey:
        """Return the identity that certifies ``static`` (32 bytes) for ``role`` at ``now`` (seconds since 1970).

        In another ``namespace`` than that of static keys, these are the hash of another key. Raises `HandshakeError`
        when this certificate does not do so, for whatever reason.
        """
        self._check_time(now)
        message = self.signed_message(static, role)
        try:
            public_key, signature = openssh.parse_sshsig(self.sshsig, namespace)
        except KeyFormatError as exc:
            raise HandshakeError(f"the certificate's signature can't be read: {exc}") from exc
        if not public_key.verify(openssh.sshsig_signed_data(namespace, message), signature):
            raise HandshakeError("the certificate's signature is wrong, or it is for another key, role or time")
        return public_key

    def _check_time(self, now: int) -> None:
        if self.not_after - self.not_before > CERTIFICATE_LIFETIME:
            raise HandshakeError("the certificate is valid for more than a day")
        if now < self.not_before:
            raise HandshakeError(
                f"the certificate is not valid yet, for {self.not_before - now} s; {clock.which_is_wrong()}",
                code="clock",
            )
        if now > self.not_after:
            raise HandshakeError(
                f"the certificate expired {now - self.not_after} s ago; {clock.which_is_wrong()}", code="clock"
            )

    def signed_message(self, static: bytes, role: Role) -> bytes:
        """The 50 bytes that are signed, for ``ssh-keygen -Y verify``. Raises `HandshakeError` for a wrong length."""
        if len(static) != DHLEN:
            raise HandshakeError(f"a static key has {DHLEN} bytes")
        return _SIGNED_MESSAGE.pack(_SIGNED_MESSAGE_VERSION, role, static, self.not_before, self.not_after)


async def certify(
    identity: Identity,
    static: bytes,
    role: Role,
    now: int,
    lifetime: int = CERTIFICATE_LIFETIME,
    *,
    namespace: bytes = NAMESPACE,
) -> Certificate:
    """Have ``identity`` sign the X25519 key ``static`` (32 bytes) for ``role``.

    Valid from five minutes before ``now`` (seconds since 1970; clocks differ), for ``lifetime`` seconds, at most a
    day in total. Raises `HandshakeError` when the result would not be valid now: a wrong length, a lifetime of less
    than those five minutes, a signer that signs with another key.
    """
    not_before = max(now - CLOCK_SKEW, 0)
    unsigned = Certificate(not_before, not_before + min(lifetime, CERTIFICATE_LIFETIME), b"")
    signature = await identity.sign(openssh.sshsig_signed_data(namespace, unsigned.signed_message(static, role)))
    certificate = dataclasses.replace(unsigned, sshsig=openssh.encode_sshsig(identity.public_key, namespace, signature))
    certificate.verify(
        static, role, now, namespace=namespace
    )  # a signer elsewhere may be wrong: find out here, not at the peer
    return certificate
