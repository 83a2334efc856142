"""Taking connections as they come: what gives them and what takes them, and the way from one to the other.

Nothing that a peer does ends the listening; and when the system can open no more, it rests.
"""

import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import anyio
from anyio.abc import ByteStream, TaskGroup
from anyio.lowlevel import checkpoint

from .base import Transport

OF_ONE_CONNECTION = (
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
)
"""Errors of accept(2) that concern a connection which is over already: the next one may be a good one."""


class Acceptor(Protocol):
    """What takes connections."""

    def accepted(self, transport: Transport, address: object) -> None:
        """A connection is here, from this socket address: whatever becomes of it is for the acceptor now."""

    def preparing(self, prepare: Callable[[], Awaitable[object]], address: object) -> None:
        """A connection is here, and ``prepare`` will make a byte stream of it, and await `prepared` in the same task.

        The acceptor calls it in a task of its own, and cancels it when it takes too long.
        """

    async def prepared(self, stream: ByteStream) -> None:
        """A byte stream was made: returns when it is closed."""

    def no_room(self, problem: OSError) -> float:
        """Nothing more can be opened (too many open files, no memory). For how many seconds to accept nothing."""


class Listening(Protocol):
    """What gives connections, until it is closed."""

    addresses: list[str]
    """As `connect` takes them, with their real ports."""

    def start(self, tasks: TaskGroup, acceptor: Acceptor) -> None:
        """Give the acceptor what comes, by tasks of this group."""

    def give_waiting(self) -> None:
        """Give the acceptor those that have connected and wait to be accepted: the close that follows resets them."""

    def close(self) -> None:
        """Listen no more, at any time."""


def accept_waiting(sock: socket.socket, meet: Callable[[socket.socket, Any], None], most: int) -> None:
    """Call ``meet`` with each connection that waits to be accepted, and its address; ``most`` at most: others come."""
    with suppress(OSError):  # there is no other one, or none can be opened
        for _ in range(most):
            meet(*sock.accept())


async def accept_each(
    sock: socket.socket,
    meet: Callable[[socket.socket, Any], None],
    no_room: Callable[[OSError], float],
    *,
    at_once: int = 1,
) -> None:
    """Call ``meet`` with each connection and its address until the socket is closed; no peer can end it before.

    ``no_room`` is called when nothing more can be opened (too many open files, no memory), and returns for how many
    seconds to accept nothing. Others run when so many were met ``at_once``.
    """
    turn = 0
    while True:
        turn += 1
        try:
            connection, address = sock.accept()
        except BlockingIOError:
            try:
                await anyio.wait_readable(sock)
            except anyio.ClosedResourceError:
                return
            continue  # others have run
        except OSError as exc:
            if sock.fileno() < 0:  # also in a forked child
                return
            if exc.errno not in OF_ONE_CONNECTION:
                await anyio.sleep(no_room(exc))
        else:
            meet(connection, address)
        if turn % at_once == 0:
            await checkpoint()  # peers that connect faster than we accept must not keep all else from running
