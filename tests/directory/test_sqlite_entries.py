"""Entries in an SQLite file, besides what all stores do (test_store.py)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chanlink.directory.problems import DirectoryFull, NameTaken
from chanlink.directory.sqlite_entries import Entries, Removal
from chanlink.directory.sqlite_tables import APPLICATION, SCHEMA, VERSION
from chanlink.patterns.jobs.sqlite_file import SQLiteFile

from .made import KEY, OTHER, new
from .stores import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SQLiteFile]:
    path = str(tmp_path / "entries.db")
    file = SQLiteFile(path, SCHEMA, fsync=False, application=APPLICATION, version=VERSION)
    yield file
    file.close()


def entries_of(file: SQLiteFile, most_names: int = 10) -> Entries:
    return Entries(file, most_names=most_names, names_per_key=5)


def test_what_is_refused_keeps_nothing_of_the_others(file: SQLiteFile) -> None:
    entries = entries_of(file)
    with entries.transaction():
        problems = entries.put([new("a"), new("a", OTHER), new("b", OTHER)])
    assert [type(problem) for problem in problems] == [type(None), NameTaken, type(None)]
    assert [len(found) for found in entries.find(["a", "b", "c"])] == [1, 1, 0]


def test_what_is_undone_is_not_counted(file: SQLiteFile) -> None:
    entries = entries_of(file, most_names=1)
    with pytest.raises(KeyError), entries.transaction():
        entries.put([new("a")])
        raise KeyError
    with entries.transaction():
        assert entries.put([new("b")]) == [None]
        [problem] = entries.put([new("c")])
    assert isinstance(problem, DirectoryFull)


def test_names_are_counted_again_when_the_file_is_opened(file: SQLiteFile) -> None:
    with entries_of(file).transaction():
        pass
    first = entries_of(file, most_names=2)
    with first.transaction():
        assert first.put([new("a", listed=True), new("a", OTHER, listed=True), new("b")]) == [None] * 3
    again = entries_of(file, most_names=2)
    with again.transaction():
        [problem] = again.put([new("c")])
        assert isinstance(problem, DirectoryFull)
        assert again.remove([Removal("b", KEY, False)]) == [[KEY]]
        assert again.put([new("c")]) == [None]


def test_an_entry_that_has_ended_takes_no_room(file: SQLiteFile, clock: Clock) -> None:
    entries = entries_of(file)
    with entries.transaction():
        entries.put([new("a", life=10, entry=b"x" * 4_000)])
        entries.put([new("b", life=600, entry=b"x" * 4_000)])
    clock.forward(11)
    with entries.transaction():
        entries.put([new("c")])
    rows = dict(file.connection.execute("SELECT name, entry IS NULL FROM owners").fetchall())
    assert rows == {"a": True, "b": False, "c": False}


@pytest.mark.parametrize("behind", [0.0, 100_000.0])
def test_no_entry_lives_longer_because_a_clock_was_put_back(
    behind: float, file: SQLiteFile, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = entries_of(file)
    with entries.transaction():
        entries.put([new("a", life=600)])
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - behind)
    again = entries_of(file)
    [[found]] = again.find(["a"])
    assert 599 <= found.until - again.now() <= 600
    clock.forward(601)
    assert again.find(["a"]) == [[]]


def test_pages_have_all_in_their_order(file: SQLiteFile) -> None:
    entries = entries_of(file)
    with entries.transaction():
        entries.put([new("b", OTHER, listed=True), new("b", listed=True), new("a"), new("c", life=60)])
    names = [("a", KEY), ("b", min(KEY, OTHER)), ("b", max(KEY, OTHER)), ("c", KEY)]
    [page] = entries.page([("", b"", 10)])
    assert [(one.name, one.key) for one in page] == names
    [page] = entries.page([(*names[1], 2)])
    assert [(one.name, one.key) for one in page] == names[2:]
