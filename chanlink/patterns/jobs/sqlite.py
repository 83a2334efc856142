"""`SQLiteStore`: jobs in a file, which outlive the process."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio
from anyio import AsyncContextManagerMixin, CancelScope

from chanlink.arguments import expect
from chanlink.errors import StoreError

from .grouped import Grouped
from .store import Again, Begun, Changes, End, Known, NewJob, State

if TYPE_CHECKING:  # SQLite is loaded when a store is entered: a Python may be without it
    from .sqlite_file import SQLiteFile
    from .sqlite_jobs import Jobs

WEEK = 7 * 24 * 3600.0
LONGEST_WAIT = 60.0
"""Seconds after which the clock is looked at again, and those after which it is tried again when the store failed."""
TRIED_AGAIN = 1.0


class SQLiteStore(AsyncContextManagerMixin):
    """The store of a queue that is kept in one SQLite file, made when it is not there.

    With `fsync` what the queue has answered is on the disk, also after a power cut; what comes at the same time is
    written together, so many jobs cost as few writes as one. Without, the system writes it when it likes: a process
    that is killed loses nothing, and a power cut what was answered last, never more of the file. Jobs that have ended
    are forgotten after `keep` seconds, or when there are more than `most_ended`, the oldest first; the room in the file
    is used again.

    One process uses a file, as long as it is in the block, and no other program can read it meanwhile; it must not be
    on a network's file system. Jobs that were running when the process ended wait again, behind those that waited. When
    the disk is full, or fails, verbs raise `StoreError`, nothing of theirs has happened, and it goes on when there is
    room again; also outcomes need room, so that has to come from elsewhere.

    Raises `TypeError` and `ValueError`. Entering raises `ConfigError` for a file that can't be used: it is no queue's,
    or of another version, or another process has it, or it can't be written; and `StoreError` for one that perhaps
    could be, later. What blocks runs in threads, one at a time, which the process's other threads don't hold up.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, fsync: bool = True, keep: float = WEEK, most_ended: int = 1_000_000
    ) -> None:
        expect("path", path, str, os.PathLike)
        expect("fsync", fsync, bool)
        expect("keep", keep, int, float)
        expect("most_ended", most_ended, int)
        if not keep >= 0 or most_ended < 0:
            raise ValueError("keep and most_ended are at least 0")
        self._path = os.path.abspath(path)
        self._fsync, self._keep, self._most_ended = fsync, keep, most_ended
        self._group = Grouped(self._transaction)
        self._jobs: Jobs | None = None
        self._news = anyio.Event()
        """Something may be due earlier than `changes` waits for."""

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._path}>"

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with self._group.running():
            file = await self._group.apart(self._open)
            try:
                yield self
            finally:
                self._jobs = None
                with CancelScope(shield=True):
                    await self._group.apart(file.close)

    def _open(self) -> "SQLiteFile":
        from .sqlite_file import SQLiteFile
        from .sqlite_jobs import Jobs
        from .sqlite_tables import SCHEMA

        file = SQLiteFile(self._path, SCHEMA, fsync=self._fsync)
        try:
            self._jobs = Jobs(file, keep=self._keep, most_ended=self._most_ended)
        except BaseException:
            file.close()
            raise
        return file

    # --- the verbs, as `Store` has them ---

    @property
    def lease(self) -> None:
        """No other queue can use the file."""

    async def add(self, jobs: Sequence[NewJob]) -> Sequence[Known]:
        """As `Store.add`."""
        return await self._group.call(self._opened.add, jobs)

    async def begin(self, most: int) -> Sequence[Begun]:
        """As `Store.begin`."""
        [begun] = await self._group.call(self._opened.begin, [most])
        return begun

    async def renew(self, progress: Mapping[str, bytes]) -> None:
        """There is nobody whom it could tell."""

    async def end(self, ends: Sequence[End]) -> Sequence[bool]:
        """As `Store.end`."""
        counted = await self._group.call(self._opened.end, ends)
        if any(isinstance(end.outcome, Again) for end in ends):
            self._news.set()
        return counted

    async def cancel(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.cancel`."""
        return await self._group.call(self._opened.cancel, ids)

    async def changes(self) -> AsyncIterator[Changes]:
        """As `Store.changes`."""
        while True:
            self._news = anyio.Event()
            try:
                [(jobs, seconds)] = await self._group.call(self._opened.pass_time, [None])
            except StoreError:  # the verbs of the queue say so
                jobs, seconds = False, TRIED_AGAIN
            if jobs:
                yield Changes(jobs=True, ended=(), progressed=())
            with anyio.move_on_after(min(seconds, LONGEST_WAIT)):
                await self._news.wait()

    async def find(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.find`."""
        return await self._group.call(self._opened.find, ids)

    async def retry(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.retry`."""
        return await self._group.call(self._opened.retry, ids)

    async def counts(self) -> Mapping[State, int]:
        """As `Store.counts`."""
        [counts] = await self._group.call(self._opened.counts, [None])
        return counts

    async def failed(self, after: str, most: int) -> Sequence[Known]:
        """As `Store.failed`."""
        [failed] = await self._group.call(self._opened.failed, [(after, most)])
        return failed

    @property
    def _opened(self) -> "Jobs":
        if self._jobs is None:
            raise StoreError("the store is closed")
        return self._jobs

    def _transaction(self) -> AbstractContextManager[None]:
        return self._opened.transaction()
