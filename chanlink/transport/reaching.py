"""From the address of a socket to a connection: whichever of its places answers first."""

import errno
import os
import socket
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import anyio

from chanlink.errors import ConnectFailed

from .address import Address, Place, look_up, reason_of
from .racing import race
from .sockets import SocketTransport


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
            await establish(sock, sockaddr)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        raise ConnectFailed(f"{address}: {reason_of(exc)}") from exc
    return SocketTransport(sock, place)


async def establish(sock: socket.socket, sockaddr: Any) -> None:
    """Connect a non-blocking socket. Raises `OSError`."""
    while (problem := sock.connect_ex(sockaddr)) == errno.EAGAIN:
        await anyio.sleep(0.02)  # the backlog of a Unix socket is full, and nothing tells when it is not any more
    if problem == errno.EINPROGRESS:
        await anyio.wait_writable(sock)
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        raise OSError(problem, os.strerror(problem))
