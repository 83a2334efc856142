"""From an address to a byte stream to a peer; if need be, once somebody listens there."""

import errno
import socket

import anyio
from anyio.abc import ByteStream, ByteStreamConnectable

from chanlink.errors import ConnectFailed, SessionError, UntrustedPeer, WrongPeer

from .sockets import RawStream, connect_socket, connect_to, parse_address

Connectable = str | ByteStream | ByteStreamConnectable

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts, twice as many after each."""

_NOT_YET = {
    errno.ECONNREFUSED,  # nobody listens there
    errno.ENOENT,  # nor is there a file for a Unix socket
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
    errno.ENETUNREACH,
    errno.ENETDOWN,
}


async def reach(address: Connectable, wait: float = 0.0) -> ByteStream:
    """Connect; for ``wait`` seconds, try again as long as nobody listens there.  Raises `ConnectFailed`."""
    until = anyio.current_time() + wait
    pause = FIRST_PAUSE
    while True:
        try:
            return await _connect(address)
        except ConnectFailed as exc:
            left = until - anyio.current_time()
            if left <= 0 or not _may_come(exc):
                raise
        await anyio.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)


async def reach_another(address: Connectable, tried: ByteStream, problem: SessionError) -> ByteStream:
    """Connect to an address of the same name that was not tried.  Raises the problem with the last one if there is
    none, or if it is one of keys: that was the right server, or somebody who would like to be."""
    others = tried.others if isinstance(tried, RawStream) else ()
    if isinstance(problem, WrongPeer | UntrustedPeer) or not isinstance(address, str) or not others:
        raise problem
    try:
        return await connect_to(others, parse_address(address))
    except ConnectFailed:
        raise problem from problem.__cause__


async def _connect(address: Connectable) -> ByteStream:
    if isinstance(address, ByteStream):
        return address
    if isinstance(address, ByteStreamConnectable):
        try:
            return await address.connect()
        except OSError as exc:
            raise ConnectFailed(f"{name_of(address)}: {exc}") from exc
    return await connect_socket(parse_address(address))


def _may_come(problem: ConnectFailed) -> bool:
    """Whether a server that is only starting would look like that, or a machine, or a network."""
    cause = problem.__cause__
    # A look-up among them: a name may come with its machine. What else there is stays, as "permission denied" does.
    return isinstance(cause, socket.gaierror | TimeoutError) or (isinstance(cause, OSError) and cause.errno in _NOT_YET)


def name_of(address: Connectable) -> str:
    """What errors call it."""
    return address if isinstance(address, str) else type(address).__name__
