"""The record suites: which of them this machine can use, and which it is fastest with (protocol section 3.1).

ChaChaPoly is always there. AEGIS-256 is offered and chosen where it works and is the faster one, which is wherever
the processor has instructions for AES. Both are found out once per process, when the first handshake needs to know it:
known answers first, then a few milliseconds of timing. `CHANLINK_SUITES` (names with commas between) names the suites
that may be used; ``CHANLINK_SUITES=chachapoly`` forbids AEGIS-256.

PyNaCl's public functions check their arguments and allocate for each call, at the cost of 2 us. Under them lie the C
functions themselves, in a module that is private to PyNaCl: they are used where they pass a self-test against the
public ones, which are used otherwise (docs/decisions/0005-suites.md).
"""

import functools
import os
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from nacl.exceptions import CryptoError
from nacl.exceptions import TypeError as NaclTypeError

from chanlink.errors import ConfigError
from chanlink.security.noise.cipher import AEGIS256, CHACHAPOLY, KEYLEN, MAX_MESSAGE, Cipher, Crypt, CryptInto


class Suite(NamedTuple):
    """How records are encrypted."""

    name: str
    cipher: Cipher

    @property
    def max_body(self) -> int:
        """The longest body of a record: less the tag and the kind."""
        return MAX_MESSAGE - self.cipher.tag_length - 1


CHACHAPOLY_NAME = "chachapoly"
AEGIS256_NAME = "aegis256"
_PUBLIC = {CHACHAPOLY_NAME: CHACHAPOLY, AEGIS256_NAME: AEGIS256}
_C_NAMES = {CHACHAPOLY_NAME: "crypto_aead_chacha20poly1305_ietf", AEGIS256_NAME: "crypto_aead_aegis256"}

_KNOWN = {
    CHACHAPOLY_NAME: (
        bytes(range(32)),
        bytes(4) + b"\xff" * 8,
        bytes(32),
        "50835543a205b22c9323f2022bc4f67d838f90e61d5ccf33c4513e01f85b5042",
    ),
    AEGIS256_NAME: (
        bytes.fromhex("1001").ljust(32, b"\0"),
        bytes.fromhex("100002").ljust(32, b"\0"),
        bytes(16),
        "754fc3d8c973246dcc6d741412a4b2361181a1d18091082bf0266f66297d167d2e68b845f61a3b0527d31fc7b7b89f13",
    ),
}
"""Key, nonce, message and answer: REKEY (Noise section 4.2) of the key 00 01 .. 1f, as two other libraries give it; and
the first example of draft-irtf-cfrg-aegis-aead, appendix A.3."""
_SAMPLE = 16_384
"""Bytes that are encrypted and decrypted to find out how long a suite takes."""


def offer() -> list[str]:
    """The names of the suites that this side is ready to use, the fastest first. Raises `ConfigError` for a
    `CHANLINK_SUITES` with a name that is not known."""
    allowed = _allowed()
    return [name for name in _usable() if name in allowed]


def choose(offered: Collection[object]) -> Suite | None:
    """The fastest suite here of those that the client offered."""
    return next((suite(name) for name in offer() if name in offered), None)


def suite(name: str) -> Suite:
    """A suite by one of the names of `offer`."""
    return _usable()[name]


def working(name: str) -> Suite | None:
    """A suite that another process of this machine has agreed on, whatever is the fastest here; None if it does not
    work."""
    return _usable().get(name) or _working().get(name)


def _allowed() -> set[str]:
    names = set(os.environ.get("CHANLINK_SUITES", ",".join(_PUBLIC)).replace(",", " ").split())
    if unknown := names - _PUBLIC.keys():
        raise ConfigError(f"CHANLINK_SUITES: {min(unknown)!r} is no suite; there are {', '.join(_PUBLIC)}")
    return names | {CHACHAPOLY_NAME}


def _working() -> dict[str, Suite]:
    """The suites that work."""
    return {name: Suite(name, _direct(name) or cipher) for name, cipher in _PUBLIC.items() if _knows(name, cipher)}


@functools.cache  # what a machine can do does not change while a process runs on it
def _usable() -> dict[str, Suite]:
    """The suites that work and are no slower than ChaChaPoly, the fastest first."""
    suites = _working()
    seconds = {name: _seconds(suite.cipher) for name, suite in suites.items()}
    at_most = seconds[CHACHAPOLY_NAME]
    return {name: suites[name] for name in sorted(suites, key=seconds.__getitem__) if seconds[name] <= at_most}


def _knows(name: str, cipher: Cipher) -> bool:
    """Whether a cipher gives its known answer; a libsodium may lack one of them."""
    key, nonce, message, answer = _KNOWN[name]
    try:
        sealed = cipher.encrypt(message, b"", nonce, key)
        good = sealed.hex().startswith(answer) and cipher.decrypt(sealed, b"", nonce, key) == message
    except Exception:  # whatever a library says that does not have it
        good = False
    if not good and name == CHACHAPOLY_NAME:
        raise ConfigError("the ChaCha20-Poly1305 of this libsodium gives wrong answers")
    return good


