"""X25519: key pairs, and the secret that two of them share (sections 4.1 and 12.1 of the specification).

libsodium's bindings read 32 bytes of whatever they are given. All key agreement goes through `dh`, which checks.
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from chanlink.errors import HandshakeError, LocalProtocolError

DHLEN = 32
"""Length of public and private keys (section 12.1)."""
FIELD_PRIME = 2**255 - 19
"""Coordinates are numbers below it; those of Ed25519, too."""


class KeyPair:
    """An X25519 key pair, made from its private half: any 32 bytes."""

    __slots__ = ("private", "public")

    def __init__(self, private: bytes) -> None:
        if len(private) != DHLEN:
            raise LocalProtocolError("a private key has 32 bytes")
        self.private = private
        self.public = bindings.crypto_scalarmult_base(private)


def generate_keypair() -> KeyPair:
    """A fresh X25519 key pair (GENERATE_KEYPAIR, section 4.1)."""
    return KeyPair(bindings.randombytes(DHLEN))


def check_public_key(public_key: bytes) -> bytes:
    """Return ``public_key`` if it is the canonical encoding of a coordinate, else raise `HandshakeError`.

    X25519 itself ignores the high bit and reduces modulo p, which would give one key several encodings. Keys are
    compared as bytes, so there must be one.
    """
    if len(public_key) != DHLEN or int.from_bytes(public_key, "little") >= FIELD_PRIME:
        raise HandshakeError("a public key is not valid")
    return public_key


def dh(key_pair: KeyPair, public_key: bytes) -> bytes:
    """The shared secret of two keys (DH, section 4.1); raises `HandshakeError` for a bad or low-order public key."""
    check_public_key(public_key)
    try:
        return bindings.crypto_scalarmult(key_pair.private, public_key)
    except CryptoError as exc:  # the shared secret would be zero
        raise HandshakeError("a public key is not valid") from exc
