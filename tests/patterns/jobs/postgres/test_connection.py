"""A connection that comes back."""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import psycopg
import pytest
from psycopg import Connection

from chanlink.errors import ConfigError, StoreError
from chanlink.patterns.jobs.postgres import connection as module
from chanlink.patterns.jobs.postgres.connection import Database
from chanlink.patterns.jobs.postgres.schema import prepare, schema_of
from tests.postgres import Server


@pytest.fixture
def database(postgres: Server, queue: str) -> Iterator[Database]:
    database = Database(postgres.conninfo, schema_of(queue), patience=60.0)
    database.use(lambda connection: prepare(connection, schema_of(queue)))
    yield database
    database.close()


def pid(connection: Connection) -> int:
    return connection.info.backend_pid


def ask(connection: Connection, query: str = "SELECT 1") -> object:
    row = connection.execute(query).fetchone()
    return row and row[0]


def kill(server: Server, backend: int) -> None:
    """And wait until it is gone."""
    with psycopg.connect(server.conninfo) as other:
        assert ask(other, f"SELECT pg_terminate_backend({backend}, 60000)")


def test_it_is_kept(database: Database) -> None:
    assert database.use(pid) == database.use(pid)


def test_what_is_lost_between_two_uses_is_made_anew(postgres: Server, database: Database) -> None:
    before = database.use(pid)
    kill(postgres, before)
    assert database.use(pid) != before or database.use(ask) == 1
    assert database.use(pid) != before


@pytest.mark.parametrize("committing", [False, True])
def test_what_is_lost_is_done_again_unless_it_may_have_been_committed(
    postgres: Server, database: Database, committing: bool
) -> None:
    database.use(ask)
    tries = []

    def work(connection: Connection) -> object:
        tries.append(pid(connection))
        if len(tries) == 1:
            kill(postgres, pid(connection))
        database.committing = committing
        return ask(connection)

    if committing:
        with pytest.raises(StoreError, match="the database could not do it: "):
            database.use(work)
    else:
        assert database.use(work) == 1
    assert len(set(tries)) == (1 if committing else 2)
    assert database.use(ask) == 1


def test_what_others_have_crossed_is_done_anew(database: Database) -> None:
    tries = []

    def work(connection: Connection) -> object:
        tries.append(1)
        connection.execute("BEGIN")
        if len(tries) < 3:
            connection.execute("DO $$ BEGIN RAISE deadlock_detected; END $$")
        return connection.execute("COMMIT")

    database.use(work)
    assert len(tries) == 3


def test_what_is_always_crossed_fails(database: Database) -> None:
    tries = []

    def work(connection: Connection) -> object:
        tries.append(1)
        return connection.execute("DO $$ BEGIN RAISE unique_violation; END $$")

    with pytest.raises(StoreError, match="unique_violation"):
        database.use(work)
    assert len(tries) == module.TRIES


def test_an_error_leaves_no_transaction(database: Database) -> None:
    def work(connection: Connection) -> None:
        connection.execute("BEGIN")
        raise KeyError

    before = database.use(pid)
    with pytest.raises(KeyError):
        database.use(work)
    assert database.use(lambda connection: connection.info.transaction_status.name) == "IDLE"
    assert database.use(pid) == before


def test_errors_say_what_and_where_in_one_line_and_no_password() -> None:
    database = Database("host=/nowhere dbname=jobs password=secret", "s", patience=60.0)
    with pytest.raises(StoreError) as caught:
        database.use(ask)
    assert "/nowhere" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_not_there_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.clock, "now", lambda: now)
    database = Database("host=/nowhere", "s", patience=60.0)
    asked = []
    while len(asked) < 8:
        with pytest.raises(StoreError) as caught:
            database.use(ask)
        if "a moment ago" not in str(caught.value):
            asked.append(now)
        now += 0.01
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], abs=0.02)


