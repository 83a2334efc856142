"""Entries in an SQLite file: what an `SQLiteStore` does in its thread, each in a transaction.

Each function takes a list, and has an answer for each item: those of several callers come together. An answer that is
an exception is for its caller alone, and the others' items are written nevertheless.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from chanlink import CallFailed, clock
from chanlink.patterns.jobs.sqlite_file import SQLiteFile

from . import sqlite_tables as sql
from .rules import check_claim, check_removal, check_room
from .store import New, Owner, Stored

A_FEW = 4
"""Entries that have ended and are forgotten for each one that comes: their rows stay, their bytes need not."""


class Kept(NamedTuple):
    """An entry, and when it ends by the clock of the file."""

    name: str
    key: bytes
    serial: int
    until: float
    entry: bytes
    sshsig: bytes
    prekeys: bytes

    def stored(self, now: float) -> Stored:
        """As it is at this time."""
        return Stored(self.name, self.key, self.serial, self.until - now, self.entry, self.sshsig, self.prekeys)


class Removal(NamedTuple):
    """A name that is to be removed, and by whom."""

    name: str
    key: bytes
    listed: bool


class Entries:
    """The entries of a file, for one thread at a time. `now` can be asked in any."""

    def __init__(self, file: SQLiteFile, *, most_names: int, names_per_key: int) -> None:
        self._file = file
        self._execute = file.connection.execute
        self._most_names, self._names_per_key = most_names, names_per_key
        # As for jobs: no entry lives longer than it may, whatever the wall says while this process lives, or the next.
        (last_time,) = self._execute(sql.TIME).fetchone()
        self._clock_began: float = max(time.time(), last_time) - clock.now()
        (self._names,) = self._execute(sql.NAMES).fetchone()

    def now(self) -> float:
        """What the clock of the file says."""
        return self._clock_began + clock.now()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As that of the file; what is counted in memory follows."""
        names = self._names
        try:
            with self._file.transaction():
                yield
        except BaseException:
            self._names = names
            raise

    # --- the verbs ---

    def put(self, news: Sequence[New]) -> list[CallFailed | None]:
        return [self._put(new) for new in news]

    def _put(self, new: New) -> CallFailed | None:
        owners = self._owners(new.name)
        try:
            check_claim(owners, new)
            if all(owner.key != new.key for owner in owners):
                (names,) = self._execute(sql.NAMES_OF_KEY, (new.key,)).fetchone()
                check_room(names, self._names_per_key, self._names - bool(owners), self._most_names)
        except CallFailed as exc:
            return exc
        self._names += not owners
        now = self.now()
        self._execute(sql.SET_TIME, (now,))
        for row in self._execute(sql.ENDED, (now, A_FEW)).fetchall():
            self._execute(sql.FORGET_ENDED, row)
        if new.old:
            self._execute(sql.REMOVE_OWNER, (new.name, new.old))
        values = new.name, new.key, new.listed, new.serial, now + new.life, new.entry, new.sshsig, new.prekeys
        self._execute(sql.PUT, values)
        return None

    def withdraw(self, which: Sequence[tuple[str, bytes]]) -> list[None]:
        for one in which:
            self._execute(sql.WITHDRAW, one)
        return [None] * len(which)

    def remove(self, removals: Sequence[Removal]) -> list[list[bytes] | CallFailed]:
        """The keys of those that have owned each name; none if nobody has."""
        return [self._remove(removal) for removal in removals]

    def _remove(self, removal: Removal) -> list[bytes] | CallFailed:
        owners = self._owners(removal.name)
        if not owners:
            return []
        try:
            check_removal(owners, *removal)
        except CallFailed as exc:
            return exc
        self._execute(sql.REMOVE, (removal.name,))
        self._names -= 1
        return [owner.key for owner in owners]

    # --- reading ---

    def find(self, names: Sequence[str]) -> list[list[Kept]]:
        now = self.now()
        return [[Kept(*row) for row in self._execute(sql.FIND, (name, now))] for name in names]

    def find_one(self, which: Sequence[tuple[str, bytes]]) -> list[Kept | None]:
        now = self.now()
        rows = [self._execute(sql.FIND_ONE, (*one, now)).fetchone() for one in which]
        return [None if row is None else Kept(*row) for row in rows]

    def page(self, behind: Sequence[tuple[str, bytes, int]]) -> list[list[Kept]]:
        """Those behind a name and a key, in their order, at most so many."""
        now = self.now()
        found = []
        for name, key, most in behind:
            found.append([Kept(*row) for row in self._execute(sql.PAGE, (name, key, now, most))])
        return found

    def _owners(self, name: str) -> list[Owner]:
        return [Owner(key, bool(listed), serial) for key, listed, serial in self._execute(sql.OWNERS, (name,))]
