"""Known peers: which key the server at an address has.

The file is in ``known_hosts`` syntax (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), one key of one server a line:

    [build.example]:9323 ssh-ed25519 AAAA... build
    |1|bWFyYSBzYWlkIHNv...=|aGFzaA...= ssh-ed25519 AAAA...
    @revoked * ssh-ed25519 AAAA... stolen

A name without a port stands for the default port, as in ssh, and a Unix socket is written ``unix:/path``. Lines with
keys of other types, and ``@cert-authority``, are passed over, so that ``~/.ssh/known_hosts`` can be used as it is; they
allow nothing. Any other line that is not understood to its last character is an error, also because it might have
revoked something.
"""

import base64
import hmac
import os
import re
from pathlib import Path
from typing import NamedTuple, Self

from chanlink.errors import ConfigError, KeyFormatError, TrustFormatError, UntrustedPeer, WrongPeer
from chanlink.transport.address import DEFAULT_PORT, Address

from .files import edit, expand, file_problem, read_kept
from .openssh import PublicKey
from .syntax import FILE_MAX, OTHER_TYPES, clean_line, decode_lines
from .trust import Grant

DEFAULT_PATH = "~/.config/chanlink/known_peers"
PATTERN_MAX = 300
"""Characters of the name of a server: a host has at most 253."""
WILDCARDS_MAX = 64
"""Patterns with wildcards in a file, other than a lone ``*``: each may take 2 ms to compare."""

_HASHED = re.compile(r"\|1\|([A-Za-z0-9+/]{27}=)\|([A-Za-z0-9+/]{27}=)")
"""Salt and HMAC-SHA1, of 20 bytes each."""
_WRITABLE = re.compile(r"[^\s,*?!|#@\"]+")
"""Names that mean themselves in such a file."""


class Line(NamedTuple):
    """A key of the servers that its patterns match."""

    patterns: tuple[str, ...]
    key: PublicKey
    revoked: bool

    def covers(self, names: tuple[str, ...]) -> bool:
        """Whether it is about the server with these names. One that a ``!pattern`` names is not meant."""
        denied = [pattern[1:] for pattern in self.patterns if pattern.startswith("!")]
        if any(_matches(pattern, name) for pattern in denied for name in names):
            return False
        return any(_matches(pattern, name) for pattern in self.patterns for name in names if pattern[0] != "!")


class KnownPeers:
    """Which keys servers have, by their addresses. Made by `load`; it does not change afterwards."""

    __slots__ = ("_lines", "first_use", "path")

    def __init__(self, path: Path, lines: tuple[Line, ...], first_use: bool = False) -> None:
        self.path = path
        self.first_use = first_use
        self._lines = lines

    @classmethod
    def load(cls, path: str | os.PathLike[str] = DEFAULT_PATH, first_use: bool = False) -> Self:
        """Read a file in ``known_hosts`` syntax (synchronously; ``~`` is expanded); one that is missing knows nobody.

        `connect` reads the file again each time. With ``first_use``, it takes the key of a server that the file does
        not know for the right one, and adds it: whoever answers at that address this first time is trusted. Raises
        `TrustFormatError`, ``FILE:LINE: what is wrong``, for the first line that is not understood, and ``FILE: why``
        for a file that can't be read, is larger than 1 MiB, or that everybody may write.
        """
        try:
            file = expand(path)
            data = read_kept(file, FILE_MAX)
        except KeyFormatError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError):
                raise TrustFormatError(str(exc)) from exc
            data = b""
        return cls(file, parse(file, data), first_use)

    def read_again(self) -> Self:
        """What the file says now. Raises as `load`."""
        return self.load(self.path, self.first_use)

    def find(self, address: Address, key: PublicKey) -> Grant | None:
        """What the server at ``address`` with this key may do; ``None`` when the file knows no key of that server.

        Raises `WrongPeer` when it knows another one, and `UntrustedPeer` when this one is revoked.
        """
        names = names_of(address)
        lines = [line for line in self._lines if line.covers(names)]
        if any(line.revoked and line.key == key for line in lines):
            raise UntrustedPeer(key.fingerprint, f"{self.path} says that it is revoked")
        known = [line.key for line in lines if not line.revoked]
        for one in known:
            if one == key:
                return Grant(one.comment or one.fingerprint, None)
        if known:
            raise WrongPeer(" or ".join(one.fingerprint for one in known[:3]), key.fingerprint)
        return None

    def add(self, address: Address, key: PublicKey) -> None:
        """Add the server's key to the file (synchronously), unless it stands there already.

        The file is replaced as a whole, so that nobody reads half a line, and processes that do so at the same time
        wait for each other; it is made with mode 0600. Raises as `find` when the file knows better by now, and
        `TrustFormatError` when it can't be written.
        """
        try:
            with edit(self.path) as file:
                data = file.read(FILE_MAX + 1)
                if type(self)(self.path, parse(self.path, data)).find(address, key) is None:
                    line = f"{names_of(address)[0]} {PublicKey(key.raw)}\n"
                    start = data if data.endswith(b"\n") or not data else data + b"\n"
                    file.replace(start + line.encode())
        except (OSError, ValueError) as exc:
            if isinstance(exc, ConfigError):
                raise
            raise TrustFormatError(file_problem(self.path, exc)) from exc


def names_of(address: Address) -> tuple[str, ...]:
    """How a file may name the server at this address; the first is how we write it."""
    if address.path:
        names: tuple[str, ...] = (f"unix:{address.path}",)
    else:
        host = address.host.lower()
        names = (f"[{host}]:{address.port}",) + ((host,) if address.port == DEFAULT_PORT else ())
    if not _WRITABLE.fullmatch(names[0]) or len(names[0]) > PATTERN_MAX:
        raise ConfigError(f"{address} can't stand in a file of known peers; say which server you expect: peer=...")
    return names


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
    if marker == "@cert-authority":  # certificates of servers are not read, and it can only allow something
        return None
    if marker not in ("", "@revoked"):
        raise TrustFormatError(f"the marker {marker[:40]!r} is not known")
    patterns, _, key_text = text.strip(" ").partition(" ")
    if key_text.strip(" ").partition(" ")[0] in OTHER_TYPES:
        return None
    return Line(_parse_patterns(patterns), PublicKey.parse(key_text), bool(marker))


def _parse_patterns(text: str) -> tuple[str, ...]:
    if text.startswith("|"):
        if not _HASHED.fullmatch(text):
            raise TrustFormatError("the hashed name is not of the form '|1|SALT|HASH'")
        return (text,)
    patterns = tuple(text.split(","))
    for pattern in patterns:
        if not pattern.removeprefix("!") or len(pattern) > PATTERN_MAX or "|" in pattern:
            raise TrustFormatError(f"{pattern[:40]!r} is not the name of a server")
    return patterns


def _is_wild(pattern: str) -> bool:
    return ("*" in pattern or "?" in pattern) and pattern != "*"


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|") and (hashed := _HASHED.fullmatch(pattern)):
        salt, digest = base64.b64decode(hashed[1]), base64.b64decode(hashed[2])
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
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
