"""A connection by way of a SOCKS 5 proxy (RFC 1928, RFC 1929), which also finds out where a name is.

Read exactly as far as the proxy's answer goes. (The library for that, socksio, has to be given whole messages: to know
where one ends is all there is to do.)
"""

import errno
import ipaddress
import os

from chanlink.errors import ConnectFailed

from .address import Address
from .base import Transport, receive_exactly, send_whole

VERSION, CONNECT = 5, 1
NO_NAME, BY_PASSWORD, NOTHING_WILL_DO = 0, 2, 0xFF
IPV4, HOST_NAME, IPV6 = 1, 3, 4
LONGEST = 255
"""Bytes of a host name, a user, a password."""

_PROBLEMS = {
    1: ("it says that this failed, and not why", errno.EHOSTUNREACH),
    2: ("its rules do not let us go there: ask who runs it", errno.EACCES),
    3: ("it has no route to that network", errno.ENETUNREACH),
    4: ("it can't reach that host", errno.EHOSTUNREACH),
    5: ("nobody listens there, it says", errno.ECONNREFUSED),
    6: ("it can't reach that host in time", errno.ETIMEDOUT),
    7: ("it does not make connections for others", errno.EOPNOTSUPP),
    8: ("it does not take such addresses: try the number of the host in the place of its name", errno.EAFNOSUPPORT),
}
"""What its codes mean, and what that would be without it: whoever waits for a server tries again after some."""


async def connect_by_socks(proxy: Transport, address: Address, user: str, password: str) -> None:
    """Ask the proxy at the other side of this connection for one to there. Raises `ConnectFailed`, and what the
    connection raises."""
    methods = bytes([NO_NAME, BY_PASSWORD] if user else [NO_NAME])
    await send_whole(proxy, bytes([VERSION, len(methods)]) + methods)
    version, method = await receive_exactly(proxy, 2)
    if version != VERSION:
        raise ConnectFailed("it does not speak SOCKS 5: look at its address, or write http://")
    if method == BY_PASSWORD and user:
        await _say_who(proxy, user.encode(), password.encode())
    elif method != NO_NAME:
        what = "does not take a user and a password" if user else "wants a user: write socks5://user:password@host:port"
        raise ConnectFailed(f"it {what}")
    await send_whole(proxy, bytes([VERSION, CONNECT, 0]) + _place(address))
    version, code, _, kind = await receive_exactly(proxy, 4)
    if code:
        problem, number = _PROBLEMS.get(code, (f"it says no (SOCKS code {code})", errno.EACCES))
        raise ConnectFailed(problem) from OSError(number, os.strerror(number))
    if version != VERSION:
        raise ConnectFailed("its answer is none of SOCKS 5")
    await receive_exactly(proxy, await _rest(proxy, kind))  # where it connects from: nobody asks


async def _say_who(proxy: Transport, user: bytes, password: bytes) -> None:
    await send_whole(proxy, bytes([1, len(user)]) + user + bytes([len(password)]) + password)
    _, refused = await receive_exactly(proxy, 2)
    if refused:
        raise ConnectFailed("it does not take this user and password")


async def _rest(proxy: Transport, kind: int) -> int:
    """How many bytes of its answer are left."""
    match kind:
        case 1:
            return 4 + 2
        case 4:
            return 16 + 2
        case 3:
            (length,) = await receive_exactly(proxy, 1)
            return int(length) + 2
    raise ConnectFailed("its answer is none of SOCKS 5")


def _place(address: Address) -> bytes:
    """A host and port as they are sent."""
    port = address.port.to_bytes(2, "big")
    try:
        ip = ipaddress.ip_address(address.host)
    except ValueError:
        name = address.host.encode()
        if len(name) > LONGEST:
            raise ConnectFailed(f"it takes host names of at most {LONGEST} bytes") from None
        return bytes([HOST_NAME, len(name)]) + name + port
    return bytes([IPV4 if ip.version == 4 else IPV6]) + ip.packed + port
