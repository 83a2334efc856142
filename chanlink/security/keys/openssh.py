"""OpenSSH's formats, as far as chanlink uses them: Ed25519 keys, private key files and signatures.

Each is fixed by a document of OpenSSH or an RFC, and each is read strictly, because whatever a lenient reader
forgives is a second spelling of the same thing:

    blob                    string "ssh-ed25519", string key; 51 bytes (RFC 8709 section 4)
    public key line         "ssh-ed25519 AAAA... comment"; AAAA... is the blob in base64
    private key file        openssh-key-v1 (OpenSSH PROTOCOL.key); with a passphrase see also passphrase.py
    signature               SSHSIG, the binary blob (OpenSSH PROTOCOL.sshsig)

`PublicKey` guarantees 32 bytes in one spelling, and `PublicKey.verify` is the only way from here to libsodium's
verification, which by itself checks the length of neither key nor signature.

What can't be read is a `KeyFormatError`, of one line and without the name of the file: whoever opened it adds that.
"""

import base64
import dataclasses
import hashlib
import os
import secrets
from collections.abc import Callable
from struct import Struct
from typing import Self, TypeVar

import nacl.bindings
import nacl.exceptions

from chanlink.arguments import expect
from chanlink.errors import KeyFormatError
from chanlink.security.noise.x25519 import FIELD_PRIME

from .files import read_limited
from .passphrase import BLOCK, Encryption, check_method

T = TypeVar("T")

KEY_TYPE = "ssh-ed25519"
KEY_LENGTH = 32
SIGNATURE_LENGTH = 64
KEY_FILE_MAX = 64 * 1024
"""Bytes. A key file has about 400; more is some other file."""
HOW_TO_MAKE_ONE = 'make a key with: ssh-keygen -t ed25519 -N "" -f FILE'

_UINT32 = Struct(">I")
_UINT64 = Struct(">Q")
_PRIVATE_MAGIC = b"openssh-key-v1\0"
_PRIVATE_LABEL = "OPENSSH PRIVATE KEY"
_PRIVATE_BLOCK = 8
"""The block size of the cipher "none"."""
_SSHSIG_MAGIC = b"SSHSIG"
_SSHSIG_VERSION = 1
_SSHSIG_HASH = b"sha512"
PEM_BEGINS = "-----BEGIN "
"""How the file of a private key begins: what is often given in the place of its public half."""
_ARMOR_WIDTH = 70
"""As ssh-keygen writes."""


