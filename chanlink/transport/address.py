"""Addresses, and the places that they stand for."""

import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import anyio

from chanlink.arguments import expect
from chanlink.errors import AddressError, ConnectFailed

DEFAULT_PORT = 9323
MAX_NAME = 200
"""Characters of a name in a directory: it stands in files of known peers, and in errors."""
MAX_PATH = 107
"""sockaddr_un has 108 bytes, and one is zero (Linux; the others have less, and say so themselves)."""

_HOST = r"\[(?P<ipv6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?)\]|(?P<host>[^\s\[\]:/?#@%]+)"
_TCP = re.compile(rf"tcp://(?:{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SCHEME_OF_NAMES = "chanlink://"

Place = tuple[int, Any]
"""Family and address of a socket."""


class Address(NamedTuple):
    """A parsed address: of a host and port, or of a Unix socket (`path`)."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def of(cls, sockaddr: tuple[Any, ...] | str | bytes) -> "Address":
        """Of a socket: of TCP, where one that is good on one link only has that as its zone, or of a Unix socket."""
        if not isinstance(sockaddr, tuple):
            return cls("", 0, os.fsdecode(sockaddr))
        host, port, *more = sockaddr
        return cls(f"{host}%{_zone(more[1])}" if more and more[1] else host, port)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


class Name(NamedTuple):
    """What a directory knows the addresses of: ``chanlink://NAME``."""

    name: str

    def __str__(self) -> str:
        return f"{_SCHEME_OF_NAMES}{self.name}"


def _zone(number: int) -> str:
    with suppress(OSError):  # it has just gone
        if re.fullmatch(r"[\w.-]+", name := socket.if_indextoname(number)):
            return name
    return str(number)


def is_name(address: object) -> bool:
    """Whether a directory has to be asked for it; it may be misspelt nevertheless."""
    return isinstance(address, str) and address.startswith(_SCHEME_OF_NAMES)


def parse_name(text: str) -> Name:
    """Read ``chanlink://name``. Raises `AddressError`."""
    name = text.removeprefix(_SCHEME_OF_NAMES)
    if not is_good_name(name):
        raise AddressError(
            f"{text!r:.300} is no name: it is chanlink:// and at most {MAX_NAME} letters, digits, and _ . - only"
        )
    return Name(name)


def is_good_name(name: str) -> bool:
    """Whether something can have this name in a directory."""
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None


def parse_address(text: str, port: int = DEFAULT_PORT) -> Address:
    """Read ``tcp://host:port`` (this port if none is given) or ``unix:/path``. Raises `AddressError`."""
    expect("address", text, str)
    if text.startswith("unix:"):
        return Address("", 0, _parse_path(text))
    if is_name(text):
        raise AddressError(f"{text!r:.300} is a name: one connects to it; here, write tcp://host:port or unix:/path")
    match = _TCP.fullmatch(text)
    if match is None or not text.isprintable():
        raise AddressError(f"{text!r} is no address; write tcp://host:port, tcp://[ipv6]:port or unix:/path")
    port = int(match["port"] or port)
    if port > 65_535:
        raise AddressError(f"{text!r} is no address: a port is at most 65535")
    return Address(match["ipv6"] or match["host"], port)


def _parse_path(text: str) -> str:
    path = os.path.expanduser(text.removeprefix("unix:"))
    if path.startswith("~"):
        raise AddressError(f"{text!r}: there is no such home folder; set HOME, or write the whole path")
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError as exc:
        raise AddressError(f"{text!r} has no usable path: {exc.reason}") from exc
    if not 0 < length <= MAX_PATH or "\0" in path:
        raise AddressError(f"{text!r} has no usable path; write unix:/path, of at most {MAX_PATH} bytes")
    return path


async def look_up(address: Address, flags: int = 0) -> list[Place]:
    """The families and socket addresses of a name, each once. Raises `ConnectFailed`."""
    kind = socket.SOCK_STREAM
    try:
        found: Sequence[tuple[int, int, int, str, Any]]
        try:  # a number needs no look-up, and no thread for it
            found = socket.getaddrinfo(address.host, address.port, type=kind, flags=flags | socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await anyio.getaddrinfo(address.host, address.port, type=kind, flags=flags)
    except (OSError, UnicodeError) as exc:
        raise ConnectFailed(f"{address}: no such host ({reason_of(exc)})") from exc
    return list(dict.fromkeys((int(family), sockaddr) for family, _, _, _, sockaddr in found))


def reason_of(exc: Exception) -> str:
    """What the system says, without its number."""
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
