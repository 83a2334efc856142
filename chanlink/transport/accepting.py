"""Taking the connections that come to a listening socket, with rests when no more can be opened."""

import errno
import socket
from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

_OF_ONE_CONNECTION = (
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
)
"""Errors of accept(2) that concern a connection which is over already: the next one may be a good one."""


async def accept_each(
    sock: socket.socket, meet: Callable[[socket.socket, Any], None], no_room: Callable[[OSError], float]
) -> None:
    """Call ``meet`` with each connection and its address until the socket is closed; no peer can end it before.

    ``no_room`` is called when nothing more can be opened (too many open files, no memory), and returns for how many
    seconds to accept nothing.
    """
    while True:
        try:
            connection, address = sock.accept()
        except BlockingIOError:
            try:
                await anyio.wait_readable(sock)
            except anyio.ClosedResourceError:
                return
        except OSError as exc:
            if sock.fileno() < 0:  # also in a forked child
                return
            if exc.errno not in _OF_ONE_CONNECTION:
                await anyio.sleep(no_room(exc))
        else:
            meet(connection, address)
        await checkpoint()  # peers that connect faster than we accept must not keep all else from running
