"""A directory: names that are looked up by a session that is kept, and entries that are seen elsewhere."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import figure

COUNT = 4_000
IN_FLIGHT = 50


def rows() -> list[Row]:
    return [row for backend in BACKENDS for row in (_lookups(backend), _seen(backend))]


def _lookups(backend: str) -> Row:
    return Row(
        f"lookup/{backend}",
        f"names looked up in a directory by a session that is kept, {IN_FLIGHT} in flight",
        figure("a second and core of the server", less_is_better=False),
        Task("ours_directory", "lookups", {"count": COUNT, "in_flight": IN_FLIGHT}, backend),
        goals=(Goal(">=", 5_000),),
    )


def _seen(backend: str) -> Row:
    return Row(
        f"registered-seen/{backend}",
        "from registering, on the disk, to seen by somebody who follows: the median",
        figure("ms"),
        Task("ours_directory", "seen", {"count": 200}, backend),
        goals=(Goal("<=", 100),),
    )
