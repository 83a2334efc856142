"""Key revocation lists: which keys, and which credentials of an authority, do not count any more.

The format is that of OpenSSH's PROTOCOL.krl, as ``ssh-keygen -k`` writes it, or a plain list of public keys; sshd takes
both as ``RevokedKeys``. What sshd does not understand in one makes it refuse everybody; here it is a `KeyFormatError`,
so that who has an older list can go on with that.

Serial numbers are ranges, sorted and apart, and a lookup is a bisection: a list of a hundred thousand is no slower.
"""

import hashlib
import os
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from struct import Struct
from typing import Self

from chanlink.arguments import expect
from chanlink.errors import KeyFormatError, TrustFormatError

from .credential import CREDENTIAL_TYPE, Credential
from .files import read_kept
from .openssh import KEY_TYPE, PublicKey, Reader, decode_base64, three_words
from .syntax import OTHER_TYPES, clean_line

KRL_MAX = 4 * 1024 * 1024
"""Bytes of a list: half a million serial numbers, if no two are neighbours."""
RANGES_MAX = 1_000_000
"""Ranges of serial numbers in a list: bitmaps can say more of them than there are bytes."""
BITMAP_MAX = 2 * 1024 * 1024
"""Bytes of a bitmap, as in OpenSSH's bitmap.c. Its ssh-keygen (9.2 to 10) writes longer ones than its own sshd reads
(2,048 bytes): such a list is good, and is read here."""

_MAGIC = b"SSHKRL\n\0"
_VERSION = 1
_CERTIFICATES, _KEYS, _SHA1, _SIGNATURE, _SHA256, _EXTENSION = 1, 2, 3, 4, 5, 255
_SERIALS, _RANGE, _BITMAP, _KEY_IDS, _CERTIFICATE_EXTENSION = 0x20, 0x21, 0x22, 0x23, 0x39
_HASH_LENGTHS = {_KEYS: 0, _SHA1: 20, _SHA256: 32}
"""The sections that are lists of strings, and how long each of these is; 0: any length."""
_ANY_CA = b""
"""In the place of an authority's key."""
_SERIAL = Struct(">Q")
_BITS = re.compile("1+")

Ranges = list[tuple[int, int]]
"""Serial numbers, first and last."""


class Krl:
    """What is revoked. Made by `load` or `parse`; it does not change afterwards."""

    __slots__ = ("_credentials", "_keys")

    def __init__(self, keys: dict[int, set[bytes]], credentials: "dict[bytes, _Revoked]") -> None:
        self._keys = keys
        self._credentials = credentials

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file (synchronously; ``~`` is expanded).

        Raises `KeyFormatError` for one that is missing, larger than 4 MiB, that everybody may write, or that is not
        understood to its last byte.
        """
        data = read_kept(path, KRL_MAX)
        try:
            return cls.parse(data)
        except KeyFormatError as exc:
            raise KeyFormatError(f"{path}: {exc}") from exc

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what a file holds. Raises `KeyFormatError`."""
        expect("data", data, bytes)
        if len(data) > KRL_MAX:
            raise KeyFormatError(f"a revocation list of {len(data)} bytes, and {KRL_MAX} are the most")
        if not data.startswith(_MAGIC):
            return cls({_KEYS: _parse_plain(data)}, {})
        parser = _Parser()
        parser.parse(Reader(data))
        return cls(parser.keys, parser.credentials)

    def revokes(self, key: PublicKey) -> bool:
        """Whether a key is revoked, whatever vouches for it."""
        expect("key", key, PublicKey)
        blob = key.blob
        names = {_KEYS: blob, _SHA1: hashlib.sha1(blob).digest(), _SHA256: hashlib.sha256(blob).digest()}
        return any(names[kind] in revoked for kind, revoked in self._keys.items())

    def revokes_credential(self, credential: Credential) -> bool:
        """Whether a credential is revoked: itself, its key, or its authority."""
        expect("credential", credential, Credential)
        lists = [self._credentials.get(ca) for ca in (credential.ca.blob, _ANY_CA)]
        return (
            any(one is not None and one.has(credential) for one in lists)
            or self.revokes(credential.key)
            or self.revokes(credential.ca)
        )


class _Revoked:
    """Credentials of one authority, or of any."""

    def __init__(self) -> None:
        self.key_ids: set[bytes] = set()
        self._firsts = array("Q")
        self._lasts = array("Q")

    def add(self, ranges: Ranges) -> None:
        """Those, and no others: called once, with all of them."""
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1]:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def has(self, credential: Credential) -> bool:
        if credential.key_id.encode() in self.key_ids:
            return True
        at = bisect_right(self._firsts, credential.serial) - 1
        return credential.serial != 0 and at >= 0 and credential.serial <= self._lasts[at]


# --- the binary form ----------------------------------------------------------------------------


