"""From an address to a byte stream to a peer; if need be, once somebody listens there."""

import errno
import os
import socket
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import anyio
from anyio.abc import ByteStream, ByteStreamConnectable

from chanlink.errors import ConnectFailed, SessionError, UntrustedPeer, WrongPeer

from .address import Address, Place, look_up, parse_address, reason_of
from .racing import race
from .sockets import SocketTransport

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


class Dial:
    """Connects to an address, again and again if need be."""

    def __init__(self, address: Connectable) -> None:
        self._address = address
        self._untried: Sequence[Place] = ()
        """Where else the address may lead, if its name has several."""

    async def reach(self, wait: float = 0.0) -> ByteStream:
        """Connect; for ``wait`` seconds, try again as long as nobody listens there. Raises `ConnectFailed`."""
        until = anyio.current_time() + wait
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._connect()
            except ConnectFailed as exc:
                left = until - anyio.current_time()
                if left <= 0 or not _may_come(exc):
                    raise
            await anyio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def reach_another(self, problem: SessionError) -> ByteStream:
        """Connect to an address of the same name that was not tried. Raises the problem with the last one if there is
        none, or if it is one of keys: that was the right server, or one that would like to be."""
        if isinstance(problem, WrongPeer | UntrustedPeer) or not self._untried:
            raise problem
        try:
            return await self._connect_to(self._untried)
        except ConnectFailed:
            raise problem from problem.__cause__

    async def _connect(self) -> ByteStream:
        if isinstance(self._address, ByteStream):
            return self._address
        if isinstance(self._address, ByteStreamConnectable):
            try:
                return await self._address.connect()
            except OSError as exc:
                raise ConnectFailed(f"{name_of(self._address)}: {exc}") from exc
        return await self._connect_to(await places_of(parse_address(self._address)))

    async def _connect_to(self, places: Sequence[Place]) -> ByteStream:
        assert isinstance(self._address, str)
        stream = await connect_to(places, parse_address(self._address))
        self._untried = [place for place in places if place != stream.place]
        return stream


def _may_come(problem: ConnectFailed) -> bool:
    """Whether a server that is only starting would look like that, or a machine, or a network."""
    cause = problem.__cause__
    # A failed look-up, too: a name may come with its machine. All else stays as it is, such as "permission denied".
    return isinstance(cause, socket.gaierror | TimeoutError) or (isinstance(cause, OSError) and cause.errno in _NOT_YET)


def name_of(address: Connectable) -> str:
    """What errors call it."""
    return address if isinstance(address, str) else type(address).__name__


# --- one address --------------------------------------------------------------------------------


async def connect_socket(address: Address) -> SocketTransport:
    """Connect to one of the addresses of a name. Raises `ConnectFailed`."""
    return await connect_to(await places_of(address), address)


async def places_of(address: Address) -> list[Place]:
    """Where an address may lead, in the order to try. Raises `ConnectFailed` if that is nowhere."""
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    places = _alternating(await look_up(address))
    if not places:
        raise ConnectFailed(f"{address}: no such host")
    return places


async def connect_to(places: Sequence[Place], address: Address) -> SocketTransport:
    """Connect to one of these. Raises `ConnectFailed`.

    They are tried one after the other, the next one when the one before has failed or has not answered for a moment;
    whichever answers first is it.
    """
    return await race([partial(_connect, place, address) for place in places])


def _alternating(places: Sequence[Place]) -> list[Place]:
    """IPv6 and IPv4 in turn, as long as there are both: a network may have no way out for all of one kind."""
    first = [place for place in places if place[0] == places[0][0]]
    others = [place for place in places if place[0] != places[0][0]]
    pairs = zip_longest(first, others)
    return [place for pair in pairs for place in pair if place is not None]


async def _connect(place: Place, address: Address) -> SocketTransport:
    family, sockaddr = place
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await _establish(sock, sockaddr)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        raise ConnectFailed(f"{address}: {reason_of(exc)}") from exc
    return SocketTransport(sock, place)


async def _establish(sock: socket.socket, sockaddr: Any) -> None:
    while (problem := sock.connect_ex(sockaddr)) == errno.EAGAIN:
        await anyio.sleep(0.02)  # the backlog of a Unix socket is full, and nothing tells when it is not any more
    if problem == errno.EINPROGRESS:
        await anyio.wait_writable(sock)
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        raise OSError(problem, os.strerror(problem))
