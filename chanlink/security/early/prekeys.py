"""The prekeys of a listener, and what it remembers of each: every first message is good once (protocol section 2.4).

No I/O and no clock. A prekey ends when its life is over, or when so much is remembered under it that no more can be.
For a while after that it is still known, with all that was taken under it: a first message that was held back so long
is not declined, which would make its client send the data again, if it was taken from elsewhere before.

    made --------- half of its life: another one is the newest --------- ends ------- 60 s: forgotten
    |<---------------- messages under it are taken, once ---------------->|
    |<----------------------- those that were taken are closed --------------------->|

A client takes 30 s at most for an answer to be the answer. So what was taken, and is declined after the 60 s, was sent
too long ago for that.
"""

import math
from typing import NamedTuple

from chanlink.errors import HandshakeError
from chanlink.security.noise.x25519 import KeyPair

from .prekey import Prekey

MOST_REMEMBERED = 65_536
"""Ephemeral keys under one prekey, some 100 bytes each; then it has ended."""
REMEMBERED = 60.0
"""Seconds for which it is known after its end."""
MOST_KNOWN = 8
"""Prekeys at a time: with what is remembered of each, some 50 MiB at most. When there are as many, no other is made."""


class Held:
    """A prekey with its secret half."""

    __slots__ = ("_ends", "_remembered", "key_pair", "prekey")

    def __init__(self, prekey: Prekey, key_pair: KeyPair, ends: float) -> None:
        self.prekey = prekey
        self.key_pair = key_pair
        self._ends = ends
        self._remembered: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Held {self.prekey.name.hex()}>"

    def has_ended(self, now: float) -> bool:
        return now >= self._ends

    def is_known(self, now: float) -> bool:
        """Whether what was taken under it is remembered yet."""
        return now < self._ends + REMEMBERED

    def remembers(self, ephemeral: bytes) -> bool:
        """Whether the message with this ephemeral key was taken, or came to nothing because of another one."""
        return ephemeral in self._remembered

    def remember(self, ephemeral: bytes, now: float) -> None:
        """That message is good no more. The last one that there is room for ends the prekey.

        Nothing is taken under one that has ended: then there is nothing to remember.
        """
        if self.has_ended(now):
            return
        self._remembered.add(ephemeral)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._ends = min(self._ends, now)


class FirstMessage(NamedTuple):
    """A client's message 1 under one of our prekeys. It is good once, whatever comes of it."""

    held: Held
    ephemeral: bytes

    def check(self) -> None:
        """Raises `HandshakeError` if it was used."""
        if self.held.remembers(self.ephemeral):
            raise HandshakeError("a first message with data came twice: a replay, or its client has used it before")

    def use(self, now: float) -> None:
        """It was taken; or it was declined, and its client goes on without it. Raises as `check`."""
        self.check()
        self.held.remember(self.ephemeral, now)


class Prekeys:
    """Those of one listener that are known, the oldest first."""

    def __init__(self, life: float) -> None:
        """``life`` is in seconds."""
        self._life = life
        self._held: dict[bytes, Held] = {}
        self._newest: Held | None = None
        self._made = -math.inf

    def __len__(self) -> int:
        return len(self._held)

    def is_due(self, now: float) -> bool:
        """Whether it is time to make another one, and there is room for it."""
        self._forget(now)
        if len(self._held) >= MOST_KNOWN:
            return False
        return self.newest(now) is None or now - self._made >= self._life / 2

    def add(self, prekey: Prekey, key_pair: KeyPair, now: float) -> None:
        """Another one was made."""
        self._newest = self._held[prekey.name] = Held(prekey, key_pair, now + self._life)
        self._made = now

    def newest(self, now: float) -> Held | None:
        """The one to give away; None where there is none that has not ended."""
        return self._newest if self._newest is not None and not self._newest.has_ended(now) else None

    def find(self, name: bytes, now: float) -> Held | None:
        """The one with this name; one that has ended may be known yet."""
        held = self._held.get(name)
        return held if held is not None and held.is_known(now) else None

    def forget_all(self) -> None:
        """In a forked child: two processes would take the same message."""
        self._held.clear()
        self._newest = None
        self._made = -math.inf

    def _forget(self, now: float) -> None:
        for name in [name for name, held in self._held.items() if not held.is_known(now)]:
            del self._held[name]
