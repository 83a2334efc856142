"""The tables of a queue."""

import threading

import psycopg
import pytest

from chanlink.errors import ConfigError
from chanlink.patterns.jobs.postgres import schema
from chanlink.patterns.jobs.postgres.schema import prepare, schema_of
from tests.postgres import Server


def connect(server: Server, queue: str, **options: str) -> psycopg.Connection:
    connection = psycopg.connect(server.conninfo, autocommit=True, **options)
    connection.execute(f'SET search_path = "{schema_of(queue)}"')
    return connection


def test_tables_are_created_once(postgres: Server, queue: str) -> None:
    with connect(postgres, queue) as connection:
        prepare(connection, schema_of(queue))
        connection.execute("INSERT INTO stores VALUES (gen_random_uuid(), 1)")
        prepare(connection, schema_of(queue))
        assert connection.execute("SELECT count(*) FROM stores").fetchone() == (1,)


def test_several_that_start_at_once_do_not_fail(postgres: Server, queue: str) -> None:
    errors: list[BaseException] = []
    together = threading.Barrier(6)

    def start() -> None:
        try:
            with connect(postgres, queue) as connection:
                together.wait()
                prepare(connection, schema_of(queue))
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("change", ["UPDATE about SET version = version + 1"])
def test_tables_of_another_version_are_not_used(postgres: Server, queue: str, change: str) -> None:
    with connect(postgres, queue) as connection:
        prepare(connection, schema_of(queue))
        connection.execute(change)
        with pytest.raises(ConfigError, match="version 2, and this chanlink has 1"):
            prepare(connection, schema_of(queue))


def test_who_may_not_create_them_is_told(postgres: Server, queue: str) -> None:
    with connect(postgres, queue) as connection:
        connection.execute(f'CREATE ROLE "{queue}" LOGIN')
    with (
        connect(postgres, queue, user=queue) as connection,
        pytest.raises(ConfigError, match="can't be kept in this database: permission denied"),
    ):
        prepare(connection, schema_of(queue))


def test_a_standby_is_not_used(postgres: Server, queue: str) -> None:
    with connect(postgres, queue) as connection:
        connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(ConfigError, match="read-only"):
            prepare(connection, schema_of(queue))


def test_an_old_server_is_not_used(postgres: Server, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "OLDEST_SERVER", 990000)
    with connect(postgres, queue) as connection, pytest.raises(ConfigError, match="PostgreSQL 99 or newer"):
        prepare(connection, schema_of(queue))


@pytest.mark.parametrize("name", ["", "Jobs", "a b", 'a"b', "a" * 41, "ä", "a\0"])
def test_a_name_is_simple(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 40"):
        schema_of(name)
