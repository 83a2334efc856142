"""Which server `connect` expects, and what becomes of one that nobody knows yet."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

from chanlink.errors import ConfigError, TrustFormatError, UntrustedPeer, WrongPeer
from chanlink.printing import printable_logger
from chanlink.transport.address import Name
from chanlink.transport.target import Target

from .issuers import refused
from .known_lines import names_of
from .known_peers import KnownPeers
from .openssh import PublicKey
from .presented import Presented
from .threads import run_apart
from .trust import Grant, Trust, name_of

logger = printable_logger(__name__)

_PINNED = (
    "it says that it takes the place of the expected one, and only a file of known peers follows such a word: "
    "whoever names the key has to name the new one"
)


class Expected:
    """Which server `connect` expects: of a key and a trust, what is given must agree to it."""

    def __init__(
        self,
        address: Target | None,
        peer: PublicKey | None,
        trust: Trust | KnownPeers | None,
        trust_directory: bool = False,
    ) -> None:
        self._address = address
        self._peer = peer
        self._trust = trust
        self._trust_directory = trust_directory
        self._listed: frozenset[PublicKey] = frozenset()
        self._vouched: PublicKey | None = None
        self._met: Presented | None = None
        """What the file of known peers has to learn."""

    @classmethod
    async def of(
        cls,
        address: Target | None,
        peer: PublicKey | None,
        trust: Trust | KnownPeers | None,
        trust_directory: bool = False,
    ) -> Self:
        """With neither, the default file of known peers decides; of a key that it does not know, the directory with
        ``trust_directory``. Raises `ConfigError`."""
        if trust_directory and isinstance(address, Name) and (peer is not None or isinstance(trust, Trust)):
            raise ConfigError(
                "trust_directory=True and peer=... or a Trust: say one of them, it says which keys will do"
            )
        if peer is None and trust is None and address is not None:
            trust = await run_apart(KnownPeers.load, abandon=True)
        elif isinstance(trust, KnownPeers):
            trust = await run_apart(trust.read_again, abandon=True)
        if address is None and (isinstance(trust, KnownPeers) or (peer is None and trust is None)):
            raise ConfigError("say which server you expect: peer=PublicKey.parse('ssh-ed25519 ...')")
        if address is not None and isinstance(trust, KnownPeers):
            names_of(address)
        return cls(address, peer, trust, trust_directory)

    @property
    def asks_file(self) -> bool:
        """Whether a file of known peers says which keys will do."""
        return isinstance(self._trust, KnownPeers)

    def list_keys(self, keys: Iterable[PublicKey]) -> None:
        """A directory says that the server has one of these keys. Whom that is enough for, the caller has said."""
        self._listed = frozenset(keys)

    def believe(self, key: PublicKey) -> None:
        """What carries the next connection has made out by itself that the server has this key: it is the one for this
        session, and no file learns of it. Where the caller has named keys, it must be one of them as well."""
        self._vouched = key

    def check(self, key: PublicKey) -> Grant:
        """What a server with this key might do, before it has proved that it has it. Raises as `admit`."""
        return self._admitted(Presented(key))[0]

    def knows(self, key: PublicKey) -> Grant | None:
        """As `check`; None where it would raise, and where this would be the first time that the key is met."""
        try:
            grant, is_new = self._admitted(Presented(key))
        except (WrongPeer, UntrustedPeer):
            return None
        return None if is_new else grant

    def may_follow(self, key: PublicKey) -> bool:
        """Whether a server with this key, for which `check` raises `WrongPeer`, may yet be the expected one: it may say
        in its handshake that it takes the place of another key."""
        return isinstance(self._trust, KnownPeers) and self._peer is None

    def admit(self, presented: Presented | PublicKey) -> Grant:
        """What the server that has shown this may do now. Raises `WrongPeer` or `UntrustedPeer`."""
        presented = _shown(presented)
        grant, is_new = self._admitted(presented)
        self._met = presented if is_new else None
        return grant

    async def check_again(self, presented: Presented | PublicKey) -> None:
        """Read the file of known peers again, if there is one, for a server that was admitted some time ago.

        Raises `UntrustedPeer` if it says by now that the key, or who vouches for it, is revoked, and a `ConfigError` if
        it can't be read. That the address has another key by now is no matter: that is of who connects.
        """
        if isinstance(self._trust, KnownPeers):
            assert self._address is not None
            known = await run_apart(self._trust.read_again, abandon=True)
            with suppress(WrongPeer):
                if isinstance(presented, PublicKey):
                    known.find(str(self._address), presented)
                else:
                    known._admit(self._address, presented, presented.counted_at(_now()))

    def _admitted(self, presented: Presented) -> tuple[Grant, bool]:
        """And whether the file of known peers has to learn it."""
        if self._peer is not None and presented.key != self._peer:
            advice = _PINNED if _succeeds(presented, self._peer) else ""
            raise WrongPeer(self._peer.fingerprint, presented.key.fingerprint, advice)
        if self._vouched is not None and not isinstance(self._trust, Trust):
            return self._admit_vouched(self._vouched, presented), False
        if self._trust is None:
            assert self._peer is not None
            return Grant(name_of(self._peer), None), False
        if isinstance(self._trust, KnownPeers):
            return self._admit_known(self._trust, presented)
        # Authorities of a trust speak for users; and nothing would keep that a key has a successor.
        grant = self._trust.check(presented.key)
        if grant is None:
            advice = _PINNED if any(_succeeds(presented, key) for key in self._trust.grants) else ""
            raise refused(presented, advice)
        return grant, False

    def _admit_vouched(self, key: PublicKey, presented: Presented) -> Grant:
        if presented.key != key:
            raise WrongPeer(key.fingerprint, presented.key.fingerprint)
        if isinstance(self._trust, KnownPeers) and self._address is not None:
            with suppress(WrongPeer):  # it has another key each time; one that is revoked is refused
                self._trust._admit(self._address, presented, _now())
        return Grant(name_of(key), None)

    def _admit_known(self, known: KnownPeers, presented: Presented) -> tuple[Grant, bool]:
        assert self._address is not None
        key, now = presented.key, _now()
        grant = known._admit(self._address, presented, now)
        if grant is not None:
            return grant, known._follows(self._address, presented, now) is not None
        if self._listed and key not in self._listed:
            raise WrongPeer(" or ".join(sorted(one.fingerprint for one in self._listed)[:3]), key.fingerprint)
        if self._trust_directory and key in self._listed:
            assert isinstance(self._address, Name)
            return Grant(self._address.name, None), False
        if not known.first_use:
            bare = str(PublicKey(key.raw))
            line = f"{names_of(self._address)[0]} {bare}"
            advice = f"if it is the right one, add this line to {known.path}: {line}"
            raise UntrustedPeer(key.fingerprint, advice, key=bare)
        return Grant(key.fingerprint, None), True

    async def remember(self) -> None:
        """Add to the file the key of a server that was met for the first time, or that has taken the place of another.

        Raises as `KnownPeers.add`. A file that can't be written is no reason not to follow a key: the old one is as
        good by it as it was.
        """
        if self._met is None:
            return
        assert isinstance(self._trust, KnownPeers)
        assert self._address is not None
        presented, now = self._met, _now()
        follows = self._trust._follows(self._address, presented, now)
        # Another process may hold the lock: a caller that is cancelled must not hang.
        if follows is None:
            await run_apart(self._trust.add, str(self._address), presented.key, abandon=True)
            logger.warning("%s has the key %s from now on, by first use", self._address, presented.key.fingerprint)
            return
        what = f"{self._address} has the key {presented.key.fingerprint} from now on, in the place of"
        try:
            if await run_apart(self._trust._follow, self._address, presented, now, abandon=True):
                logger.warning("%s %s, which is revoked", what, follows.old.fingerprint)
        except (TrustFormatError, ImportError) as exc:  # a file is locked by what not every system has
            logger.warning("%s %s, which is not revoked: %s", what, follows.old.fingerprint, exc)


def _shown(presented: Presented | PublicKey) -> Presented:
    return Presented(presented) if isinstance(presented, PublicKey) else presented


def _succeeds(presented: Presented, old: PublicKey) -> bool:
    successor = presented.successor
    return successor is not None and (successor.old, successor.new) == (old, presented.key)


def _now() -> int:
    """As in credentials and successors: seconds since 1970."""
    return int(time.time())
