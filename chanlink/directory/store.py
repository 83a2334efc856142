"""What a directory needs of whatever keeps its entries: five verbs.

A store knows nothing of signatures, sessions or trust files: what it is given was checked before. It keeps two things:

- the **owners** of each name: the keys that have registered it, whether the trust file gave each of them this name when
  it did so last, and the highest serial that each has had. They stay when entries end, until the name is removed.
- an **entry** of each owner, until its life is over, or it is withdrawn.

Who may own a name next to whom is said by `rules.check_claim`, which every store calls where nobody else can change the
owners meanwhile. A store's own mistakes are `StoreError`; then nothing of that one call has happened, or all of it has
(the connection broke in the moment of the commit), and all verbs may be repeated. It is the same when a call is
cancelled. Several tasks call verbs at the same time. Other directories may use what is behind a store.
"""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeAlias

MOST_NAMES = 100_000
"""Names of a directory, if its maker does not say."""
NAMES_PER_KEY = 100
"""Names that one key may own, if its maker does not say."""


class New(NamedTuple):
    """An entry that is registered."""

    name: str
    """At most 200 letters, digits, and ``_ . -``."""
    key: bytes
    """The 32 bytes of the key that has signed it."""
    serial: int
    """1 to 2^63-1."""
    life: int
    """Seconds from now on, 1 to 3,600."""
    listed: bool
    """Whether the key's line in the trust file has this name in ``names="..."``."""
    entry: bytes
    """As signed; at most 4,096 bytes."""
    sshsig: bytes
    """At most 1,024 bytes."""
    prekeys: bytes
    """What lies beside it, at most 8,192 bytes."""
    old: bytes = b""
    """The key in whose place this one comes, if it has said so itself; else empty. If it owns the name, then no more,
    and its entry is gone."""


class Stored(NamedTuple):
    """An entry that is there."""

    name: str
    """What it was registered as."""
    key: bytes
    """Who has signed it."""
    serial: int
    """The highest that there is."""
    left: float
    """Seconds that it lives from now on; more than 0."""
    entry: bytes
    """As signed."""
    sshsig: bytes
    """As signed."""
    prekeys: bytes
    """What lies beside it."""


class Gone(NamedTuple):
    """There is no entry of this key under this name any more."""

    name: str
    """What it was registered as."""
    key: bytes
    """The 32 bytes of the key that had signed it."""


class Owner(NamedTuple):
    """One of those that a name belongs to."""

    key: bytes
    listed: bool
    """As `New.listed`, of its last entry."""
    serial: int
    """The highest that it has had here."""


News: TypeAlias = Stored | Gone | None
"""What `Store.changes` gives; None when what there was has been told."""


class Store(Protocol):
    """Keeps the entries of a directory. An async context manager, which the directory enters and leaves.

    Entering raises `ConfigError` for what can't be used: a file that belongs to another program, say; and `StoreError`
    for what perhaps could be, later.
    """

    async def put(self, new: New) -> None:
        """Keep an entry in the place of the one that this key has under this name; returns when it is kept.

        An owner in whose place this key comes (`New.old`) is none any more: see `rules.others`.

        Raises what `rules.check_claim` raises, and `DirectoryFull` for a new owner if there are too many names. One
        that was put before counts again: its life begins anew.
        """

    async def withdraw(self, name: str, key: bytes) -> None:
        """Forget the entry of this key, if there is one; its owner keeps the name."""

    async def remove(self, name: str, key: bytes, listed: bool) -> bool:
        """Forget the name: its owners and their entries. False if nobody owns it.

        Raises `NotAllowed` unless this key is an owner, or ``listed``: the trust file gives it this name.
        """

    async def find(self, name: str) -> Sequence[Stored]:
        """The entries under this name that are there now, at most `rules.OWNERS`, in any order."""

    def changes(self) -> AsyncIterator[News]:
        """An endless iterator, which one task reads all the time.

        First all entries that there are now, then None, then each entry that was put and each that is gone, whoever did
        that, in an order in which the last word on a name and a key is what is so now. What is not read in time may be
        left out when a later word on the same name and key replaces it. Entries whose life is over need not be told:
        whoever has read `Stored.left` knows. Raises `StoreError` when it can't go on; it may be called again then.
        """

    # --- life ---

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> bool | None: ...
