"""A connection by way of an HTTP proxy: ``CONNECT`` (RFC 9110, section 9.3.6), read by h11."""

import errno
from base64 import b64encode
from typing import Any

from chanlink.errors import ConfigError, ConnectFailed

from .address import Address
from .base import Transport, receive_some, send_whole

MOST = 16 * 1024
"""Bytes of a proxy's answer."""


async def connect_by_http(proxy: Transport, address: Address, user: str, password: str) -> None:
    """Ask the proxy at the other side of this connection for one to there. Raises `ConnectFailed`, and what the
    connection raises; `ConfigError` where h11 is missing."""
    try:
        import h11
    except ImportError:
        raise ConfigError("an HTTP proxy needs h11: pip install 'chanlink[proxy]', or use socks5://") from None
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST)
    where = _authority(address)
    headers = [("Host", where)]
    if user:
        headers.append(("Proxy-Authorization", f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"))
    request = connection.send(h11.Request(method="CONNECT", target=where, headers=headers))
    await send_whole(proxy, request + connection.send(h11.EndOfMessage()))
    try:
        status = await _status(proxy, connection, h11)
    except h11.RemoteProtocolError:
        raise ConnectFailed("its answer is none of HTTP: look at its address, or write socks5://") from None
    if not 200 <= status < 300:
        raise _refused(status, known=bool(user))
    if connection.trailing_data[0]:
        raise ConnectFailed("it sends more than its answer, before anything was asked of the server")


async def _status(proxy: Transport, connection: Any, h11: Any) -> int:
    """That of its answer. What leads to that, such as ``100``, is read over."""
    left = MOST
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            return int(event.status_code)
        if event is h11.NEED_DATA:
            if left <= 0:
                raise ConnectFailed(f"its answer has no end within {MOST} bytes")
            data = await receive_some(proxy, min(left, 4_096))
            left -= len(data)
            connection.receive_data(bytes(data))


def _authority(address: Address) -> str:
    return str(address).removeprefix("tcp://")


def _refused(status: int, *, known: bool) -> ConnectFailed:
    match status:
        case 407 if known:
            return ConnectFailed("it does not take this user and password (407)")
        case 407:
            return ConnectFailed("it wants a user: write http://user:password@host:port (407)")
        case 403 | 405:
            return ConnectFailed(f"its rules do not let us go there ({status}): ask who runs it, or use port 443")
    problem = ConnectFailed(f"it does not connect us ({status})")
    if status >= 500:  # nobody is there, or not yet: whoever waits tries again
        problem.__cause__ = OSError(errno.EHOSTUNREACH, "no route to host")
    return problem
