"""The works, one module for each: its ``rows()`` are rows of the table."""

from tests.bench.harness import Row

from . import bulk, commands, copies, crowded, handshakes, mixed, one_way, pipes, round_trip, seam, slow_link, traps

WORKS = (commands, copies, bulk, one_way, round_trip, seam, mixed, slow_link, crowded, pipes, handshakes, traps)


def all_rows() -> list[Row]:
    """Every row of the table, in its order."""
    return [row for work in WORKS for row in work.rows()]
