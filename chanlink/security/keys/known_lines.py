"""The lines of a file of known peers: reading them, and which servers they are about.

The syntax is that of ``known_hosts`` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
"""

import base64
import hmac
import re
from pathlib import Path
from typing import NamedTuple

from chanlink.errors import ConfigError, KeyFormatError, TrustFormatError
from chanlink.transport.address import DEFAULT_PORT, Address
from chanlink.transport.target import Target

from .openssh import PublicKey
from .syntax import OTHER_TYPES, clean_line, decode_lines, in_place_of

PATTERN_MAX = 300
"""Characters of the name of a server: a host has at most 253."""
WILDCARDS_MAX = 64
"""Patterns with wildcards in a file, other than a lone ``*``: each may take 2 ms to compare."""

_HASHED = re.compile(r"\|1\|([A-Za-z0-9+/]{27}=)\|([A-Za-z0-9+/]{27}=)")
"""Salt and HMAC-SHA1, of 20 bytes each."""
_WRITABLE = re.compile(r"[^\s,*?!|#@\"][^\s,*?!|#\"]*")
"""Names that mean themselves in such a file. With an ``@`` a line begins that says something else of its key."""
_IN_NO_NAME = '|"'
"""With a quote in it, it is a line for a trust file, most likely."""
_MARKERS = ("", "@revoked", "@cert-authority")


class Line(NamedTuple):
    """A key of the servers that its patterns match."""

    patterns: tuple[str, ...]
    key: PublicKey
    revoked: bool
    """Whether who has it, or was vouched for by it, is refused."""
    authority: bool = False
    """Whether it is the key of an authority, which vouches for these servers."""

    def covers(self, names: tuple[str, ...]) -> bool:
        """Whether it is about the server with these names. One that a ``!pattern`` names is not meant."""
        denied = [pattern[1:] for pattern in self.patterns if pattern.startswith("!")]
        if any(_matches(pattern, name) for pattern in denied for name in names):
            return False
        if self.revoked and "*" in self.patterns:
            return True
        return any(_matches(pattern, name) for pattern in self.patterns for name in names if pattern[0] != "!")


# --- the names of a server ----------------------------------------------------------------------


def names_of(address: Target) -> tuple[str, ...]:
    """How a file may name the server at this address; the first is how we write it."""
    names = _names_of_address(address) if isinstance(address, Address) else (str(address),)
    if not _WRITABLE.fullmatch(names[0]) or len(names[0]) > PATTERN_MAX:
        raise ConfigError(f"{address} can't stand in a file of known peers; say which server you expect: peer=...")
    return names


def host_names(address: Address) -> tuple[str, ...]:
    """How a file may name the host for whom an authority vouches: as with ssh, at any port."""
    return tuple(dict.fromkeys((*_names_of_address(address), address.host.lower())))


def _names_of_address(address: Address) -> tuple[str, ...]:
    if address.path:
        return (f"unix:{address.path}",)
    host = address.host.lower()
    return (f"[{host}]:{address.port}",) + ((host,) if address.port == DEFAULT_PORT else ())


# --- reading ------------------------------------------------------------------------------------


def parse(path: Path, data: bytes) -> tuple[Line, ...]:
    """The lines of a file's contents. Raises `TrustFormatError`."""
    lines, wildcards = [], 0
    for number, text in enumerate(decode_lines(path, data), start=1):
        try:
            line = parse_line(clean_line(text))
            if line is not None:
                wildcards += sum(_is_wild(pattern) for pattern in line.patterns)
                if wildcards > WILDCARDS_MAX:
                    raise TrustFormatError(f"more than {WILDCARDS_MAX} patterns with * or ?")
                lines.append(line)
        except (KeyFormatError, TrustFormatError) as exc:
            raise TrustFormatError(f"{path}:{number}: {exc}") from exc
    return tuple(lines)


def parse_line(text: str) -> Line | None:
    """What `clean_line` left; None for a line without one of our keys. Raises `ConfigError`."""
    if not text:
        return None
    marker = ""
    if text.startswith("@"):
        marker, _, text = text.partition(" ")
    if marker not in _MARKERS:
        raise TrustFormatError(f"the marker {marker[:40]!r} is not known")
    patterns, _, key_text = text.strip(" ").partition(" ")
    if key_text.strip(" ").partition(" ")[0] in OTHER_TYPES:
        return None
    return Line(_parse_patterns(patterns), PublicKey.parse(key_text), marker == "@revoked", marker == "@cert-authority")


def _parse_patterns(text: str) -> tuple[str, ...]:
    if text.startswith("|"):
        if not _HASHED.fullmatch(text):
            raise TrustFormatError("the hashed name is not of the form '|1|SALT|HASH'")
        return (text,)
    patterns = tuple(text.split(","))
    for pattern in patterns:
        if not pattern.removeprefix("!") or len(pattern) > PATTERN_MAX or {*pattern} & {*_IN_NO_NAME}:
            raise TrustFormatError(f"{pattern[:40]!r} is not the name of a server")
    return patterns


def _is_wild(pattern: str) -> bool:
    return ("*" in pattern or "?" in pattern) and pattern != "*"


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|") and (hashed := _HASHED.fullmatch(pattern)):
        salt, digest = base64.b64decode(hashed[1]), base64.b64decode(hashed[2])
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
    if "://" in name:  # a pattern for hosts is none for what a directory or a carrier leads to
        scheme = name.partition("://")[0] + "://"
        return pattern.startswith(scheme) and (pattern == name or _matches_wildcards(pattern, name))
    if not name.startswith("unix:"):
        pattern = pattern.lower()
    return pattern in ("*", name) or (_is_wild(pattern) and _matches_wildcards(pattern, name))


def _matches_wildcards(pattern: str, name: str) -> bool:
    """``*`` is any characters, ``?`` is one. Only the last ``*`` is ever tried again, so the work has a bound."""
    p = n = resume = 0
    star = -1
    while n < len(name):
        if p < len(pattern) and pattern[p] == "*":
            star, resume = p, n
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", name[n]):
            p += 1
            n += 1
        elif star >= 0:
            resume += 1
            p, n = star + 1, resume
        else:
            return False
    return not pattern[p:].strip("*")


# --- a key in the place of another --------------------------------------------------------------


def following(path: Path, data: bytes, old: PublicKey, new: PublicKey) -> bytes:
    """A file's contents where ``new`` has all lines of ``old``, and that is revoked. Raises `TrustFormatError`.

    All of them, because a key that is revoked is one nowhere: a server has several names.
    """
    changed = []
    for text in decode_lines(path, data):
        line = parse_line(clean_line(text))
        is_own = line is not None and line.key == old and not (line.revoked or line.authority)
        changed.append(in_place_of(text, old, new) if is_own else text)
    if changed[-1]:
        changed.append("")
    changed[-1:] = [f"@revoked * {PublicKey(old.raw)}", ""]
    return "\n".join(changed).encode()