def _seconds(cipher: Cipher) -> float:
    """How long a cipher takes to encrypt and decrypt: the shortest of some times, since a machine has other work."""
    times = []
    key, nonce, message = bytes(KEYLEN), cipher.nonce(0), bytes(_SAMPLE)
    for _ in range(8):
        began = time.perf_counter()
        cipher.decrypt(cipher.encrypt(message, None, nonce, key), None, nonce, key)
        times.append(time.perf_counter() - began)
    return min(times)


# --- libsodium's own functions ------------------------------------------------------------------


def _direct(name: str) -> Cipher | None:
    """A cipher by libsodium's functions themselves, or None where they are not as we know them."""
    try:
        from nacl import _sodium

        tag_length = _PUBLIC[name].tag_length
        encrypt, encrypt_into = _encryptors(_sodium.ffi, getattr(_sodium.lib, f"{_C_NAMES[name]}_encrypt"), tag_length)
        decrypt, decrypt_into = _decryptors(_sodium.ffi, getattr(_sodium.lib, f"{_C_NAMES[name]}_decrypt"), tag_length)
        cipher = _PUBLIC[name]._replace(
            encrypt=encrypt, decrypt=decrypt, encrypt_into=encrypt_into, decrypt_into=decrypt_into
        )
        return cipher if _knows(name, cipher) and _agree(cipher, _PUBLIC[name]) else None
    except Exception:  # another PyNaCl: anything may be missing or be called otherwise
        return None


def _encryptors(ffi: Any, function: Any, tag_length: int) -> tuple[Crypt, CryptInto]:
    # Lengths of keys and nonces are `CipherState`'s business: nothing else calls these.
    from_buffer, null = ffi.from_buffer, ffi.NULL

    def encrypt(message: bytes, ad: bytes | None, nonce: bytes, key: bytes) -> bytes:
        if type(message) is not bytes:
            raise NaclTypeError("a message is bytes")
        out = bytearray(len(message) + tag_length)
        ad = ad or b""
        if function(from_buffer(out), null, message, len(message), ad, len(ad), null, nonce, key):
            raise CryptoError("encryption failed")
        return bytes(out)

    def encrypt_into(message: memoryview, out: memoryview, nonce: bytes, key: bytes) -> None:
        size = len(message)
        if len(out) != size + tag_length:
            raise ValueError("a ciphertext is as long as its message and the tag")
        if function(from_buffer(out), null, from_buffer(message), size, b"", 0, null, nonce, key):
            raise CryptoError("encryption failed")

    return encrypt, encrypt_into


def _decryptors(ffi: Any, function: Any, tag_length: int) -> tuple[Crypt, CryptInto]:
    from_buffer, null = ffi.from_buffer, ffi.NULL

    def decrypt(ciphertext: bytes, ad: bytes | None, nonce: bytes, key: bytes) -> bytes:
        if type(ciphertext) is not bytes:
            raise NaclTypeError("a ciphertext is bytes")
        if len(ciphertext) < tag_length:
            raise CryptoError("a ciphertext is no shorter than its tag")
        out = bytearray(len(ciphertext) - tag_length)
        ad = ad or b""
        if function(from_buffer(out), null, null, ciphertext, len(ciphertext), ad, len(ad), nonce, key):
            raise CryptoError("decryption failed")
        return bytes(out)

    def decrypt_into(ciphertext: memoryview, out: memoryview, nonce: bytes, key: bytes) -> None:
        size = len(ciphertext)
        if len(out) != size - tag_length:
            raise ValueError("a message is as long as its ciphertext without the tag")
        if function(from_buffer(out), null, null, from_buffer(ciphertext), size, b"", 0, nonce, key):
            raise CryptoError("decryption failed")

    return decrypt, decrypt_into


def _agree(one: Cipher, other: Cipher) -> bool:
    """Whether two implementations of a cipher do the same, also with what was changed on its way."""
    key = bytes(range(KEYLEN))
    for number, size in enumerate((0, 1, 15, 16, 17, 63, 64, 65, 1_000, 65_503)):
        message, nonce = (bytes(range(256)) * 256)[:size], one.nonce(number)
        sealed = one.encrypt(message, b"", nonce, key)
        if sealed != other.encrypt(message, b"", nonce, key) or one.decrypt(sealed, b"", nonce, key) != message:
            return False
        ciphertext, plaintext = (memoryview(bytearray(length)) for length in (len(sealed), size))
        one.encrypt_into(memoryview(message), ciphertext, nonce, key)
        one.decrypt_into(ciphertext, plaintext, nonce, key)
        if ciphertext != sealed or plaintext != message:
            return False
        for at in {0, size // 2, len(sealed) - 1}:
            if _opens(one, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], nonce, key):
                return False
    return True


def _opens(cipher: Cipher, sealed: bytes, nonce: bytes, key: bytes) -> bool:
    """Whether either way to decrypt takes it."""
    out = memoryview(bytearray(len(sealed) - cipher.tag_length))
    for attempt in (
        lambda: cipher.decrypt(sealed, b"", nonce, key),
        lambda: cipher.decrypt_into(memoryview(sealed), out, nonce, key),
    ):
        try:
            attempt()
        except CryptoError:
            continue
        return True
    return False
