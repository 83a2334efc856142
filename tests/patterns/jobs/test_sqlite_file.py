"""The file of an SQLite store: what is opened and what is not, and what is in it after what went wrong."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from chanlink import ConfigError, StoreError
from chanlink.patterns.jobs.sqlite_file import APPLICATION, SQLiteFile

SCHEMA = "CREATE TABLE things(name TEXT UNIQUE);\nINSERT INTO things VALUES('first')"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def file(path: str) -> Iterator[SQLiteFile]:
    file = SQLiteFile(path, SCHEMA, fsync=True)
    yield file
    file.close()


def things(file: SQLiteFile) -> list[str]:
    return [name for (name,) in file.connection.execute("SELECT name FROM things ORDER BY name")]


def pragma(file: SQLiteFile, name: str) -> object:
    (value,) = file.connection.execute(f"PRAGMA {name}").fetchone()
    return value


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(file: SQLiteFile, path: str) -> None:
    assert things(file) == ["first"]
    for name in (path, f"{path}-wal"):
        assert stat.S_IMODE(os.stat(name).st_mode) == 0o600
    assert not os.path.exists(f"{path}-shm"), "nobody else is to read it"


def test_it_is_opened_again_as_it_was_left(file: SQLiteFile, path: str) -> None:
    with file.transaction():
        file.connection.execute("INSERT INTO things VALUES('second')")
    file.close()
    assert not os.path.exists(f"{path}-wal"), "all of it is in the file"
    again = SQLiteFile(path, SCHEMA, fsync=True)
    assert things(again) == ["first", "second"]
    again.close()


def test_an_empty_file_is_used(path: str) -> None:
    Path(path).touch()
    file = SQLiteFile(path, SCHEMA, fsync=False)
    assert things(file) == ["first"]
    file.close()


@pytest.mark.parametrize(("fsync", "synchronous"), [(True, 2), (False, 1)])
def test_each_commit_is_synced_or_is_not(path: str, fsync: bool, synchronous: int) -> None:
    file = SQLiteFile(path, SCHEMA, fsync=fsync)
    assert (pragma(file, "synchronous"), pragma(file, "fullfsync")) == (synchronous, int(fsync))
    assert (pragma(file, "journal_mode"), pragma(file, "locking_mode")) == ("wal", "exclusive")
    file.close()


# --- what can't be used ---------------------------------------------------------------------------


def made_by(path: str, script: str) -> bytes:
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()
    return Path(path).read_bytes()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("CREATE TABLE jobs(id)", "is the database of another program"),
        ("PRAGMA application_id = 5", "is the database of another program"),
        (
            f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 99",
            "tables of version 99",
        ),
    ],
)
def test_the_database_of_another_program_or_version_is_refused_and_not_touched(
    path: str, script: str, said: str
) -> None:
    before = made_by(path, script)
    with pytest.raises(ConfigError, match=said) as caught:
        SQLiteFile(path, SCHEMA, fsync=True)
    assert path in str(caught.value)
    assert Path(path).read_bytes() == before


def test_what_is_no_database_is_refused_and_not_touched(path: str) -> None:
    Path(path).write_bytes(b"certainly not a database" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        SQLiteFile(path, SCHEMA, fsync=True)
    assert Path(path).read_bytes() == b"certainly not a database" * 100


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no folder" / "jobs.db", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError) as caught:
            SQLiteFile(str(path), SCHEMA, fsync=True)
        assert "\n" not in str(caught.value)


def test_a_file_that_can_not_be_written_is_refused(path: str) -> None:
    SQLiteFile(path, SCHEMA, fsync=True).close()
    os.chmod(path, 0o400)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write everything")
    with pytest.raises(ConfigError, match="readonly"):
        SQLiteFile(path, SCHEMA, fsync=True)


def test_a_file_has_one_owner(file: SQLiteFile, path: str) -> None:
    with pytest.raises(ConfigError, match=r"another process uses .*jobs\.db, or another store of this one"):
        SQLiteFile(path, SCHEMA, fsync=True)
    program = dedent("""
        import sys
        from chanlink import ConfigError
        from chanlink.patterns.jobs.sqlite_file import SQLiteFile
        try:
            SQLiteFile(sys.argv[1], "", fsync=True)
        except ConfigError as exc:
            print(exc)
    """)
    other = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert other.stdout.startswith("another process uses")
    with file.transaction():
        file.connection.execute("INSERT INTO things VALUES('still ours')")
    file.close()
    SQLiteFile(path, SCHEMA, fsync=True).close()


def test_whoever_could_not_open_it_holds_nothing(path: str) -> None:
    Path(path).write_bytes(b"certainly not a database" * 100)
    with pytest.raises(ConfigError):
        SQLiteFile(path, SCHEMA, fsync=True)
    Path(path).unlink()
    SQLiteFile(path, SCHEMA, fsync=True).close()


# --- transactions ---------------------------------------------------------------------------------


def insert(file: SQLiteFile, *names: str) -> None:
    with file.transaction():
        for name in names:
            file.connection.execute("INSERT INTO things VALUES(?)", (name,))


def test_what_sqlite_says_is_a_store_error_and_the_transaction_is_undone(file: SQLiteFile) -> None:
    with pytest.raises(StoreError, match=r"jobs\.db: UNIQUE") as caught:
        insert(file, "second", "first")
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert things(file) == ["first"]
    insert(file, "second")
    assert things(file) == ["first", "second"]


def test_after_another_exception_the_transaction_is_undone(file: SQLiteFile) -> None:
    with pytest.raises(KeyboardInterrupt), file.transaction():
        file.connection.execute("INSERT INTO things VALUES('second')")
        raise KeyboardInterrupt
    insert(file, "third")
    assert things(file) == ["first", "third"]


def test_what_could_not_be_undone_is_undone_before_the_next_transaction(file: SQLiteFile) -> None:
    file.connection.execute("BEGIN")
    file.connection.execute("INSERT INTO things VALUES('second')")
    insert(file, "third")
    assert things(file) == ["first", "third"]


def test_what_was_written_ahead_takes_no_room_any_more_when_the_disk_is_full(file: SQLiteFile, path: str) -> None:
    insert(file, "second")
    assert os.path.getsize(f"{path}-wal") > 0
    file.connection.execute("PRAGMA max_page_count = 1")  # as many as there are
    with pytest.raises(StoreError, match="full"):
        insert(file, "x" * 100_000)
    assert os.path.getsize(f"{path}-wal") == 0
    assert things(file) == ["first", "second"]


def test_when_there_is_no_room_nothing_has_happened_and_it_goes_on_when_there_is(file: SQLiteFile) -> None:
    pages = pragma(file, "page_count")
    file.connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(3):
        with pytest.raises(StoreError, match="full"):
            insert(file, "second", "x" * 100_000)
        assert things(file) == ["first"]
    file.connection.execute("PRAGMA max_page_count = 1000000")
    insert(file, "second", "x" * 100_000)
    assert things(file) == ["first", "second", "x" * 100_000]
