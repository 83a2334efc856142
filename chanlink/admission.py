"""Who may be in a handshake with a listener at a time: strangers must not keep good clients out (SECURITY).

No I/O and no clock. A listener has room for `Limits.unauthenticated` connections whose peer is not known yet. When
one more comes, one has to go. If most are silent, it is the one that has been so longest: of honest clients the first
bytes come at once. If most have said something, it is a random one of those: who dribbles can't choose not to be it,
and a good client that has just come, and is silent yet, does not make room for them.

A source (an IPv4 address, an IPv6 /64) whose handshakes fail is charged for each; one that has failed too often gets
no handshake at all for a while. Sources on Unix sockets are our own machine, and are not charged.
"""

import ipaddress
import secrets
from collections.abc import Callable, Iterator
from itertools import chain, islice

from .limits import Bucket, Limits

FORGIVEN = 1.0
"""Failed handshakes a second that a source is forgiven."""
MOST_SOURCES = 4_096
"""Of which failures are remembered: some 300 bytes each."""


class Visitor:
    """One connection in its handshake.  ``leave`` closes it."""

    __slots__ = ("leave", "source", "spoke", "was_sent_away")

    def __init__(self, source: str, leave: Callable[[], None]) -> None:
        self.source = source
        self.leave = leave
        self.spoke = False
        self.was_sent_away = False


class Admission:
    """The connections in their handshake, and the sources whose handshakes have failed."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.unauthenticated
        self._failures_allowed = limits.source_failures
        self._silent: dict[Visitor, None] = {}  # the oldest first
        self._speaking: dict[Visitor, None] = {}
        self._failures: dict[str, Bucket] = {}  # who has failed last is last

    def __len__(self) -> int:
        return len(self._silent) + len(self._speaking)

    def __iter__(self) -> Iterator[Visitor]:
        return iter([*chain(self._silent, self._speaking)])

    def may_try(self, source: str, now: float) -> bool:
        """Whether this source gets a handshake, for all that it has failed before."""
        bucket = self._failures.get(source)
        return bucket is None or bucket.left(now) >= 1

    def enter(self, source: str, leave: Callable[[], None]) -> Visitor:
        """One more has connected.  If there are too many, another one is sent away."""
        if len(self) >= self._most:
            self.send_one_away()
        visitor = Visitor(source, leave)
        self._silent[visitor] = None
        return visitor

    def spoke(self, visitor: Visitor) -> None:
        """The first bytes have come."""
        visitor.spoke = True
        if visitor in self._silent:  # it may have been sent away meanwhile
            del self._silent[visitor]
            self._speaking[visitor] = None

    def send_one_away(self) -> bool:
        """Make room for another one.  Returns whether there was somebody to send away."""
        if self._silent and len(self._silent) >= len(self._speaking):
            visitor = next(iter(self._silent))
        elif self._speaking:
            visitor = next(islice(self._speaking, secrets.randbelow(len(self._speaking)), None))
        else:
            return False
        self.left(visitor)  # here, not when it has gone: the next one to go is another one
        visitor.was_sent_away = True
        visitor.leave()
        return True

    def left(self, visitor: Visitor) -> None:
        """It is authenticated, or gone."""
        self._silent.pop(visitor, None)
        self._speaking.pop(visitor, None)

    def failed(self, visitor: Visitor, now: float) -> bool:
        """Charge a visitor's source for a failed handshake.  Returns whether that was one too many."""
        if not visitor.source:
            return False
        bucket = self._failures.pop(visitor.source, None) or Bucket(self._failures_allowed, FORGIVEN)
        self._failures[visitor.source] = bucket
        if len(self._failures) > MOST_SOURCES:
            del self._failures[next(iter(self._failures))]
        return bucket.take(now) and bucket.left(now) < 1


def source_of(address: object) -> str:
    """What is charged for failures: a part of a socket address."""
    if not isinstance(address, tuple):
        return ""
    host: str = address[0]
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))
