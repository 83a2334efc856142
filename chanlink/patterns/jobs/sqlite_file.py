"""The file of an `SQLiteStore`: whose it is, and how it is opened, written and closed. All of it blocks.

Only one process uses a file, and SQLite is told so: its lock is held from the opening on, and there is no shared memory
beside the file. It is written ahead (WAL): a transaction is appended to ``FILE-wal`` and is there once that is synced;
now and then SQLite brings what is there into the file. So a process that is killed leaves nothing half done.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from chanlink.errors import ConfigError, StoreError

NEEDED = (3, 35, 0)
APPLICATION = int.from_bytes(b"chlq", "big")
VERSION = 1
"""Of the tables, as ``user_version``. A file of another one is not touched."""
WAL_KEPT = 64 * 1024 * 1024
"""Bytes to which ``FILE-wal`` is cut again once it was longer."""
TEMPORARY = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM)
"""What can also be the state of a file that is as it should be."""


class SQLiteFile:
    """A file that is open.

    Raises `ConfigError` for what can't be used: it is another program's, or of another version, or another process has
    it, or it can't be written. Raises `StoreError` if it could be, later: there is no room for it, say.
    """

    def __init__(
        self, path: str, schema: str, *, fsync: bool, application: int = APPLICATION, version: int = VERSION
    ) -> None:
        if sqlite3.sqlite_version_info < NEEDED:
            raise ConfigError(
                f"this SQLite is {sqlite3.sqlite_version}, and a store needs {'.'.join(map(str, NEEDED))}"
            )
        self.path = path
        self._application = application
        self._version = version
        with self._readable_errors():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # what jobs are is nobody else's
            if not os.access(path, os.W_OK):  # SQLite would open it for reading
                raise ConfigError(f"{path} can't be written")
            self.connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._readable_errors():
                self._prepare(schema, fsync)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done in the block is on the disk behind it, or undone. Raises `StoreError`."""
        try:
            self._undo()
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise
        except sqlite3.Error as exc:
            if _code(exc) == sqlite3.SQLITE_FULL:
                self._make_room()
            raise StoreError(f"{self.path}: {exc}") from exc

    def _make_room(self) -> None:
        """What was written ahead takes room twice until it is in the file, and that is long after a disk is full."""
        with suppress(sqlite3.Error):  # perhaps there is none; whoever is told that it is full tries again
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _undo(self) -> None:
        if self.connection.in_transaction:  # SQLite undoes some by itself, when the disk is full, say
            self.connection.execute("ROLLBACK")

    def _prepare(self, schema: str, fsync: bool) -> None:
        run = self.connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        is_new = self._is_new()  # before anything is written: it may not be ours
        run("PRAGMA journal_mode = WAL")
        run(f"PRAGMA journal_size_limit = {WAL_KEPT}")
        run(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        run(f"PRAGMA fullfsync = {int(fsync)}")  # macOS: the disk's own memory is not the disk
        run("BEGIN IMMEDIATE")  # takes the lock, also if there is nothing to write
        if is_new:
            for statement in schema.split(";\n"):
                run(statement)
            run(f"PRAGMA application_id = {self._application}")
            run(f"PRAGMA user_version = {self._version}")
        run("COMMIT")

    def _is_new(self) -> bool:
        application, version = (self._value(f"PRAGMA {name}") for name in ("application_id", "user_version"))
        if not application and not self._value("SELECT count(*) FROM sqlite_master"):
            return True
        if application != self._application:
            raise ConfigError(f"{self.path} is the database of another program")
        if version != self._version:
            known = f"this chanlink knows {self._version} alone"
            raise ConfigError(f"{self.path} has tables of version {version}, and {known}")
        return False

    def _value(self, query: str) -> int:
        (value,) = self.connection.execute(query).fetchone()
        return int(value)

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """What goes wrong when it is opened."""
        try:
            yield
        except OSError as exc:
            raise ConfigError(f"{self.path}: {exc.strerror}") from exc
        except sqlite3.Error as exc:
            code = _code(exc)
            if code == sqlite3.SQLITE_BUSY:
                raise ConfigError(f"another process uses {self.path}, or another store of this one") from exc
            raise (StoreError if code in TEMPORARY else ConfigError)(f"{self.path}: {exc}") from exc


def _code(exc: sqlite3.Error) -> int:
    """What it is, without what is more exact."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF
