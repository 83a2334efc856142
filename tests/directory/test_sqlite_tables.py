"""The table of an SQLite file of a directory."""

import sqlite3

import pytest

from chanlink.directory import sqlite_tables as sql

STATEMENTS = {name: value for name, value in vars(sql).items() if name.isupper() and isinstance(value, str)}
BY_INDEX = sorted(STATEMENTS.keys() - {"SCHEMA", "NAMES", "TIME", "SET_TIME", "_STORED"})


@pytest.mark.parametrize("name", BY_INDEX)
def test_each_statement_goes_by_an_index(name: str) -> None:
    connection = sqlite3.connect(":memory:")
    for statement in sql.SCHEMA.split(";\n"):
        connection.execute(statement)
    count = STATEMENTS[name].count("?")
    plan = connection.execute(f"EXPLAIN QUERY PLAN {STATEMENTS[name]}", [None] * count).fetchall()
    assert not [step for *_, step in plan if step.startswith("SCAN")], plan
    connection.close()
