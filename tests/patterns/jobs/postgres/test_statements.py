"""Each statement finds its rows by an index, also in a table that was empty when the plan was made."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection

from chanlink.patterns.jobs.postgres import statements
from chanlink.patterns.jobs.postgres.connection import Database
from chanlink.patterns.jobs.postgres.schema import prepare, schema_of
from chanlink.patterns.jobs.postgres.statements import random_number
from tests.postgres import Server

VALUES: dict[str, object] = {
    "me": "00000000-0000-0000-0000-000000000000",
    "dead": "00000000-0000-0000-0000-000000000000",
    "ids": [b"a", b"b"],
    "payloads": [b"", b""],
    "attached": [True, False],
    "states": ["failed", "delayed"],
    "counted_since": [0, 1],
    "returned_by": [1, 2],
    "ended_by": [1, 0],
    "afters": [0.5, 1.5],
    "results": [b"", b""],
    "codes": [b"", b""],
    "texts": [b"", b""],
    "said": [b"", b""],
    "after": b"",
    "most": 10,
    "beat": 1,
    "batch": 1,
    "batches": [1, 2],
    "since": "1",
    "under_way": ["1"],
    "keep": 1.0,
    "most_ended": 10,
    "oldest": "2020-01-01",
}
OF_JOBS = {
    name: text
    for name, text in vars(statements).items()
    if name.isupper() and name[0] != "_" and isinstance(text, str) and " jobs " in text
}
WHOLE = {
    "jobs_next",
    "jobs_next_here",
    "jobs_running",
    "jobs_done",
    "jobs_failed",
    "jobs_ended",
    "jobs_due",
    "jobs_asked",
}
"""Indexes of what is in one state: read as a whole by what concerns all of that."""


@pytest.fixture(scope="module")
def database(postgres: Server) -> Iterator[Database]:
    database = Database(postgres.conninfo, schema_of("statements"), patience=60.0)
    database.use(lambda connection: prepare(connection, schema_of("statements")))
    yield database
    database.close()


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those of jobs in a plan."""
    if "Scan" in plan["Node Type"] and plan.get("Relation Name") == "jobs":
        yield plan
    for part in plan.get("Plans", []):
        yield from scans(part)


@pytest.mark.parametrize("name", OF_JOBS)
@pytest.mark.parametrize("generic", [False, True])
def test_a_statement_reads_nothing_but_what_it_wants(database: Database, name: str, generic: bool) -> None:
    def explain(connection: Connection) -> Any:
        connection.execute(f"SET plan_cache_mode = force_{'generic' if generic else 'custom'}_plan")
        query = f"EXPLAIN (FORMAT json, VERBOSE) {OF_JOBS[name]}"
        row = connection.cursor().execute(query, VALUES, prepare=True).fetchone()
        return row and row[0]

    found = database.use(explain)
    [plan] = found if isinstance(found, list) else json.loads(found)
    for scan in scans(plan["Plan"]):
        kind, index = scan["Node Type"], scan.get("Index Name")
        assert kind in ("Index Scan", "Index Only Scan", "Tid Scan"), scan
        assert "TID Cond" in scan or "Index Cond" in scan or index in WHOLE, scan


def test_numbers_are_hardly_ever_the_same() -> None:
    assert len({random_number() for _ in range(1000)}) == 1000
