"""What a forked process must not go on with: its parent's keys, and its parent's connections.

After `os.fork` two processes have the same keys with the same counters, and would seal two records with one nonce,
which gives both away. They also have the same sockets: what one of them sends, closes or takes from the event loop's
`epoll` is sent, closed or lost for the other. So each object that has such a state says so when it is made, and in the
child it forgets it before anything else runs there. That costs nothing per record (docs/decisions/0021-forks.md).
"""

import os
import socket
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class Forgetful(Protocol):
    """What has a state that only one process may have."""

    def forget(self) -> None:
        """This process is a child: be of no use any more, or begin afresh. Never waits, never raises."""


_held: WeakSet[Forgetful] = WeakSet()


def forget_in_child(one: Forgetful) -> None:
    """Have ``one.forget`` called in every process that is forked from now on, as long as somebody holds it."""
    _held.add(one)


def let_go(sock: socket.socket) -> None:
    """Close a socket in this process alone, whoever else waits for it here: no event loop is told."""
    descriptor = sock.detach()  # `close` would wait for an event loop that holds the object
    if descriptor >= 0:
        with suppress(OSError):
            os.close(descriptor)


def _forget() -> None:
    for one in list(_held):
        one.forget()
    _held.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget)
