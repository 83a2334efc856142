"""The stores that there are, for tests of what all of them do (`test_store.py`).

A place is where entries are kept: stores that are made there one after the other have the same entries.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest

from chanlink import clock
from chanlink.directory.etcd.store import EtcdStore
from chanlink.directory.memory import MemoryStore
from chanlink.directory.sqlite import SQLiteStore
from chanlink.directory.store import Store


class Place(Protocol):
    """Where entries are kept."""

    outlives: bool
    """Whether they are there when the next store is made."""
    exact: bool
    """Whether there are never more names than were allowed, whoever else registers some."""

    def store(self, **options: Any) -> Store:
        """A store, with `most_names` and `names_per_key` among the options."""

    async def pass_time(self, seconds: float) -> None:
        """Let so many seconds go by for it."""


class Clock:
    """Those of this process, which can be put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        real, wall = clock.now, time.time
        monkeypatch.setattr(clock, "now", lambda: real() + self._ahead)
        monkeypatch.setattr(time, "time", lambda: wall() + self._ahead)

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


class InMemory:
    """This process."""

    outlives = False
    exact = True

    def __init__(self, ours: Clock) -> None:
        self._clock = ours

    def store(self, **options: Any) -> Store:
        return MemoryStore(**options)

    async def pass_time(self, seconds: float) -> None:
        self._clock.forward(seconds)


@contextmanager
def in_memory(request: pytest.FixtureRequest) -> Iterator[InMemory]:
    yield InMemory(Clock(request.getfixturevalue("monkeypatch")))


class InFile:
    """A new SQLite file. Without fsync, which no test notices that does not cut the power."""

    outlives = True
    exact = True

    def __init__(self, path: Path, ours: Clock) -> None:
        self.path = path
        self._clock = ours

    def store(self, **options: Any) -> Store:
        return SQLiteStore(self.path, **{"fsync": False, **options})

    async def pass_time(self, seconds: float) -> None:
        self._clock.forward(seconds)


@contextmanager
def in_file(request: pytest.FixtureRequest) -> Iterator[InFile]:
    path: Path = request.getfixturevalue("tmp_path") / "entries.db"
    yield InFile(path, Clock(request.getfixturevalue("monkeypatch")))


_prefixes = count()


class InEtcd:
    """A part of it that nobody else uses."""

    outlives = True
    exact = False

    def __init__(self, endpoints: list[str]) -> None:
        self._endpoints = endpoints
        self._prefix = f"/test/{next(_prefixes)}/"

    def store(self, **options: Any) -> Store:
        return EtcdStore(*self._endpoints, prefix=self._prefix, **options)

    async def pass_time(self, seconds: float) -> None:
        await anyio.sleep(seconds)  # the clock of etcd is its own


@contextmanager
def in_etcd(request: pytest.FixtureRequest) -> Iterator[InEtcd]:
    pytest.importorskip("httpx")
    yield InEtcd(request.getfixturevalue("etcd").endpoints)


PLACES: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[Place]]] = {
    "memory": in_memory,
    "sqlite": in_file,
    "etcd": in_etcd,
}