# --- public keys --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class PublicKey:
    """An Ed25519 public key: 32 bytes, and a comment that says whose it is.

    Two keys are equal when their bytes are; the comment does not count. Raises `KeyFormatError` when ``raw`` is not
    32 bytes or not the one spelling of its point, or when the comment is not one line of printable text.
    """

    raw: bytes
    """The 32 bytes of the key."""
    comment: str = dataclasses.field(default="", compare=False)
    """Whose it is, for people; it may be empty."""

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != KEY_LENGTH:
            raise KeyFormatError(f"an Ed25519 public key has {KEY_LENGTH} bytes")
        if int.from_bytes(self.raw, "little") % 2**255 >= FIELD_PRIME:
            raise KeyFormatError("not the canonical form of an Ed25519 public key")
        expect("comment", self.comment, str)
        if not self.comment.isprintable():  # it is shown in logs and on terminals
            raise KeyFormatError("the comment of the key has characters that can't be printed")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``ssh-ed25519 AAAA... [comment]``, one line, as `str` writes it and ``.pub`` files have it.

        Raises `KeyFormatError` for anything else.
        """
        expect("text", text, str)
        line = text.removesuffix("\n").removesuffix("\r").replace("\t", " ")
        if line.startswith(PEM_BEGINS):
            raise KeyFormatError("that is a private key; the public one is needed here, as it is in a .pub file")
        if not line.isprintable():
            raise KeyFormatError("a public key is one line of printable text")
        key_type, encoded, comment = three_words(line)
        if key_type != KEY_TYPE:
            raise KeyFormatError(_other_type(key_type))
        return cls.from_blob(decode_base64(encoded), comment)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a ``.pub`` file (synchronously; ``~`` is expanded).

        Raises `KeyFormatError`, also when there is no such file.
        """
        return parse_file(path, cls.parse)

    @classmethod
    def from_blob(cls, blob: bytes, comment: str = "") -> Self:
        """Read the wire form (RFC 8709 section 4). Raises `KeyFormatError`."""
        expect("blob", blob, bytes)
        reader = Reader(blob)
        key_type = reader.string()
        if key_type != KEY_TYPE.encode():
            raise KeyFormatError(_other_type(key_type.decode("ascii", "replace")))
        raw = reader.string()
        reader.end()
        return cls(raw, comment)

    @property
    def blob(self) -> bytes:
        """The wire form: string ``ssh-ed25519``, string key (RFC 8709 section 4); 51 bytes."""
        return pack_string(KEY_TYPE.encode()) + pack_string(self.raw)

    @property
    def fingerprint(self) -> str:
        """``SHA256:...``, as ``ssh-keygen -l`` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is this key's Ed25519 signature of ``data``; of a wrong length it never is."""
        expect("data", data, bytes)
        expect("signature", signature, bytes)
        if len(signature) != SIGNATURE_LENGTH:
            return False
        try:
            nacl.bindings.crypto_sign_open(signature + data, self.raw)
        except nacl.exceptions.BadSignatureError:
            return False
        return True

    def __str__(self) -> str:
        return f"{KEY_TYPE} {base64.b64encode(self.blob).decode()} {self.comment}".rstrip()

    def __repr__(self) -> str:
        return f"PublicKey.parse({str(self)!r})"


def parse_file(path: str | os.PathLike[str], parse: Callable[[str], T]) -> T:
    """What ``parse`` makes of a small text file. Raises `KeyFormatError`, which names the file."""
    data = read_limited(path, KEY_FILE_MAX)
    try:
        return parse(data.decode())
    except UnicodeDecodeError as exc:
        raise KeyFormatError(f"{path}: {exc}") from exc
    except KeyFormatError as exc:
        raise KeyFormatError(f"{path}: {exc}", code=exc.code) from exc


def three_words(line: str) -> tuple[str, str, str]:
    """The type, the base64 and the comment (which may have spaces and may be missing). Raises `KeyFormatError`."""
    words = line.strip().split(maxsplit=2)
    if len(words) < 2:
        raise KeyFormatError("not of the form 'ssh-ed25519 AAAA... comment'")
    return words[0], words[1], words[2] if len(words) == 3 else ""


def _other_type(key_type: str) -> str:
    return f"a key of type {key_type[:40]!r}, and only {KEY_TYPE} is used"


# --- the private key file: openssh-key-v1 (PROTOCOL.key) ----------------------------------------


def parse_private_key(text: bytes, passphrase: bytes = b"") -> tuple[bytes, PublicKey]:
    """Read the contents of a private key file: the seed of the key (32 bytes), and its public half (PROTOCOL.key).

    A passphrase that is not needed is ignored. Raises `KeyFormatError`, and `ConfigError` as `Encryption.decrypt`.
    """
    reader = Reader(_dearmor(text))
    if reader.take(len(_PRIVATE_MAGIC)) != _PRIVATE_MAGIC:
        raise KeyFormatError("not an openssh-key-v1 file")
    encryption = _parse_encryption(reader)
    if reader.uint32() != 1:
        raise KeyFormatError("a key file has one key")
    public_key = _parse_public_half(reader.string())
    private = reader.string()
    tag = reader.take(encryption.tag_length if encryption else 0)
    reader.end()
    if encryption is None:
        return _parse_private_half(private, public_key, _PRIVATE_BLOCK, KeyFormatError("the check numbers differ"))
    if not passphrase:
        raise KeyFormatError(
            "the key has a passphrase; give it with passphrase=..., or use ssh-agent", code="passphrase-needed"
        )
    private = encryption.decrypt(private, tag, passphrase)
    wrong = KeyFormatError("the passphrase is wrong", code="passphrase-wrong")
    return _parse_private_half(private, public_key, BLOCK, wrong)


