"""``chanlink://name``: which addresses a directory has for it, and whether the keys that it tells of will do.

A directory is asked where servers are, and is not believed to say who they are: an entry whose key would not be
admitted is passed over before anybody connects, and the server proves its key as any other. What it may do with a lie
is to lead nowhere.
"""

import random
from collections.abc import Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from chanlink.errors import AddressError, ChanlinkError, ConfigError, ConnectFailed, UntrustedPeer, WrongPeer
from chanlink.printing import printable_logger
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.openssh import PublicKey
from chanlink.transport.address import Address, Name
from chanlink.transport.carried import Carrier
from chanlink.transport.dial import Find
from chanlink.transport.target import Target, parse_remote

logger = printable_logger(__name__)

ADDRESSES_MAX = 16
"""Of one name that are tried: each may cost the time to connect."""


class Entry(Protocol):
    """What a directory knows of one server."""

    @property
    def key(self) -> PublicKey:
        """Of the server, as it says."""

    @property
    def addresses(self) -> Sequence[str]:
        """Where the server says that it is."""


@runtime_checkable
class Resolver(Protocol):
    """What knows the servers that have a name: a directory."""

    async def lookup(self, name: str, *, fresh: bool = False) -> Sequence[Entry]:
        """Its entries, none if there are none; with ``fresh`` those that it has now, not those that somebody has kept.

        Raises `SessionError` and `ConfigError`.
        """


def finder(target: Target | None, directory: object, expected: Expected) -> "Finder | None":
    """What tells where a name leads; None for an address. Raises `ConfigError`."""
    if not isinstance(target, Name):
        return None
    if not isinstance(directory, Resolver):
        raise ConfigError(f"{target}: no directory to ask; set CHANLINK_DIRECTORY, or say directory=...")
    return Finder(target, directory, expected)


class Finder:
    """Asks for a name, for one that expects a server."""

    def __init__(self, name: Name, directory: Resolver, expected: Expected) -> None:
        self._name = name
        self._directory = directory
        self._expected = expected

    async def __call__(self, fresh: bool, key: PublicKey | None = None) -> list[Address | Carrier]:
        """The addresses of the servers that would do: those of one of them, at random, and then of the others. With a
        ``key``, only of the server that has it.

        Raises `ConnectFailed`, and `WrongPeer` or `UntrustedPeer` when there is none that would.
        """
        entries = list(await self._ask(fresh))
        if not entries:
            why = "no server has that name now: is it spelt right, and is the server running?"
            raise ConnectFailed(f"{self._name}: {why}") from LookupError(self._name.name)
        self._expected.list_keys(entry.key for entry in entries)
        random.shuffle(entries)
        wanted = [entry for entry in self._good(entries) if key in (None, entry.key)]
        addresses = [address for entry in wanted for address in _remote(entry, self._name)]
        if not addresses:
            raise ConnectFailed(f"{self._name}: the directory has no address of it that leads to another machine")
        return list(dict.fromkeys(addresses))[:ADDRESSES_MAX]

    def only(self, key: PublicKey) -> Find:
        """What tells where the server with this key is."""
        return partial(self, key=key)

    async def prekeys(self) -> dict[PublicKey, bytes]:
        """What the servers that would do have put beside their entries, in the order to try; it may be empty.

        Where that can't be asked there are none: whoever asks for addresses is told why.
        """
        try:
            entries = list(await self._ask(fresh=False))
            self._expected.list_keys(entry.key for entry in entries)
            random.shuffle(entries)
            return {entry.key: getattr(entry, "prekeys", b"") for entry in self._good(entries)} if entries else {}
        except (ConnectFailed, WrongPeer, UntrustedPeer):
            return {}

    async def _ask(self, fresh: bool) -> Sequence[Entry]:
        try:
            return await self._directory.lookup(self._name.name, fresh=fresh)
        except ConfigError:
            raise
        except ChanlinkError as exc:
            raise ConnectFailed(f"{self._name}: can't ask the directory: {exc}") from exc.__cause__

    def _good(self, entries: Sequence[Entry]) -> list[Entry]:
        good: list[Entry] = []
        others: list[Entry] = []
        """Their keys may yet say that they take the place of the expected one. Met where there are no good ones."""
        problem: WrongPeer | UntrustedPeer | None = None
        for entry in entries:
            try:
                self._expected.check(entry.key)
                good.append(entry)
            except (WrongPeer, UntrustedPeer) as exc:
                problem = exc
                if isinstance(exc, WrongPeer) and self._expected.may_follow(entry.key):
                    others.append(entry)
        if not good:
            if others:
                return others
            assert problem is not None
            raise problem
        if problem is not None:
            logger.info(
                "%s: passed over what the directory tells of a server that is not expected: %s", self._name, problem
            )
        return good


def _remote(entry: Entry, name: Name) -> list[Address | Carrier]:
    found: list[Address | Carrier] = []
    for text in entry.addresses:
        try:
            found.append(parse_remote(text))
        except AddressError as exc:
            logger.info("%s: passed over an address in the directory: %s", name, exc)
    return found
