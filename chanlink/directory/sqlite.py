"""`SQLiteStore`: entries in a file, which outlive the process."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Self

from anyio import AsyncContextManagerMixin, CancelScope

from chanlink import CallFailed, StoreError
from chanlink.arguments import expect
from chanlink.patterns.jobs.grouped import Grouped

from .found import Found
from .news import Pending, Readers
from .store import MOST_NAMES, NAMES_PER_KEY, Gone, New, News, Stored

if TYPE_CHECKING:  # SQLite is loaded when a store is entered: a Python may be without it
    from chanlink.patterns.jobs.sqlite_file import SQLiteFile

    from .sqlite_entries import Entries, Kept

PAGE = 500
"""Entries that are read at a time, while others wait."""


class SQLiteStore(AsyncContextManagerMixin):
    """The store of a directory that is kept in one SQLite file, made when it is not there.

    With `fsync` what the directory has answered is on the disk, also after a power cut; what comes at the same time is
    written together. Without, the system writes it when it likes: a process that is killed loses nothing. There are at
    most `most_names` names, and `names_per_key` of one key: they stay until they are removed.

    One process uses a file, as long as it is in the block, and no other program can read it meanwhile; it must not be
    on a network's file system. When the disk is full, or fails, what is to be written is `StoreFailed` for who wanted
    it; names are still found.

    Raises `TypeError`. Entering raises `ConfigError` for a file that can't be used: it is no directory's, or of another
    version, or another process has it, or it can't be written; and `StoreError` for one that perhaps could be, later.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fsync: bool = True,
        most_names: int = MOST_NAMES,
        names_per_key: int = NAMES_PER_KEY,
    ) -> None:
        expect("path", path, str, os.PathLike)
        expect("fsync", fsync, bool)
        expect("most_names", most_names, int)
        expect("names_per_key", names_per_key, int)
        self._path = os.path.abspath(path)
        self._fsync, self._most_names, self._names_per_key = fsync, most_names, names_per_key
        self._group = Grouped(self._transaction)
        self._entries: Entries | None = None
        self._found: Found[Kept] = Found()
        self._readers = Readers()

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._path}>"

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with self._group.running():
            file = await self._group.apart(self._open)
            try:
                yield self
            finally:
                self._entries, self._found = None, Found()
                with CancelScope(shield=True):
                    await self._group.apart(file.close)

    def _open(self) -> "SQLiteFile":
        from chanlink.patterns.jobs.sqlite_file import SQLiteFile

        from .sqlite_entries import Entries
        from .sqlite_tables import APPLICATION, SCHEMA, VERSION

        file = SQLiteFile(self._path, SCHEMA, fsync=self._fsync, application=APPLICATION, version=VERSION)
        try:
            self._entries = Entries(file, most_names=self._most_names, names_per_key=self._names_per_key)
        except BaseException:
            file.close()
            raise
        return file

    # --- the verbs, as `Store` has them ---

    async def put(self, new: New) -> None:
        """As `Store.put`."""
        with self._changing(new.name) as keys:
            keys += [key for key in (new.old, new.key) if key]
            [problem] = await self._group.call(self._opened.put, [new])
        if problem is not None:
            raise problem

    async def withdraw(self, name: str, key: bytes) -> None:
        """As `Store.withdraw`."""
        with self._changing(name) as keys:
            keys.append(key)
            await self._group.call(self._opened.withdraw, [(name, key)])

    async def remove(self, name: str, key: bytes, listed: bool) -> bool:
        """As `Store.remove`."""
        from .sqlite_entries import Removal

        with self._changing(name) as keys:
            [removed] = await self._group.call(self._opened.remove, [Removal(name, key, listed)])
            if isinstance(removed, CallFailed):
                raise removed
            keys += removed
        return bool(removed)

    async def find(self, name: str) -> Sequence[Stored]:
        """As `Store.find`."""
        entries = self._opened
        kept = self._found.get(name)
        if kept is None:
            kept = await self._read(entries, name)
        now = entries.now()
        return [one.stored(now) for one in kept if one.until > now]

    async def _read(self, entries: "Entries", name: str) -> "Sequence[Kept]":
        reader, kept = self._found.reads(name), None
        try:
            [kept] = await self._group.call(entries.find, [name])
        finally:
            self._found.has_read(name, reader, kept)
        return kept

    async def changes(self) -> AsyncIterator[News]:
        """As `Store.changes`."""
        reader = Pending(())
        await reader.next()  # the marker comes when all has been read
        self._readers.add(reader)
        try:
            name, key = "", b""
            while page := await self._page(name, key):
                for one in page:
                    yield one.stored(self._opened.now())
                    name, key = one.name, one.key
            yield None
            while True:
                change = await reader.next()
                assert change is not None
                yield await self._as_it_is(change.name, change.key)
        finally:
            self._readers.discard(reader)

    async def _page(self, name: str, key: bytes) -> "Sequence[Kept]":
        [page] = await self._group.call(self._opened.page, [(name, key, PAGE)])
        return page

    async def _as_it_is(self, name: str, key: bytes) -> Stored | Gone:
        [one] = await self._group.call(self._opened.find_one, [(name, key)])
        return Gone(name, key) if one is None else one.stored(self._opened.now())

    # --- changes ---

    @contextmanager
    def _changing(self, name: str) -> Iterator[list[bytes]]:
        """The name changes in the block, for the keys that are put into the list, or maybe it does not.

        Who follows is told that it may be another by now, and looks: calls that were carried out together return in
        any order, and one that has failed may have been carried out.
        """
        keys: list[bytes] = []
        with self._found.changing(name):
            try:
                yield keys
            finally:
                for key in keys:
                    self._readers.tell(Gone(name, key))

    @property
    def _opened(self) -> "Entries":
        if self._entries is None:
            raise StoreError("the store is closed")
        return self._entries

    def _transaction(self) -> AbstractContextManager[None]:
        return self._opened.transaction()
