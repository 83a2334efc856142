"""A PostgreSQL server for one run, which a Unix socket leads to. It fsyncs, as one does that keeps its word."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.meter import Missing
from tests.postgres import Server, new_server, program

SETTINGS = {"fsync": "on", "full_page_writes": "on", "max_connections": "200", "shared_buffers": "64MB"}


@contextmanager
def postgres() -> Iterator[Server]:
    """Raises `Missing` where there is none."""
    if program("initdb") is None or program("pg_ctl") is None:
        raise Missing("needs a server: apt-get install postgresql")
    with new_server(**SETTINGS) as server:
        yield server
