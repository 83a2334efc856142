"""Addresses of the web: ``wss://host:port/path`` and ``ws://host:port/path``."""

import re
from typing import NamedTuple

from chanlink.arguments import expect
from chanlink.errors import AddressError

from .address import Address, parse_address

_WEB = re.compile(r"(?P<scheme>wss?)://(?P<where>[^/]+)(?P<path>(?:/[A-Za-z0-9._~%:=+&;$()-]{0,200})*)")
_PORT = re.compile(r":[0-9]+\Z")
MOST_PATH = 200
"""Characters of a path, which stands in files of known peers."""


class WebAddress(NamedTuple):
    """A parsed address of a WebSocket."""

    secure: bool
    """Whether TLS is below it: ``wss``."""
    tcp: Address
    path: str
    """Begins with a slash."""

    def __str__(self) -> str:
        scheme, usual = ("wss", 443) if self.secure else ("ws", 80)
        where = str(self.tcp).removeprefix("tcp://")
        return f"{scheme}://{where.removesuffix(f':{usual}')}{self.path}"


def parse_web_address(text: str) -> WebAddress:
    """Read ``wss://host:port/path``; without a port that is 443, for ``ws://`` 80. Raises `AddressError`.

    It has no user, no query and no fragment: what is secret does not belong into names of servers.
    """
    expect("url", text, str)
    match = _WEB.fullmatch(text)
    if match is None or len(match["path"]) > MOST_PATH:
        raise _no_address(text)
    secure, where = match["scheme"] == "wss", match["where"]
    if not _PORT.search(where):
        where += ":443" if secure else ":80"
    try:
        tcp = parse_address(f"tcp://{where.lower()}")
    except AddressError:
        raise _no_address(text) from None
    return WebAddress(secure, tcp, match["path"] or "/")


def _no_address(text: str) -> AddressError:
    return AddressError(
        f"{text!r:.300} is no address of a WebSocket; write wss://host:port/path or ws://host:port/path, without a"
        " user, a query or a fragment"
    )
