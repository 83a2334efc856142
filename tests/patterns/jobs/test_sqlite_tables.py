"""The statements of an SQLite store go by an index, each of them."""

import sqlite3
from collections.abc import Iterator

import pytest

from chanlink.patterns.jobs import sqlite_tables

STATEMENTS = {
    name: text
    for name, text in vars(sqlite_tables).items()
    if isinstance(text, str) and name.isupper() and name not in ("SCHEMA", "CANCELLED")
}
WHOLE = {
    "COUNT": "once, when the file is opened, and the index alone",
    "TIME": "a table of one row",
    "SET_TIME": "a table of one row",
}
SORTED = {
    "LEFT_RUNNING": "no more than run at a time, once",
    "OLDEST": "twice as many as it gives",
}


@pytest.fixture(scope="module")
def tables() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(sqlite_tables.SCHEMA)
    yield connection
    connection.close()


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_looks_at_no_more_rows_than_it_needs(tables: sqlite3.Connection, name: str) -> None:
    text = STATEMENTS[name]
    values = {"most": 1} if ":most" in text else [1] * text.count("?")
    plan = [detail for *_, detail in tables.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    scans = [step for step in plan if step.startswith("SCAN") and not step.startswith("SCAN (subquery")]
    assert bool(scans) == (name in WHOLE), plan
    assert any("TEMP B-TREE" in step for step in plan) == (name in SORTED), plan


def test_what_has_failed_is_listed_without_those_that_were_cancelled(tables: sqlite3.Connection) -> None:
    [(*_, step)] = tables.execute(f"EXPLAIN QUERY PLAN {sqlite_tables.DEAD}", (b"", 1))
    assert step == "SEARCH jobs USING INDEX dead (id>?)"


def test_all_are_counted_by_the_index_alone(tables: sqlite3.Connection) -> None:
    [(*_, step)] = tables.execute(f"EXPLAIN QUERY PLAN {sqlite_tables.COUNT}")
    assert step == "SCAN jobs USING COVERING INDEX ranks"


def test_the_tables_are_those_of_the_version() -> None:
    """Whoever changes them gives them another version, and a way from this one."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(sqlite_tables.SCHEMA)
    found = connection.execute("SELECT name FROM pragma_table_info('jobs') ORDER BY cid").fetchall()
    names = [name for (name,) in found]
    assert names == [
        *("number", "id", "state", "rank", "attempt", "since", "attached", "ended_by", "code", "text"),
        *("returned_by", "returned_for"),
    ]
    connection.close()
