"""Who may be in a handshake with a listener at a time, and how many sessions may come of it: strangers must not keep
good clients out (SECURITY).

No I/O and no clock. A listener has room for `Limits.unauthenticated` connections whose peer is not known yet. When
one more comes, one has to go. If most are silent, it is the one that has been so longest: of honest clients the first
bytes come at once. If most have said something, it is a random one of those: who dribbles can't choose not to be it,
and a good client that has just come, and is silent yet, does not make room for them.

A source (an IPv4 address, an IPv6 /64) whose handshakes fail is charged for each. A good client may have the same
address as a bad one, so a source that has failed too often is not shut out. It comes last: when room has to be made,
those of its connections that have said something go first, and it has a few handshakes a second, so that they don't
fill a processor. Who is one too many is told so. What is nobody's fault costs nothing: a connection that said nothing
(a health check), one that was sent away for lack of room. This machine itself is never charged: everybody behind a
proxy, a tunnel or a Unix socket comes from here.
"""

import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice

from chanlink.errors import SessionClosed
from chanlink.limits import Bucket, Limits
from chanlink.security.keys.openssh import PublicKey

FORGIVEN = 1.0
"""Failed handshakes a second that a source is forgiven."""
MOST_SOURCES = 4_096
"""Of which failures are remembered: some 500 bytes each."""
ALL_SUSPECTS = 10
"""How many times as many handshakes all sources together have as one of them, once they come last: a handshake that
fails costs up to 0.3 ms, so that with the default limits these take a seventh of a processor at most."""
HERE = ("127.0.0.1", "::1")
STEPS = 10
"""The time for a handshake goes by in so many. One in which our event loop stood still is one, however long it was:
what a client has sent meanwhile is read before its time is over."""


class Visitor:
    """One connection in its handshake.  ``leave`` closes it."""

    __slots__ = ("blameless", "leave", "seat", "source", "spoke", "steps", "was_sent_away")

    def __init__(self, source: str, leave: Callable[[], None]) -> None:
        self.source = source
        self.leave = leave
        self.spoke = False
        self.steps = 0
        self.was_sent_away = False
        self.blameless = False
        """Whether it is not its fault that there is no session."""
        self.seat: PublicKey | str | None = None
        """Whose session has come of it: see `Seats`."""


class _Suspect:
    """A source whose handshakes have failed."""

    __slots__ = ("failures", "turns")

    def __init__(self, limits: Limits) -> None:
        self.failures = Bucket(limits.source_failures, FORGIVEN)
        self.turns = Bucket(limits.suspect_handshakes, limits.suspect_handshakes)


class Admission:
    """The connections in their handshake, and the sources whose handshakes have failed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._silent: dict[Visitor, None] = {}  # the oldest first
        self._speaking: dict[Visitor, None] = {}
        self._last: dict[Visitor, None] = {}  # that have said something, and come last
        self._suspects: dict[str, _Suspect] = {}  # who has failed, or had no turn, last is last
        self._turns = Bucket(*[limits.suspect_handshakes * ALL_SUSPECTS] * 2)

    def __len__(self) -> int:
        return len(self._silent) + len(self._speaking) + len(self._last)

    def __iter__(self) -> Iterator[Visitor]:
        return iter([*chain(self._silent, self._speaking, self._last)])

    def enter(self, source: str, leave: Callable[[], None]) -> Visitor:
        """One more has connected.  If there are too many, another one is sent away."""
        if len(self) >= self._limits.unauthenticated:
            self.send_one_away()
        visitor = Visitor(source, leave)
        self._silent[visitor] = None
        return visitor

    def step(self) -> None:
        """A part of the time for a handshake has gone by: who has had all of it has to leave."""
        for visitor in self:
            visitor.steps += 1
            if visitor.steps > STEPS:
                visitor.leave()

    def spoke(self, visitor: Visitor, now: float) -> bool:
        """The first bytes have come.  Returns whether there is a handshake for it now."""
        visitor.spoke = True
        suspect = self._suspects.get(visitor.source)
        comes_last = suspect is not None and suspect.failures.left(now) < 1
        if visitor in self._silent:  # it may have been sent away meanwhile
            del self._silent[visitor]
            (self._last if comes_last else self._speaking)[visitor] = None
        if suspect is None or not comes_last or (suspect.turns.take(now) and self._turns.take(now)):
            return True
        self._suspects[visitor.source] = self._suspects.pop(visitor.source)  # or it would be forgotten meanwhile
        visitor.blameless = True
        return False

    def send_one_away(self) -> bool:
        """Make room for another one.  Returns whether there was somebody to send away."""
        speaking = self._last or self._speaking
        if self._silent and len(self._silent) >= len(self._speaking) + len(self._last):
            visitor = next(iter(self._silent))
        elif speaking:
            visitor = next(islice(speaking, secrets.randbelow(len(speaking)), None))
        else:
            return False
        self.left(visitor)  # here, not when it has gone: the next one to go is another one
        visitor.was_sent_away = visitor.blameless = True
        visitor.leave()
        return True

    def left(self, visitor: Visitor) -> None:
        """It is authenticated, or gone."""
        for group in (self._silent, self._speaking, self._last):
            group.pop(visitor, None)

    def failed(self, visitor: Visitor, now: float) -> bool:
        """Charge a visitor's source for a failed handshake, if it is its fault.  True if that was one too many."""
        if not visitor.source or not visitor.spoke or visitor.blameless:
            return False
        suspect = self._suspects.pop(visitor.source, None) or _Suspect(self._limits)
        self._suspects[visitor.source] = suspect
        if len(self._suspects) > MOST_SOURCES:
            del self._suspects[next(iter(self._suspects))]
        return suspect.failures.take(now) and suspect.failures.left(now) < 1


class Seats:
    """How many sessions a listener has, and of which keys; of those that nobody has listed, of which sources.

    Anybody can make as many keys as he likes.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: Counter[PublicKey | str] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, visitor: Visitor, key: PublicKey, *, listed: bool) -> None:
        """One more session with this key.  Raises `SessionClosed` with code ``busy`` if that is one too many."""
        holder = key if listed or not visitor.source else visitor.source
        if self._taken[holder] >= self._limits.sessions_per_key:
            whose = "this key" if holder is key else "your address"
            problem = f"{whose} has {self._limits.sessions_per_key} sessions already"
        elif len(self) >= self._limits.sessions:
            problem = "the server has as many sessions as it may have"
        else:
            self._taken[holder] += 1
            visitor.seat = holder
            return
        self._forget(holder)
        visitor.blameless = True
        raise SessionClosed("busy", f"{problem}; try again later")

    def leave(self, visitor: Visitor) -> None:
        """Whatever came of this visitor is over."""
        if visitor.seat is not None:
            self._taken[visitor.seat] -= 1
            self._forget(visitor.seat)
            visitor.seat = None

    def _forget(self, holder: PublicKey | str) -> None:
        if not self._taken[holder]:
            del self._taken[holder]


def source_of(address: object) -> str:
    """What is charged for failures: a part of a socket address.  Empty for this machine itself."""
    if not isinstance(address, tuple) or address[0] in HERE:
        return ""
    host: str = address[0]
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))