class _Parser:
    """Collects what the sections say."""

    def __init__(self) -> None:
        self.keys: dict[int, set[bytes]] = {}
        self.credentials: dict[bytes, _Revoked] = {}
        self._ranges: dict[bytes, Ranges] = {}
        self._left = RANGES_MAX

    def parse(self, reader: Reader) -> None:
        _parse_header(reader)
        signed = False
        while reader.left:
            kind, section = reader.take(1)[0], reader.string()
            if kind == _SIGNATURE:  # who has a list at hand has verified it already, or trusts where it came from
                signed = bool(reader.string())
            elif signed:
                raise KeyFormatError("something follows its signature")
            else:
                self._parse_section(kind, section)
        for ca, ranges in self._ranges.items():
            self.credentials[ca].add(ranges)

    def _parse_section(self, kind: int, section: bytes) -> None:
        if kind == _CERTIFICATES:
            self._parse_certificates(Reader(section))
        elif kind == _EXTENSION:
            _parse_extension(Reader(section))
        elif kind in _HASH_LENGTHS:
            self.keys.setdefault(kind, set()).update(_parse_names(section, _HASH_LENGTHS[kind]))
        else:
            raise KeyFormatError(f"a section of type {kind}, which is not known")

    def _parse_certificates(self, reader: Reader) -> None:
        ca = reader.string()
        if ca != _ANY_CA:
            _check_key(ca)
        reader.string()  # reserved, and ignored: PROTOCOL.krl
        revoked = self.credentials.setdefault(ca, _Revoked())
        ranges = self._ranges.setdefault(ca, [])
        while reader.left:
            kind, section = reader.take(1)[0], reader.string()
            if kind == _KEY_IDS:
                revoked.key_ids.update(_parse_names(section, 0))
            elif kind == _CERTIFICATE_EXTENSION:
                _parse_extension(Reader(section))
            else:
                self._add(ranges, kind, section)

    def _add(self, ranges: Ranges, kind: int, section: bytes) -> None:
        for first, last in _parse_serials(kind, section):
            self._left -= 1
            if self._left < 0:
                raise KeyFormatError(f"more than {RANGES_MAX} ranges of serial numbers")
            if first > last or last == 0:
                raise KeyFormatError(f"{first} to {last} is no range of serial numbers")
            ranges.append((first, last))


def _parse_header(reader: Reader) -> None:
    reader.take(len(_MAGIC))
    version = reader.uint32()
    if version != _VERSION:
        raise KeyFormatError(f"a revocation list of version {version}, and only {_VERSION} is known")
    reader.uint64(), reader.uint64(), reader.uint64()  # its number, its time, flags, of which there are none yet
    reader.string(), reader.string()  # reserved, a comment


def _parse_serials(kind: int, section: bytes) -> Iterator[tuple[int, int]]:
    if kind == _SERIALS:
        if len(section) % _SERIAL.size:
            raise KeyFormatError("it is cut short")
        return ((serial, serial) for (serial,) in _SERIAL.iter_unpack(section))
    reader = Reader(section)
    if kind == _RANGE:
        first, last = reader.uint64(), reader.uint64()
        reader.end()
        return iter([(first, last)])
    if kind == _BITMAP:
        offset, bitmap = reader.uint64(), reader.string()
        reader.end()
        return _parse_bitmap(offset, bitmap)
    raise KeyFormatError(f"a section of certificates of type {kind}, which is not known")


def _parse_bitmap(offset: int, bitmap: bytes) -> Iterator[tuple[int, int]]:
    """Its lowest bit stands for the offset."""
    if bitmap[:1] >= b"\x80" or len(bitmap.lstrip(b"\0")) > BITMAP_MAX:
        raise KeyFormatError("a bitmap that is negative or too long")
    bits = f"{int.from_bytes(bitmap):b}"[::-1]
    if offset + len(bits) > 2**64:
        raise KeyFormatError("a bitmap beyond the last serial number")
    return ((offset + match.start(), offset + match.end() - 1) for match in _BITS.finditer(bits))


def _parse_names(section: bytes, length: int) -> Iterator[bytes]:
    reader = Reader(section)
    while reader.left:
        name = reader.string()
        if length and len(name) != length:
            raise KeyFormatError(f"a fingerprint of {len(name)} bytes, and it has {length}")
        yield name


def _parse_extension(reader: Reader) -> None:
    name, critical = reader.string(), reader.take(1) != b"\0"
    reader.string()
    reader.end()
    if critical:
        raise KeyFormatError(f"the extension {name[:40].decode('ascii', 'replace')!r} is critical, and not known")


def _check_key(blob: bytes) -> None:
    """Raise `KeyFormatError` for what is no key; of other types than ours only the type is looked at."""
    kind = Reader(blob).string()
    if kind == KEY_TYPE.encode():
        PublicKey.from_blob(blob)
    elif kind.decode("ascii", "replace") not in OTHER_TYPES:
        raise KeyFormatError(f"a key of type {kind[:40].decode('ascii', 'replace')!r}, which is not known")


# --- a plain list -------------------------------------------------------------------------------


def _parse_plain(data: bytes) -> set[bytes]:
    """The keys of a list of public keys, one a line; of a certificate it is the key in it."""
    keys, number = set(), 0
    try:
        for number, text in enumerate(data.decode().split("\n"), start=1):  # noqa: B007
            line = clean_line(text)
            if line:
                keys.add(_parse_line(line))
    except UnicodeDecodeError as exc:
        raise KeyFormatError("neither a revocation list of ssh-keygen nor text") from exc
    except (KeyFormatError, TrustFormatError) as exc:
        raise KeyFormatError(f"line {number}: {exc}") from exc
    return keys


def _parse_line(line: str) -> bytes:
    kind, encoded, _ = three_words(line)
    blob = decode_base64(encoded)
    reader = Reader(blob)
    if reader.string() != kind.encode():
        raise KeyFormatError("it has another type than it says")
    if kind == CREDENTIAL_TYPE:
        reader.string()
        return PublicKey(reader.string()).blob
    _check_key(blob)
    return blob
