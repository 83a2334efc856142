"""The works, one module for each: its ``rows()`` are rows of the table."""

from tests.bench.harness import Row

from . import (
    blocking,
    broadcasts,
    bulk,
    calls,
    capacity,
    commands,
    connects,
    copies,
    crowded,
    directories,
    first_answer,
    handed,
    handshakes,
    instruments,
    mixed,
    nested_data,
    one_way,
    pipes,
    queue_store,
    queues,
    resumable,
    round_trip,
    seam,
    slow_link,
    traps,
    typed,
    web,
)

WORKS = (
    commands,
    copies,
    bulk,
    web,
    one_way,
    nested_data,
    typed,
    round_trip,
    calls,
    broadcasts,
    queues,
    instruments,
    blocking,
    seam,
    resumable,
    mixed,
    slow_link,
    crowded,
    pipes,
    queue_store,
    directories,
    first_answer,
    handshakes,
    connects,
    handed,
    traps,
)


def all_rows() -> list[Row]:
    """Every row, in the order of the tables."""
    return [row for work in (*WORKS, capacity) for row in work.rows()]
