"""The ciphers of records and handshakes, as functions of libsodium (section 12.3 of the specification)."""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from nacl import bindings

KEYLEN = 32
"""Length of cipher keys and of pre-shared keys (sections 4.2 and 9)."""

TAGLEN = 16
"""Length of the tag of every cipher of the specification (section 4.2)."""

Crypt = Callable[[bytes, bytes | None, bytes, bytes], bytes]
CryptInto = Callable[[memoryview, memoryview, bytes, bytes], None]


class Cipher(NamedTuple):
    """The functions of an AEAD, and what differs between two of them.  Keys have 32 bytes in all of them."""

    encrypt: Crypt
    """message, associated data, nonce, key -> ciphertext with tag"""

    decrypt: Crypt
    """ciphertext with tag, associated data, nonce, key -> message"""

    nonce: Callable[[int], bytes]
    """counter -> nonce"""

    tag_length: int

    encrypt_into: CryptInto
    """message, where the ciphertext goes (just as long as it), nonce, key; no associated data"""

    decrypt_into: CryptInto
    """ciphertext, where the message goes, nonce, key"""


def _into(crypt: Crypt) -> CryptInto:
    """A function that writes into a buffer, of one that makes its result."""

    def write(data: memoryview, out: memoryview, nonce: bytes, key: bytes) -> None:
        out[:] = crypt(bytes(data), None, nonce, key)

    return write


CHACHAPOLY = Cipher(
    encrypt=bindings.crypto_aead_chacha20poly1305_ietf_encrypt,
    decrypt=bindings.crypto_aead_chacha20poly1305_ietf_decrypt,
    nonce=Struct("<4xQ").pack,  # 4 zero bytes, then little endian (section 12.3)
    tag_length=TAGLEN,
    encrypt_into=_into(bindings.crypto_aead_chacha20poly1305_ietf_encrypt),
    decrypt_into=_into(bindings.crypto_aead_chacha20poly1305_ietf_decrypt),
)

AEGIS256 = Cipher(
    encrypt=bindings.crypto_aead_aegis256_encrypt,
    decrypt=bindings.crypto_aead_aegis256_decrypt,
    nonce=Struct("<24xQ").pack,
    tag_length=32,
    encrypt_into=_into(bindings.crypto_aead_aegis256_encrypt),
    decrypt_into=_into(bindings.crypto_aead_aegis256_decrypt),
)
"""For records only.  It is no cipher of the Noise specification, so no protocol name has it."""
