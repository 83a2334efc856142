"""The stores that there are, for tests of what all of them do (`test_store.py`, `test_store_machine.py`).

A place is where jobs are kept: stores that are made there one after the other have the same jobs.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pytest

from chanlink.patterns.jobs.memory import MemoryStore
from chanlink.patterns.jobs.postgres.store import PostgresStore
from chanlink.patterns.jobs.sqlite import SQLiteStore
from chanlink.patterns.jobs.store import Store
from tests.postgres import Server


class Place(Protocol):
    """Where jobs are kept."""

    outlives: bool
    """Whether they are there when the next store is made."""

    def store(self, **options: Any) -> Store:
        """A store, with `keep` and `most_ended` among the options."""


class InDatabase:
    """A new queue in a PostgreSQL database."""

    outlives = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queue = uuid.uuid4().hex

    def store(self, **options: Any) -> Store:
        return PostgresStore(self._server.conninfo, self._queue, **options)


@contextmanager
def in_database(request: pytest.FixtureRequest) -> Iterator[InDatabase]:
    yield InDatabase(request.getfixturevalue("postgres"))


class InFile:
    """A new SQLite file. Without fsync, which no test notices that does not cut the power."""

    outlives = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.db"

    def store(self, **options: Any) -> Store:
        return SQLiteStore(self.path, **{"fsync": False, **options})


class InMemory:
    """This process."""

    outlives = False

    def store(self, **options: Any) -> Store:
        return MemoryStore(**options)


@contextmanager
def in_memory(_: pytest.FixtureRequest) -> Iterator[InMemory]:
    yield InMemory()


@contextmanager
def in_file(_: pytest.FixtureRequest) -> Iterator[InFile]:
    with TemporaryDirectory() as folder:
        yield InFile(Path(folder))


PLACES: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[Place]]] = {
    "memory": in_memory,
    "sqlite": in_file,
    "postgres": in_database,
}
