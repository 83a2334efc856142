"""The ciphers of handshakes and records, and `CipherState`: one direction of messages under one key.

A `Cipher` is functions of libsodium (section 12.3 of the specification). A `CipherState` (5.1) is a key ``k`` and a
counter ``n``. Each message takes the next counter as its nonce, so a nonce is never used twice under a key, and a
message lost, repeated or out of order does not decrypt. Two of them, one for each direction, are all that is left of a
handshake.
"""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from nacl import bindings
from nacl.exceptions import CryptoError

from chanlink.errors import LocalProtocolError, RemoteProtocolError
from chanlink.limits import MAX_RECORD

KEYLEN = 32
"""Length of cipher keys and of pre-shared keys (sections 4.2 and 9)."""

TAGLEN = 16
"""Length of the tag of every cipher of the specification (section 4.2)."""

MAX_MESSAGE = MAX_RECORD
"""Longest message of handshake and transport, tags included (section 3): a record is one."""

MAX_NONCE = 2**64 - 1
"""Reserved for REKEY: no message has this nonce (sections 4.2 and 5.1)."""

Crypt = Callable[[bytes, bytes | None, bytes, bytes], bytes]
CryptInto = Callable[[memoryview, memoryview, bytes, bytes], None]


class Cipher(NamedTuple):
    """The functions of an AEAD, and what differs between two of them. Keys have 32 bytes in all of them."""

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
"""For records only. It is no cipher of the Noise specification, so no protocol name has it."""


class CipherState:
    """One direction of messages under one key, in order.

    Each side of a connection holds two of them and never uses one for both directions.
    """

    __slots__ = ("_cipher", "k", "n")

    def __init__(self, key: bytes | None = None, *, cipher: Cipher = CHACHAPOLY) -> None:
        """``key`` of None leaves the state empty: until it gets a key, it returns what it is given."""
        self._cipher = cipher
        self.initialize_key(key)

    def initialize_key(self, key: bytes | None) -> None:
        """Take a new key, and count from zero again (InitializeKey)."""
        if key is not None and len(key) != KEYLEN:
            raise LocalProtocolError("a cipher key has 32 bytes")
        self.k = key
        self.n = 0

    def has_key(self) -> bool:
        """Whether messages are encrypted (HasKey)."""
        return self.k is not None

    def encrypt_with_ad(self, ad: bytes, plaintext: bytes) -> bytes:
        """Encrypt the next message (EncryptWithAd).

        Raises `LocalProtocolError`, and changes nothing, if the plaintext does not fit in a message, or after
        2^64 - 1 messages under one key.
        """
        if self.k is None:
            return plaintext
        if len(plaintext) + self._cipher.tag_length > MAX_MESSAGE:
            raise LocalProtocolError("the plaintext does not fit in a message")
        try:
            ciphertext = self._cipher.encrypt(plaintext, ad, self._next_nonce(), self.k)
        except CryptoError as exc:
            raise LocalProtocolError("encryption takes bytes") from exc
        self.n += 1
        return ciphertext

    def decrypt_with_ad(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt the next message (DecryptWithAd).

        Raises `RemoteProtocolError` for a message that is not the peer's next one, unchanged. The counter then
        stands where it was, as the specification wants it; over an ordered connection there is no use in going on.
        """
        if self.k is None:
            return ciphertext
        if not self._cipher.tag_length <= len(ciphertext) <= MAX_MESSAGE:
            raise RemoteProtocolError("a record failed authentication")
        try:
            plaintext = self._cipher.decrypt(ciphertext, ad, self._next_nonce(), self.k)
        except TypeError as exc:  # nacl's is a CryptoError too, but not of the peer's making
            raise LocalProtocolError("decryption takes bytes") from exc
        except CryptoError as exc:
            raise RemoteProtocolError("a record failed authentication") from exc
        self.n += 1
        return plaintext

    def encrypt_into(self, plaintext: memoryview, out: memoryview) -> int:
        """Encrypt the next message, without associated data, to the beginning of ``out``; returns its length.

        Only with a key. Raises as `encrypt_with_ad`.
        """
        size = len(plaintext) + self._cipher.tag_length
        if size > MAX_MESSAGE:
            raise LocalProtocolError("the plaintext does not fit in a message")
        assert self.k is not None
        self._cipher.encrypt_into(plaintext, out[:size], self._next_nonce(), self.k)
        self.n += 1
        return size

    def decrypt_into(self, ciphertext: memoryview, out: memoryview) -> int:
        """Decrypt the next message, without associated data, to the beginning of ``out``; returns its length.

        Only with a key. Raises as `decrypt_with_ad`; what ``out`` holds is undefined then.
        """
        size = len(ciphertext) - self._cipher.tag_length
        if not 0 <= size <= MAX_MESSAGE:
            raise RemoteProtocolError("a record failed authentication")
        assert self.k is not None
        try:
            self._cipher.decrypt_into(ciphertext, out[:size], self._next_nonce(), self.k)
        except CryptoError as exc:
            raise RemoteProtocolError("a record failed authentication") from exc
        self.n += 1
        return size

    def rekey(self) -> None:
        """Replace the key by a one-way function of itself; the counter goes on (Rekey, sections 4.2 and 11.3)."""
        if self.k is None:
            raise LocalProtocolError("there is no key to replace")
        self.k = self._cipher.encrypt(bytes(KEYLEN), b"", self._cipher.nonce(MAX_NONCE), self.k)[:KEYLEN]

    def forget(self) -> None:
        """Drop the key; encrypting and decrypting are a `LocalProtocolError` from now on."""
        self.k, self.n = bytes(KEYLEN), MAX_NONCE  # without a key it would return what it is given

    def _next_nonce(self) -> bytes:
        if self.n >= MAX_NONCE:
            raise LocalProtocolError("the nonces of this key are used up")
        return self._cipher.nonce(self.n)