def _parse_encryption(reader: "Reader") -> Encryption | None:
    """How the secret half is encrypted; None if it is not."""
    cipher, kdf = (reader.string().decode("latin-1") for _ in range(2))
    options = reader.string()
    if (cipher, kdf) == ("none", "none"):
        if options:
            raise KeyFormatError("a key file without a passphrase has no kdf options")
        return None
    check_method(cipher, kdf)
    inner = Reader(options)
    encryption = Encryption(cipher, inner.string(), inner.uint32())
    inner.end()
    encryption.check()
    return encryption


def _parse_public_half(blob: bytes) -> PublicKey:
    try:
        return PublicKey.from_blob(blob)
    except KeyFormatError as exc:
        raise KeyFormatError(f"{exc}; {HOW_TO_MAKE_ONE}") from exc


def _parse_private_half(
    data: bytes, public_key: PublicKey, block: int, mismatch: KeyFormatError
) -> tuple[bytes, PublicKey]:
    """``mismatch`` is raised when the check numbers differ."""
    reader = Reader(data)
    if reader.uint32() != reader.uint32():
        raise mismatch
    if PublicKey.from_blob(pack_string(reader.string()) + pack_string(reader.string())) != public_key:
        raise KeyFormatError("the two halves of the file hold different public keys")
    seed = _parse_secret_key(reader.string(), public_key)
    comment = reader.string()
    padding = reader.rest()
    if padding != _padding(len(data) - len(padding), block):
        raise KeyFormatError("the padding is wrong")
    try:
        return seed, PublicKey(public_key.raw, comment.decode())
    except UnicodeDecodeError as exc:
        raise KeyFormatError("the comment of the key is not UTF-8") from exc


def _parse_secret_key(secret_key: bytes, public_key: PublicKey) -> bytes:
    """The seed, the first half of an Ed25519 secret key; the second half is its public key."""
    if len(secret_key) != KEY_LENGTH + KEY_LENGTH:
        raise KeyFormatError("the secret key has a wrong length")
    seed = secret_key[:KEY_LENGTH]
    derived, _ = nacl.bindings.crypto_sign_seed_keypair(seed)
    if not derived == public_key.raw == secret_key[KEY_LENGTH:]:
        raise KeyFormatError("the public key does not belong to the secret key")
    return seed


def format_private_key(seed: bytes, public_key: PublicKey) -> str:
    """The contents of a private key file without a passphrase (PROTOCOL.key)."""
    check = secrets.token_bytes(_UINT32.size)
    private = (
        check + check + public_key.blob + pack_string(seed + public_key.raw) + pack_string(public_key.comment.encode())
    )
    private += _padding(len(private), _PRIVATE_BLOCK)
    head = _PRIVATE_MAGIC + pack_string(b"none") + pack_string(b"none") + pack_string(b"") + _UINT32.pack(1)
    return _armor(head + pack_string(public_key.blob) + pack_string(private))


def _padding(length: int, block: int) -> bytes:
    """1, 2, 3, ... up to a whole block."""
    return bytes(range(1, -length % block + 1))


# --- signatures: SSHSIG (PROTOCOL.sshsig) -------------------------------------------------------


def sshsig_signed_data(namespace: bytes, message: bytes) -> bytes:
    """What the Ed25519 signature of ``message`` is over (PROTOCOL.sshsig section 3)."""
    digest = hashlib.sha512(message).digest()
    return _SSHSIG_MAGIC + pack_string(namespace) + pack_string(b"") + pack_string(_SSHSIG_HASH) + pack_string(digest)


def encode_sshsig(public_key: PublicKey, namespace: bytes, signature: bytes) -> bytes:
    """The binary SSHSIG blob around an Ed25519 signature (PROTOCOL.sshsig section 2)."""
    head = _SSHSIG_MAGIC + _UINT32.pack(_SSHSIG_VERSION) + pack_string(public_key.blob)
    fields = pack_string(namespace) + pack_string(b"") + pack_string(_SSHSIG_HASH)
    return head + fields + pack_string(pack_string(KEY_TYPE.encode()) + pack_string(signature))


