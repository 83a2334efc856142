"""Which server `connect` expects, and what becomes of one that nobody knows yet."""

from typing import Self

from chanlink.errors import ConfigError, UntrustedPeer, WrongPeer
from chanlink.printing import printable_logger
from chanlink.transport.address import Address

from .known_peers import KnownPeers, names_of
from .openssh import PublicKey
from .threads import run_apart
from .trust import Grant, Trust

logger = printable_logger(__name__)


class Expected:
    """Which server `connect` expects: of a key and a trust, what is given must agree to it."""

    def __init__(self, address: Address | None, peer: PublicKey | None, trust: Trust | KnownPeers | None) -> None:
        self._address = address
        self._peer = peer
        self._trust = trust
        self._new: PublicKey | None = None

    @classmethod
    async def of(cls, address: Address | None, peer: PublicKey | None, trust: Trust | KnownPeers | None) -> Self:
        """With neither, the default file of known peers decides. Raises `ConfigError`."""
        if peer is None and trust is None and address is not None:
            trust = await run_apart(KnownPeers.load, abandon=True)
        elif isinstance(trust, KnownPeers):
            trust = await run_apart(trust.read_again, abandon=True)
        if address is None and (isinstance(trust, KnownPeers) or (peer is None and trust is None)):
            raise ConfigError("say which server you expect: peer=PublicKey.parse('ssh-ed25519 ...')")
        if address is not None and isinstance(trust, KnownPeers):
            names_of(address)
        return cls(address, peer, trust)

    def admit(self, key: PublicKey) -> Grant:
        """What the server with this key may do. Raises `WrongPeer` or `UntrustedPeer`."""
        if self._peer is not None and key != self._peer:
            raise WrongPeer(self._peer.fingerprint, key.fingerprint)
        if self._trust is None:
            assert self._peer is not None
            return Grant(self._peer.comment or self._peer.fingerprint, None)
        if isinstance(self._trust, KnownPeers):
            return self._admit_known(self._trust, key)
        grant = self._trust.check(key)
        if grant is None:
            raise UntrustedPeer(key.fingerprint)
        return grant

    def _admit_known(self, known: KnownPeers, key: PublicKey) -> Grant:
        assert self._address is not None
        grant = known.find(self._address, key)
        if grant is not None:
            return grant
        if not known.first_use:
            bare = str(PublicKey(key.raw))
            line = f"{names_of(self._address)[0]} {bare}"
            advice = f"if it is the right one, add this line to {known.path}: {line}"
            raise UntrustedPeer(key.fingerprint, advice, key=bare)
        self._new = key
        return Grant(key.fingerprint, None)

    async def remember(self) -> None:
        """Add the key of a server that was met for the first time to the file. Raises as `KnownPeers.add`."""
        if self._new is None:
            return
        assert isinstance(self._trust, KnownPeers)
        assert self._address is not None
        # Another process may hold the lock: a caller that is cancelled must not hang.
        await run_apart(self._trust.add, self._address, self._new, abandon=True)
        logger.warning("%s has the key %s from now on, by first use", self._address, self._new.fingerprint)
