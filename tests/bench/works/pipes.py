"""Pipes in memory, beside anyio's with the same buffer."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MESSAGES

COUNT = 100_000
CAPACITIES = (64, 0)


def rows() -> list[Row]:
    return [_pipe(backend, capacity) for backend in BACKENDS for capacity in CAPACITIES]


def _pipe(backend: str, capacity: int) -> Row:
    peer, options = "anyio memory stream", {"count": COUNT, "capacity": capacity}
    return Row(
        f"pipe-{capacity}/{backend}",
        f"pipe in memory, capacity {capacity}",
        MESSAGES,
        Task("ours_memory", "pipe", options, backend),
        {peer: Task("anyio_memory", "pipe", options, backend)},
        (Goal(">=", 2.0, peer),),
        repeats=5,
    )
