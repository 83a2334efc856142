"""Small messages beside a bulk stream; memory while a slow reader is fed."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import figure

GIB = 1024 * 1024 * 1024
WAYS = {"up": "towards the server", "down": "towards the client"}


def rows() -> list[Row]:
    beside = [_beside_bulk(backend, way) for backend in BACKENDS for way in WAYS]
    return [*beside, *map(_slow_reader, BACKENDS)]


def _beside_bulk(backend: str, way: str) -> Row:
    return Row(
        f"beside-bulk-{way}/{backend}",
        f"99th percentile of the round trip while a stream {WAYS[way]} fills the session, to the idle median",
        figure("times"),
        Task("ours_mixed", "beside_bulk", {"count": 1_000, "bulk": way}, backend),
        {},
        (Goal("<=", 5),),
    )


def _slow_reader(backend: str) -> Row:
    return Row(
        f"slow-reader/{backend}",
        "growth of both ends while 1 GiB flows to a reader who is slower than the writer",
        figure("MiB"),
        Task("ours_mixed", "slow_reader", {"count": GIB}, backend, fresh=True),
        {},
        (Goal("<=", 4),),
        repeats=1,
    )
