"""What vouches for the two sides of a session, and for how long (protocol sections 2.5 and 3.5).

A peer that was let in by a credential may stay for some time after that has ended, in which it is to show a newer one:
on the next connection of the session, or while it lasts. What counts is decided by who has let it in. And a side that
has shown a credential itself looks for a newer one when the end of that comes near.
"""

import os
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from chanlink import clock
from chanlink.errors import SessionClosed, UntrustedPeer, WrongPeer
from chanlink.printing import printable_logger
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.successor import Successor
from chanlink.security.keys.threads import run_apart
from chanlink.security.keys.trust import Grant, Issued, Trust
from chanlink.security.statics import Statics

logger = printable_logger(__name__)

GRACE = 600
"""Seconds that a session lives on after the credential of its peer has ended."""
LOOK = 60.0
"""Seconds between two looks for a newer credential, once a quarter of the life of the one that was shown is left."""

Admits = Callable[[Presented], Grant]
"""Says what a peer may do that was let in before. Raises `UntrustedPeer` and `WrongPeer`."""


class Ours(NamedTuple):
    """What this side has to show."""

    shown: Credential
    look: Callable[[], Awaitable[tuple[Credential | None, Successor | None]]]
    """Finds what vouches for our identity now."""


def ours_of(statics: Statics, *, by_prekey: bool = False) -> Ours | None:
    """What this side has shown in a handshake a moment ago, if it has shown a credential; a prekey has none."""
    credential, _ = statics.vouched_now()
    return None if credential is None or by_prekey else Ours(credential, statics.vouched)


class Vouching:
    """What vouches for the peer of one session, and for this side."""

    def __init__(self, presented: Presented, grant: Grant, admits: Admits, ours: Ours | None = None) -> None:
        self.presented = presented
        """What the peer has shown: the newest of it."""
        self._granted: Callable[[Grant | None], None] = lambda grant: None
        self._admits = admits
        self._issued: Issued | None = None
        self._ours = ours
        self._look_at = 0.0
        self.expires: int | None = None
        """When the session is over, in seconds since 1970; None if no credential says so."""
        self.decided(grant)

    def on_granted(self, granted: Callable[[Grant | None], None]) -> None:
        """Have ``granted`` told what the peer may do when it has shown something else; None: nothing any more."""
        self._granted = granted

    def decided(self, grant: Grant) -> None:
        """This is what the peer may do now, and why."""
        self._issued = grant.issued
        self.expires = None if grant.issued is None else grant.issued.credential.valid_before + GRACE

    def ends_at(self, seconds: int | None) -> None:
        """The session is over then, in seconds since 1970, or never, whatever credential there is."""
        self.expires = seconds

    def is_over(self, now: float) -> bool:
        """Whether the credential of the peer has ended so long ago that the session has, too."""
        return self.expires is not None and now >= self.expires

    # --- the peer ---

    def admitted_still(self) -> Grant | None:
        """What the peer may do by now, by what it has shown; None if it is not trusted any more."""
        try:
            return self._admits(self.presented)
        except UntrustedPeer:
            return None

    def again(self, presented: Presented) -> tuple[Presented, Grant]:
        """What a peer that comes back counts as having shown, and what it may do.

        Raises `UntrustedPeer`, and `SessionClosed` with code ``gone`` if something else vouches for it than before.
        """
        before = self.presented.credential
        if before is not None and not _follows(presented.credential, before):
            presented = presented._replace(credential=before)
        grant = self._admits(presented)
        if not _is_same(grant.issued, self._issued):
            raise SessionClosed("gone", "something else vouches for the key than before")
        return presented, grant

    def take(self, presented: Presented, grant: Grant) -> None:
        """The peer has shown this."""
        self.presented = presented
        self._granted(grant)

    @property
    def may_renew(self) -> bool:
        """Whether a newer credential of the peer could count: it was let in by one."""
        return self._issued is not None

    def renew(self, credential: Credential) -> bool:
        """Take a newer credential of the peer: whether it is one that counts."""
        presented = self.presented._replace(credential=credential)
        if self._issued is None or not _follows(credential, self._issued.credential):
            return False
        try:
            grant = self._admits(presented)
        except (UntrustedPeer, WrongPeer) as exc:
            logger.info("a newer credential does not count: %s", exc)
            return False
        if not _is_same(grant.issued, self._issued):
            return False
        self.take(presented, grant)
        return True

    # --- this side ---

    def is_due(self, now: float) -> bool:
        """Whether to look for a newer credential of ours, by `newer`; ``now`` is in seconds since 1970."""
        if self._ours is None or clock.now() < self._look_at:
            return False
        shown = self._ours.shown
        return now >= shown.valid_before - (shown.valid_before - shown.valid_after) / 4

    async def newer(self) -> Credential | None:
        """A credential of ours that the peer is to see, if there is one."""
        assert self._ours is not None
        self._look_at = clock.now() + LOOK
        found, _ = await self._ours.look()
        if found is None or not _follows(found, self._ours.shown):
            return None
        self._ours = self._ours._replace(shown=found)
        return found


def _follows(newer: Credential | None, older: Credential) -> bool:
    """Whether this is a newer credential of the same key, by the same authority, and is good by now."""
    if newer is None or (newer.key, newer.ca) != (older.key, older.ca):
        return False
    return newer.valid_before > older.valid_before and newer.valid_after <= clock.since_1970()


def _is_same(one: Issued | None, other: Issued | None) -> bool:
    """Whether the same authority vouches for the same person."""
    if one is None or other is None:
        return one is other
    return (one.issuer, one.principal) == (other.issuer, other.principal) and one.credential.ca == other.credential.ca


async def authority_of(trust: Trust, revoked: str | os.PathLike[str] | None) -> Authority:
    """What says who may connect. Raises `TrustFormatError` when a file with what is revoked can't be read."""
    if trust.path is None and revoked is None:
        return Authority(trust)
    return await run_apart(Authority, trust, revoked, abandon=True)


def admits_of(authority: Authority) -> Admits:
    """Asks an authority of a peer that it has let in.

    Of the time it is not asked again: how long a session may go on, its `Vouching` says.
    """

    def admits(presented: Presented) -> Grant:
        return authority.admit(presented, presented.counted_at(clock.since_1970()))

    return admits