def parse_sshsig(blob: bytes, namespace: bytes) -> tuple[PublicKey, bytes]:
    """The key and the signature (64 bytes) of a blob; all else in it must be as `encode_sshsig` writes it.

    Nothing is verified yet: that takes `sshsig_signed_data` and `PublicKey.verify`.
    """
    reader = Reader(blob)
    if reader.take(len(_SSHSIG_MAGIC)) != _SSHSIG_MAGIC or reader.uint32() != _SSHSIG_VERSION:
        raise KeyFormatError("not SSHSIG version 1")
    public_key = PublicKey.from_blob(reader.string())
    if reader.string() != namespace:
        raise KeyFormatError("another namespace")
    if reader.string():
        raise KeyFormatError("the reserved field is not empty")
    if reader.string() != _SSHSIG_HASH:
        raise KeyFormatError("another hash than sha512")
    signature = reader.string()
    reader.end()
    return public_key, parse_signature(signature)


def parse_signature(blob: bytes) -> bytes:
    """The 64 bytes of an ``ssh-ed25519`` signature (RFC 8709 section 6). Raises `KeyFormatError`."""
    reader = Reader(blob)
    if reader.string() != KEY_TYPE.encode():
        raise KeyFormatError("a signature of another type")
    signature = reader.string()
    reader.end()
    if len(signature) != SIGNATURE_LENGTH:
        raise KeyFormatError(f"an Ed25519 signature has {SIGNATURE_LENGTH} bytes")
    return signature


# --- encodings ----------------------------------------------------------------------------------


class Reader:
    """Takes SSH's data types (RFC 4251 section 5) off a buffer; `KeyFormatError` when it is too short or too long."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) != length:
            raise KeyFormatError("it is cut short")
        self._at += length
        return taken

    def uint32(self) -> int:
        number: int = _UINT32.unpack(self.take(_UINT32.size))[0]
        return number

    def uint64(self) -> int:
        number: int = _UINT64.unpack(self.take(_UINT64.size))[0]
        return number

    def string(self) -> bytes:
        return self.take(self.uint32())

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._data) - self._at

    @property
    def taken(self) -> bytes:
        """All that was taken so far."""
        return self._data[: self._at]

    def rest(self) -> bytes:
        return self.take(self.left)

    def end(self) -> None:
        if self.rest():
            raise KeyFormatError("something follows its end")


def pack_string(data: bytes) -> bytes:
    """SSH's data type ``string`` (RFC 4251 section 5)."""
    return _UINT32.pack(len(data)) + data


def decode_base64(text: str) -> bytes:
    """Raises `KeyFormatError` for anything but canonical base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as exc:  # binascii.Error, and characters outside ASCII
        raise KeyFormatError("not base64") from exc
    if base64.b64encode(data) != text.encode():  # else some keys would have several spellings
        raise KeyFormatError("not canonical base64")
    return data


def _armor(data: bytes) -> str:
    """The text of a private key file."""
    text = base64.b64encode(data).decode()
    lines = (text[at : at + _ARMOR_WIDTH] for at in range(0, len(text), _ARMOR_WIDTH))
    return "\n".join((f"-----BEGIN {_PRIVATE_LABEL}-----", *lines, f"-----END {_PRIVATE_LABEL}-----", ""))


def _dearmor(data: bytes) -> bytes:
    """What a private key file has in base64."""
    lines = data.decode("latin-1").replace("\r\n", "\n").removesuffix("\n").split("\n")
    if lines[0] != f"-----BEGIN {_PRIVATE_LABEL}-----":
        raise KeyFormatError(f"not an OpenSSH private key file; {HOW_TO_MAKE_ONE}")
    if lines[-1] != f"-----END {_PRIVATE_LABEL}-----":
        raise KeyFormatError("the key does not end where the file ends")
    return decode_base64("".join(lines[1:-1]))