@pytest.mark.parametrize("conninfo", ["password=secret nonsense", "postgresql://u:secret@[h/x"])
def test_what_is_no_conninfo_is_not_quoted(conninfo: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Database(conninfo, "s", patience=60.0)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_the_conninfo_says_is_not_overridden(postgres: Server) -> None:
    names = []
    for conninfo in (postgres.conninfo, f"{postgres.conninfo} application_name=mine"):
        database = Database(conninfo, "s", patience=60.0)
        names.append(database.use(lambda connection: ask(connection, "SELECT current_setting('application_name')")))
        database.close()
    assert names == ["chanlink queue", "mine"]


@pytest.mark.parametrize("how", [Database.interrupt, Database.cut])
def test_what_waits_for_the_database_can_be_interrupted(database: Database, how: Callable[[Database], None]) -> None:
    database.use(ask)
    database.patience = 0.0  # otherwise it is tried again
    started = threading.Event()

    def work(connection: Connection) -> object:
        started.set()
        return ask(connection, "SELECT pg_sleep(600)")

    def interrupt() -> None:
        started.wait()
        time.sleep(0.05)
        how(database)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(StoreError):
        database.use(work)
    thread.join()
    if how is Database.cut:
        with pytest.raises(StoreError, match="closed"):
            database.use(ask)
    else:
        assert database.use(ask) == 1


def test_only_what_takes_too_long_is_interrupted(database: Database) -> None:
    before = database.use(pid)
    database.patience = 0.0
    database.interrupt_what_hangs()
    assert database.use(pid) == before, "nothing was under way"
    database.patience = 60.0

    def work(connection: Connection) -> int:
        database.interrupt_what_hangs()
        ask(connection)
        return pid(connection)

    assert database.use(work) == before


def test_nobody_waits_for_a_lock_for_ever(postgres: Server, queue: str) -> None:
    database = Database(postgres.conninfo, schema_of(queue), patience=0.2)
    with psycopg.connect(postgres.conninfo) as other:
        other.execute("SELECT pg_advisory_xact_lock(7)")
        with pytest.raises(StoreError, match="lock timeout"):
            database.use(lambda connection: ask(connection, "SELECT pg_advisory_lock(7)"))
    database.close()


def test_a_transaction_whose_process_was_stopped_is_ended_by_the_server(postgres: Server, queue: str) -> None:
    database = Database(postgres.conninfo, schema_of(queue), patience=0.2)

    def stopped(connection: Connection) -> object:
        connection.execute("BEGIN")
        connection.execute("SELECT pg_advisory_xact_lock(8)")
        with psycopg.connect(postgres.conninfo) as other:
            other.execute("SELECT pg_advisory_xact_lock(8)")  # waits until the server has had enough
        database.committing = True
        return ask(connection)

    with pytest.raises(StoreError, match="idle-in-transaction"):
        database.use(stopped)
    assert database.use(ask) == 1
    database.close()


def test_notifications_are_heard_also_those_that_come_with_an_answer(postgres: Server, queue: str) -> None:
    database = Database(postgres.conninfo, schema_of(queue), patience=60.0, listens=True)
    assert database.heard() == []
    database.use(ask)
    with psycopg.connect(postgres.conninfo, autocommit=True) as other:
        other.execute("SELECT pg_notify(%s, 'one')", (schema_of(queue),))
        database.use(ask)
        other.execute("SELECT pg_notify(%s, 'two')", (schema_of(queue),))
        heard: list[str] = []
        while len(heard) < 2:
            heard += database.heard()
    assert heard == ["one", "two"]
    kill(postgres, database.use(pid))
    with pytest.raises(StoreError, match="not there any more"):
        while True:
            database.heard()
    assert database.use(ask) == 1
    database.close()
    assert database.heard() == []


def test_an_error_keeps_no_connection(database: Database) -> None:
    """Its socket would be open until garbage is collected."""
    gc.disable()
    try:
        before = len(os.listdir("/dev/fd"))
        database.use(ask)
        for _ in range(3):
            with pytest.raises(StoreError):
                database.use(lambda connection: ask(connection, "SELECT 1 / 0"))
            database._drop()
            database.use(ask)
        database._drop()
        assert len(os.listdir("/dev/fd")) <= before
    finally:
        gc.enable()
