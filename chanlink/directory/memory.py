"""`MemoryStore`: the entries of one directory, for as long as its process lives."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from chanlink import clock
from chanlink.arguments import expect

from .news import Pending, Readers
from .rules import check_claim, check_removal, check_room
from .store import MOST_NAMES, NAMES_PER_KEY, Gone, New, News, Owner, Stored


class MemoryStore:
    """The store of a directory that is kept nowhere else: names are free again when its process ends.

    There are at most `most_names` names, and `names_per_key` of one key. Raises `TypeError`.
    """

    def __init__(self, *, most_names: int = MOST_NAMES, names_per_key: int = NAMES_PER_KEY) -> None:
        expect("most_names", most_names, int)
        expect("names_per_key", names_per_key, int)
        self._most_names = most_names
        self._names_per_key = names_per_key
        self._owners: dict[str, dict[bytes, Owner]] = {}
        self._entries: dict[str, dict[bytes, tuple[float, New]]] = {}
        """By name and key: until when, and what."""
        self._names_of: Counter[bytes] = Counter()
        self._readers = Readers()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        pass

    async def put(self, new: New) -> None:
        """As `Store.put`."""
        owners = self._owners.get(new.name, {})
        check_claim(owners.values(), new)
        if new.key not in owners:
            names = len(self._owners) - bool(owners)
            check_room(self._names_of[new.key], self._names_per_key, names, self._most_names)
            self._names_of[new.key] += 1
        if new.old in owners:
            del owners[new.old]
            self._names_of[new.old] -= 1
            if not self._names_of[new.old]:
                del self._names_of[new.old]
            await self.withdraw(new.name, new.old)
        self._owners.setdefault(new.name, owners)[new.key] = Owner(new.key, new.listed, new.serial)
        until = clock.now() + new.life
        self._entries.setdefault(new.name, {})[new.key] = until, new
        self._readers.tell(stored(new, new.life))

    async def withdraw(self, name: str, key: bytes) -> None:
        """As `Store.withdraw`."""
        entries = self._entries.get(name, {})
        if entries.pop(key, None) is not None:
            self._readers.tell(Gone(name, key))
        if not entries:
            self._entries.pop(name, None)

    async def remove(self, name: str, key: bytes, listed: bool) -> bool:
        """As `Store.remove`."""
        owners = self._owners.get(name, {})
        if not owners:
            return False
        check_removal(owners.values(), name, key, listed)
        del self._owners[name]
        self._names_of.subtract(owners.keys())
        self._names_of = +self._names_of  # without those that have none
        for one in self._entries.pop(name, {}):
            self._readers.tell(Gone(name, one))
        return True

    async def find(self, name: str) -> Sequence[Stored]:
        """As `Store.find`."""
        return self._current(name)

    def _current(self, name: str) -> list[Stored]:
        now = clock.now()
        return [stored(new, until - now) for until, new in self._entries.get(name, {}).values() if until > now]

    async def changes(self) -> AsyncIterator[News]:
        """As `Store.changes`."""
        reader = Pending(one for name in self._entries for one in self._current(name))
        self._readers.add(reader)
        try:
            while True:
                yield await reader.next()
        finally:
            self._readers.discard(reader)


def stored(new: New, left: float) -> Stored:
    """An entry that was put, and lives for so long."""
    return Stored(new.name, new.key, new.serial, left, new.entry, new.sshsig, new.prekeys)
