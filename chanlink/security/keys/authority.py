"""Whom a listener lets in, and as whom: its trust, and what is revoked beside it, as files say it now.

A trust does not change. This is what changes: the files are read again, and a new key takes the place of an old one
(protocol 2.6). That holds at once, and is written into the trust file, so that it outlives the process, wherever that
can be written: else whoever has stolen the old key would only have to wait for a restart.
"""

import os
from collections.abc import Callable
from types import NoneType

import anyio
from anyio import CapacityLimiter

from chanlink.arguments import expect
from chanlink.errors import TrustFormatError
from chanlink.printing import printable_logger

from . import trust_lines
from .authority_files import AuthorityFiles, Path
from .openssh import PublicKey
from .presented import Presented
from .trust import Grant, Trust

logger = printable_logger(__name__)


class Authority:
    """A trust, and what is revoked: by the KRLs of authorities' lines, and by one that is asked for everybody.

    Raises `TrustFormatError` when one of them can't be read.
    """

    def __init__(self, trust: Trust, revoked: Path | None = None) -> None:
        expect("trust", trust, Trust)
        expect("revoked", revoked, str, os.PathLike, NoneType)
        self.trust = trust
        self._files = AuthorityFiles(trust, revoked)
        self._revocations = self._files.revocations
        self._followed: dict[PublicKey, PublicKey] = {}
        """Which keys others have taken the place of, since this was made, and which these are. Whatever a file says,
        this process does not trust the old ones again."""
        self._unwritten: list[tuple[PublicKey, PublicKey]] = []
        self._has_followed: anyio.Event | None = None

    def admit(self, presented: Presented, now: int) -> Grant:
        """What a peer may do at this time (seconds since 1970). Raises `UntrustedPeer`, whose advice says why, for our
        log only.

        A key that comes in the place of another has its rights from then on, and the other one has none.
        """
        grant = self.trust.admit(presented, now, self._revocations)
        old = self.trust._followed(presented, now)
        if old is not None and grant.issued is None:
            self._follow(old, presented.key)
        return grant

    def change(self, trust: Trust) -> None:
        """Let in whom this trust does from now on, but for keys in whose place others have come."""
        for old, new in self._followed.items():
            if old in trust.grants:  # an editor has saved what it had read before, perhaps
                what = (
                    "%s names the key %s again, and %s has taken its place: '@revoked KEY' keeps it out after a restart"
                )
                logger.warning(what, trust.path, old.fingerprint, new.fingerprint)
            trust = trust._following(old, new)
        self.trust = trust

    def _follow(self, old: PublicKey, new: PublicKey) -> None:
        name = self.trust.grants[old].name
        self._followed[old] = new
        self.trust = self.trust._following(old, new)
        what = "%s has the key %s from now on, in the place of %s, which is revoked"
        logger.warning(what, name, new.fingerprint, old.fingerprint)
        if self.trust.path is not None:
            self._unwritten.append((old, new))
        if self._has_followed is not None:
            self._has_followed.set()

    async def watch(self, interval: float, changed: Callable[[], None]) -> None:
        """Read the files again when they have changed, each ``interval`` seconds, and write down who was followed.

        Calls ``changed`` whenever somebody may not be let in any more, or otherwise. Runs until cancelled.
        """
        thread = CapacityLimiter(1)  # its own: others' must not keep a key in force
        while True:
            followed = await self._pause(interval if self._files else None)
            while self._unwritten:
                old, new = self._unwritten.pop(0)
                await anyio.to_thread.run_sync(self._write, old, new, abandon_on_cancel=True, limiter=thread)
            news = await anyio.to_thread.run_sync(self._files.look, abandon_on_cancel=True, limiter=thread)
            if news is not None:
                self._revocations = news.revocations
                if news.trust is not None:
                    self.change(news.trust)
            if followed or news is not None:
                changed()

    async def _pause(self, seconds: float | None) -> bool:
        """Whether it was cut short, because a key has taken the place of another."""
        self._has_followed = anyio.Event()
        if self._unwritten:  # before this began to watch, or while it read
            return True
        with anyio.move_on_after(seconds):
            await self._has_followed.wait()
        return self._has_followed.is_set()

    def _write(self, old: PublicKey, new: PublicKey) -> None:
        assert self.trust.path is not None
        try:
            trust_lines.follow(self.trust.path, old, new)
        except (TrustFormatError, ImportError) as exc:  # a file is locked by what not every system has
            what = "%s; after a restart the key %s is a good one again, unless %s has its line by then"
            logger.warning(what, exc, old.fingerprint, new.fingerprint)
