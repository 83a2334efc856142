"""Admission: who may be in a handshake, and how many sessions come of it, so that strangers keep no good client out.

No I/O and no clock. A listener has room for `Limits.unauthenticated` connections whose peer is not known yet. When
one more comes, one has to go. If most are silent, it is the one that has been silent longest: an honest client's first
bytes come at once. If most have said something, it is a random one of those: a client that dribbles can't choose not to
be it, and a good client that has just come, and is still silent, does not make room for the dribblers.

A source (an IPv4 address, an IPv6 /64) whose handshakes fail is charged for each. A good client may have the same
address as a bad one, so a source that has failed too often is not shut out. It comes last: when room has to be made,
those of its connections that have said something go first, and it has a few handshakes a second, so that they don't
fill a processor. A client that is one too many is told so. What is nobody's fault costs nothing: a connection that
said nothing (a health check), one that was sent away for lack of room. This machine itself is never charged: everybody
behind a proxy, a tunnel or a Unix socket comes from here.
"""

import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice

from chanlink.errors import SessionClosed
from chanlink.limits import STEPS, Bucket, Limits
from chanlink.security.keys.openssh import PublicKey
from chanlink.transport.through import Bridged

FORGIVEN = 1.0
"""Failed handshakes a second that a source is forgiven."""
MOST_SOURCES = 4_096
"""Of which failures are remembered: some 500 bytes each."""
ALL_SUSPECTS = 10
"""How many times as many handshakes all sources together have as one of them, once they come last: a handshake that
fails costs up to 0.3 ms, so that with the default limits these take a seventh of a processor at most."""
HERE = ("127.0.0.1", "::1")


class Visitor:
    """One connection in its handshake. ``close`` closes it."""

    __slots__ = ("_steps", "blameless", "close", "source", "spoke", "was_sent_away")

    def __init__(self, source: str, close: Callable[[], None]) -> None:
        self.source = source
        self.close = close
        self.spoke = False
        """Whether its first bytes have come."""
        self.was_sent_away = False
        self.blameless = False
        """Whether it is not its fault that there is no session."""
        self._steps = 0

    def closed_by(self, close: Callable[[], None]) -> None:
        """This closes it from now on."""
        self.close = close

    def comes_from(self, source: str) -> None:
        """This is charged: a proxy in between has told it."""
        self.source = source

    def step(self) -> None:
        """A part of its time has gone by; when all of it has, it is closed."""
        self._steps += 1
        if self._steps > STEPS:
            self.close()

    def speak(self) -> None:
        """Its first bytes have come."""
        self.spoke = True

    def excuse(self) -> None:
        """Whatever comes of it, its source is not charged."""
        self.blameless = True

    def send_away(self) -> None:
        """Close it to make room for another one."""
        self.was_sent_away = True
        self.excuse()
        self.close()


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
        self._suspects: dict[str, _Suspect] = {}  # the one that failed, or had no turn, last is last
        self._turns = Bucket(*[limits.suspect_handshakes * ALL_SUSPECTS] * 2)

    def __len__(self) -> int:
        return len(self._silent) + len(self._speaking) + len(self._last)

    def __iter__(self) -> Iterator[Visitor]:
        return iter([*chain(self._silent, self._speaking, self._last)])

    def enter(self, source: str, close: Callable[[], None]) -> Visitor:
        """One more has connected. If there are too many, another one is sent away."""
        if len(self) >= self._limits.unauthenticated:
            self.send_one_away()
        visitor = Visitor(source, close)
        self._silent[visitor] = None
        return visitor

    def step(self) -> None:
        """A part of the time for a handshake has gone by: a visitor that has had all of it is closed."""
        for visitor in self:
            visitor.step()

    def spoke(self, visitor: Visitor, now: float) -> bool:
        """The first bytes have come. Returns whether there is a handshake for it now."""
        visitor.speak()
        suspect = self._suspects.get(visitor.source)
        comes_last = suspect is not None and suspect.failures.left(now) < 1
        if visitor in self._silent:  # it may have been sent away meanwhile
            del self._silent[visitor]
            (self._last if comes_last else self._speaking)[visitor] = None
        if suspect is None or not comes_last or (suspect.turns.take(now) and self._turns.take(now)):
            return True
        self._suspects[visitor.source] = self._suspects.pop(visitor.source)  # or it would be forgotten meanwhile
        visitor.excuse()
        return False

    def send_one_away(self) -> bool:
        """Make room for another one. Returns whether there was anybody to send away."""
        speaking = self._last or self._speaking
        if self._silent and len(self._silent) >= len(self._speaking) + len(self._last):
            visitor = next(iter(self._silent))
        elif speaking:
            visitor = next(islice(speaking, secrets.randbelow(len(speaking)), None))
        else:
            return False
        self.gone(visitor)  # here, not when it is closed: the next one to go is another one
        visitor.send_away()
        return True

    def gone(self, visitor: Visitor) -> None:
        """It is authenticated, or gone."""
        for group in (self._silent, self._speaking, self._last):
            group.pop(visitor, None)

    def failed(self, visitor: Visitor, now: float) -> bool:
        """Charge a visitor's source for a failed handshake, if that is its fault. True if that was one too many."""
        if not visitor.source or not visitor.spoke or visitor.blameless:
            return False
        suspect = self._suspects.pop(visitor.source, None) or _Suspect(self._limits)
        self._suspects[visitor.source] = suspect
        if len(self._suspects) > MOST_SOURCES:
            del self._suspects[next(iter(self._suspects))]
        return suspect.failures.take(now) and suspect.failures.left(now) < 1


class Seats:
    """How many sessions a listener has, and of which keys; for keys that nobody has listed, of which sources, since
    anybody can make as many keys as they like."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._holders: dict[Visitor, PublicKey | str] = {}
        self._taken: Counter[PublicKey | str] = Counter()

    def __len__(self) -> int:
        return len(self._holders)

    def take(self, visitor: Visitor, key: PublicKey, *, listed: bool) -> None:
        """One more session with this key. Raises `SessionClosed` with code ``busy`` if that is one too many."""
        holder = key if listed or not visitor.source else visitor.source
        if self._taken[holder] >= self._limits.sessions_per_key:
            whose = "this key" if holder is key else "your address"
            problem = f"{whose} has {self._limits.sessions_per_key} sessions already"
        elif len(self) >= self._limits.sessions:
            problem = "the server has as many sessions as it may have"
        else:
            self._taken[holder] += 1
            self._holders[visitor] = holder
            return
        self._forget(holder)
        visitor.excuse()
        raise SessionClosed("busy", f"{problem}; try again later")

    def leave(self, visitor: Visitor) -> None:
        """Whatever came of this visitor is over."""
        holder = self._holders.pop(visitor, None)
        if holder is not None:
            self._taken[holder] -= 1
            self._forget(holder)

    def _forget(self, holder: PublicKey | str) -> None:
        if not self._taken[holder]:
            del self._taken[holder]


def source_of(address: object) -> str:
    """What is charged for failures: a part of a socket address, or a gateway's label. Empty for this machine itself."""
    if isinstance(address, Bridged):
        return address.label
    if not isinstance(address, tuple) or address[0] in HERE:
        return ""
    host: str = address[0]
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))
