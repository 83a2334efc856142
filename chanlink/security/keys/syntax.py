"""The lines that trust files and files of known peers have in common. Options of keys: trust.py.

A line is read to its last character: what looks like another thing than it is, or takes long, is no line.
"""

import os
import re

from chanlink.errors import TrustFormatError

from .openssh import KEY_TYPE, PublicKey

FILE_MAX = 1024 * 1024
"""Ten thousand keys."""
LINE_MAX = 8 * 1024
"""A line of one mebibyte took 0.4 s to refuse."""

OTHER_TYPES = {
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
}
"""Listed by name: with any other type, `@revoked` might be meant for an Ed25519 key whose type is misspelt."""


def check_size(path: str | os.PathLike[str], data: bytes) -> None:
    """Raise `TrustFormatError` for contents that no such file may have."""
    if len(data) > FILE_MAX:
        raise TrustFormatError(f"{path}: larger than {FILE_MAX} bytes")


def decode_lines(path: str | os.PathLike[str], data: bytes) -> list[str]:
    """The lines of a file's contents. Raises `TrustFormatError` when there is too much of it, or not UTF-8."""
    check_size(path, data)
    try:
        return data.decode().split("\n")
    except UnicodeDecodeError as exc:
        number = exc.object[: exc.start].count(b"\n") + 1
        raise TrustFormatError(f"{path}:{number}: not UTF-8") from exc


def clean_line(line: str) -> str:
    """A line without what does not count; empty for an empty line and a comment. Raises `TrustFormatError`."""
    text = line.removesuffix("\r").replace("\t", " ").strip(" ")
    if text.startswith("#"):
        return ""
    if not text.isprintable():  # it would be a part of a name that looks like another one
        character = next(one for one in text if not one.isprintable())
        name = ", a byte order mark," if character == "\ufeff" else ""
        raise TrustFormatError(f"it has the character U+{ord(character):04X}{name} which is not printable")
    if len(text) > LINE_MAX:
        raise TrustFormatError(f"the line is longer than {LINE_MAX} characters")
    return text


def in_place_of(text: str, old: PublicKey, new: PublicKey) -> str:
    """A line of one key as one of another, with all else that it has."""
    pattern = rf"({KEY_TYPE}[ \t]+){re.escape(_encoded(old))}(?![A-Za-z0-9+/=])"
    changed, count = re.subn(pattern, rf"\g<1>{_encoded(new)}", text, count=1)
    assert count == 1
    return changed


def _encoded(key: PublicKey) -> str:
    """What stands for a key in a line, behind its type."""
    return str(PublicKey(key.raw)).partition(" ")[2]
