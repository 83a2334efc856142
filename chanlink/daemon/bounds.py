"""What one user may have of the daemon at a time, so that nobody else waits for it. No I/O."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Bound(NamedTuple):
    """Of one sort of thing."""

    of_user: int
    in_all: int


CONNECTIONS = Bound(2_048, 16_384)
"""Connections to the daemon's sockets: each session has one."""
REQUESTS = Bound(64, 512)
"""Requests that are read, or have not been answered: a host may be slow."""
ADVERTISED = Bound(64, 1_024)
"""Applications that have advertised a service."""
SESSIONS = Bound(1_024, 8_192)
"""Sessions that were handed over, and those that are to be."""


class Full(Exception):
    """There are as many of these as there may be."""


class Held:
    """How much of one sort each user has."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._of_user: Counter[int] = Counter()

    def __len__(self) -> int:
        return self._of_user.total()

    def of(self, uid: int) -> int:
        """How much this user has."""
        return self._of_user[uid]

    def check(self, uid: int) -> None:
        """Raise `Full` if there may be no more."""
        if self._of_user[uid] >= self._bound.of_user:
            raise Full(f"{self._bound.of_user} of this user's at a time are the most")
        if len(self) >= self._bound.in_all:
            raise Full(f"{self._bound.in_all} at a time are the most")

    def add(self, uid: int) -> None:
        """One more, whether there may be one or not."""
        self._of_user[uid] += 1

    def give(self, uid: int) -> None:
        """One less."""
        self._of_user[uid] -= 1
        if not self._of_user[uid]:
            del self._of_user[uid]

    @contextmanager
    def one(self, uid: int) -> Iterator[None]:
        """One more in this block. Raises `Full`."""
        self.check(uid)
        self.add(uid)
        try:
            yield
        finally:
            self.give(uid)
