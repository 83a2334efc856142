"""A connection to a database that is made when it is needed, and made anew when it was lost."""

import math
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import anyio

from chanlink import clock
from chanlink.errors import ConfigError, StoreError

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds in which a database that could not be reached is not asked again."""
CONNECTING: dict[str, str | int] = {
    "connect_timeout": 5,
    "application_name": "chanlink queue",
    "keepalives_idle": 30,
    "tcp_user_timeout": 30_000,
}
"""Where the caller has said nothing else. Seconds; milliseconds."""
# Each statement has its index. Without statistics, as in a new table, the planner would rather read all of it, and a
# plan that is kept would go on to do so when there are a million jobs. Nobody waits for ever for somebody's lock, nor
# for a process that was stopped in the middle of a transaction.
SETTINGS = """
SET search_path = "{schema}";
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET jit = off; SET default_transaction_isolation = 'read committed'; SET lock_timeout = '{patience}ms';
SET idle_in_transaction_session_timeout = '{patience}ms'
"""
TRIES = 5
"""Of a transaction that another one has crossed."""


class Database:
    """A connection. All but `cut` belongs to one thread at a time."""

    def __init__(self, conninfo: str, schema: str, *, patience: float, listens: bool = False) -> None:
        """`patience`: the seconds that something may take, or wait for others. `listens`: on a channel of that name.

        Raises `ConfigError`.
        """
        try:
            import psycopg
            from psycopg import errors
            from psycopg.conninfo import conninfo_to_dict, make_conninfo
        except ImportError:
            raise ConfigError('PostgreSQL needs psycopg: pip install "chanlink[postgres]"') from None
        try:
            given = conninfo_to_dict(conninfo)
        except psycopg.Error:  # its text has what was given, perhaps a password
            raise ConfigError("this is no conninfo or URI of a PostgreSQL database") from None
        self.schema = schema
        self._psycopg = psycopg
        self.patience = patience
        self._crossed = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)
        self._conninfo = make_conninfo(
            conninfo, **{key: value for key, value in CONNECTING.items() if key not in given}
        )
        self._settings = SETTINGS.format(schema=schema, patience=round(patience * 1000))
        self._listens = listens
        self._heard: list[str] = []
        self._connection: psycopg.Connection | None = None
        self._socket: socket.socket | None = None
        """Another descriptor of its socket, for other threads: libpq closes its own when it likes."""
        self._socket_lock = threading.Lock()
        self._pause = 0.0
        self._not_before = 0.0
        self._closed = False
        self._busy_since = math.inf
        """When what it does now has begun, by the clock of sessions; infinity when it does nothing."""
        self.committing = False
        """Set by what `use` calls when it asks for the commit: from there on nobody knows whether it has happened."""

    def use(self, work: "Callable[[psycopg.Connection], T]") -> T:
        """What `work` returns. Raises `StoreError` for all that goes wrong with the database.

        It is called again when nothing of it can have happened: a connection that was there turned out to be lost, or
        another transaction has crossed it.
        """
        self._busy_since = clock.now()
        try:
            return self._use(work)
        finally:
            self._busy_since = math.inf

    def _use(self, work: "Callable[[psycopg.Connection], T]") -> T:
        for _ in range(TRIES):
            fresh = self._connection is None
            connection = self._connected()
            self.committing = False
            try:
                return work(connection)
            except self._crossed as exc:
                self._roll_back(connection)
                error: Exception = exc
            except self._psycopg.Error as exc:
                self._roll_back(connection)
                if exc.diag.severity_nonlocalized == "FATAL":
                    self._drop()
                error = exc
                if self._connection is not None or fresh or self.committing or self._hangs():
                    break
            except BaseException:
                self._roll_back(connection)
                raise
        try:
            raise self._failed("the database could not do it", error) from error.with_traceback(None)
        finally:
            del error

    async def readable(self) -> None:
        """Until something has come, or the connection is lost. Raises `StoreError` if there is none."""
        if self._connection is None:
            raise StoreError("the database is not there any more")
        await anyio.wait_readable(self._connection.fileno())

    def heard(self) -> list[str]:
        """The texts of the notifications that have come. Does not block; `StoreError`: the connection is lost."""
        if self._connection is None:
            return []
        try:
            self._connection.pgconn.consume_input()
            while (note := self._connection.pgconn.notifies()) is not None:
                self._heard.append(note.extra.decode())
        except self._psycopg.Error as exc:
            self._drop()
            raise self._failed("the database is not there any more", exc) from exc
        heard, self._heard = self._heard, []
        return heard

    def cut(self) -> None:
        """From any thread: whatever waits for the database fails, and nothing is begun any more."""
        self._closed = True
        self.interrupt()

    def interrupt(self) -> None:
        """From any thread: whatever waits for the database fails."""
        with self._socket_lock, suppress(OSError):  # the other side may have ended it
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def interrupt_what_hangs(self) -> None:
        """From any thread: as `interrupt`, if its patience is at an end."""
        if self._hangs():
            self.interrupt()

    def _hangs(self) -> bool:
        return clock.now() - self._busy_since > self.patience

    def close(self) -> None:
        """Nobody may be using it."""
        self._closed = True
        self._drop()

    def _connected(self) -> "psycopg.Connection":
        if self._closed:
            raise StoreError("the store is closed")
        if self._connection is None:
            if clock.now() < self._not_before:
                raise StoreError("the database could not be reached a moment ago")
            try:
                self._connection = self._psycopg.connect(self._conninfo, autocommit=True)
                self._set_up(self._connection)
            except self._psycopg.Error as exc:
                self._drop()
                self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
                self._not_before = clock.now() + self._pause
                raise self._failed("the database can't be reached", exc) from exc.with_traceback(None)
            self._pause = 0.0
        return self._connection

    def _set_up(self, connection: "psycopg.Connection") -> None:
        with self._socket_lock:
            self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        if self._closed:  # while it was made, when there was nothing to be interrupted yet
            raise self._psycopg.OperationalError("the store is closed")
        connection.execute(self._settings)
        if self._listens:
            connection.add_notify_handler(lambda note: self._heard.append(note.payload))  # those that come with answers
            connection.execute(f'LISTEN "{self.schema}"')

    def _roll_back(self, connection: "psycopg.Connection") -> None:
        with suppress(self._psycopg.Error):  # it is lost, which the caller has found out as well
            connection.rollback()
        if connection.closed:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        with self._socket_lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def _failed(self, what: str, error: Exception) -> StoreError:
        """In one line, and raised from an error without its frames: they would keep a connection that was given up.

        libpq names host, port, database and user, and never the password. A detail has data."""
        said = getattr(getattr(error, "diag", None), "message_primary", None) or " ".join(str(error).split())
        return StoreError(f"{what}: {said or type(error).__name__}")
