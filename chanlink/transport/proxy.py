"""Connections of TCP by way of a proxy: who asks for one names it; nothing is taken from the environment."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import anyio

from chanlink.arguments import expect
from chanlink.errors import AddressError, ConnectFailed

from .address import Address, parse_address
from .base import BROKEN, Transport, close_at_once
from .http_connect import connect_by_http
from .reaching import connect_socket
from .socks import LONGEST, connect_by_socks

_ASK = {"socks5": connect_by_socks, "http": connect_by_http}
_PORTS = {"socks5": 1080, "http": 8080}
_FORMS = "write socks5://[user:password@]host:port or http://[user:password@]host:port"


class Proxy(NamedTuple):
    """Where a proxy is, and who we are there. The password is in no text of it."""

    scheme: str
    address: Address
    user: str
    password: str

    async def connect(self, address: Address) -> Transport:
        """Connect to there by the proxy, which looks the host up. Raises `ConnectFailed`, `ConfigError`."""
        there = _for_others(address)
        try:
            transport = await connect_socket(self.address)
        except ConnectFailed as exc:  # of the proxy: it is not the server that is waited for
            raise ConnectFailed(f"{address} by {self}: the proxy can't be reached ({_last(exc)})") from None
        try:
            await _ASK[self.scheme](transport, there, self.user, self.password)
        except ConnectFailed as exc:
            await close_at_once(transport)
            raise ConnectFailed(f"{address} by {self}: {exc}") from exc.__cause__
        except (anyio.EndOfStream, *BROKEN):
            await close_at_once(transport)
            raise ConnectFailed(
                f"{address} by {self}: the proxy closed the connection: is it one of {self.scheme}, and for us?"
            ) from None
        except BaseException:
            await close_at_once(transport)
            raise
        return transport

    def __str__(self) -> str:
        return f"{self.scheme}{str(self.address).removeprefix('tcp')}"

    def __repr__(self) -> str:
        return f"Proxy({str(self)!r})"


def _for_others(address: Address) -> Address:
    """As another machine understands it. Raises `ConnectFailed`."""
    if "%" in address.host:
        raise ConnectFailed(f"{address}: no proxy leads there, this address is good on one link of this machine only")
    try:
        return Address(address.host if address.host.isascii() else address.host.encode("idna").decode(), address.port)
    except UnicodeError as exc:
        raise ConnectFailed(f"{address}: no such host ({exc})") from exc


def _last(exc: ConnectFailed) -> str:
    """Why, without the address."""
    return str(exc).rpartition(": ")[2]


def parse_proxy(text: str) -> Proxy:
    """Read ``socks5://[user:password@]host:port`` (1080 if no port is given) or ``http://...`` (8080).

    User and password may have ``%40`` and the like. Raises `TypeError`, and `AddressError`, which says nothing of what
    was written: there may be a password in it.
    """
    expect("proxy", text, str)
    problem = AddressError(f"proxy is no address of a proxy; {_FORMS}")
    try:
        parts = urlsplit(text)
        user, password = unquote(parts.username or "", errors="strict"), unquote(parts.password or "", errors="strict")
    except ValueError:
        raise problem from None
    if (
        parts.scheme not in _ASK
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or not text.isprintable()
    ):
        raise problem
    if max(len(user.encode()), len(password.encode())) > LONGEST or ":" in user or (password and not user):
        raise AddressError(
            f"proxy: a user has no colon, and user and password are of at most {LONGEST} bytes; {_FORMS}"
        )
    try:
        address = parse_address(f"tcp://{parts.netloc.rpartition('@')[2]}", _PORTS[parts.scheme])
    except AddressError:
        raise problem from None
    return Proxy(parts.scheme, address, user, password)
