"""What a layer between the session and its records costs if it does nothing: the floor for any that does something."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import figure

COUNT = 4_000
WITHOUT = "without it"


def rows() -> list[Row]:
    return [_seam(backend) for backend in BACKENDS]


def _seam(backend: str) -> Row:
    return Row(
        f"seam/{backend}",
        "100 bytes there and back through an empty SecureStream on both sides",
        figure("us of processor"),
        Task("ours_through", "round_trip", {"count": COUNT, "layer": "empty"}, backend),
        {WITHOUT: Task("ours_through", "round_trip", {"count": COUNT, "layer": "none"}, backend)},
        (Goal("<=", 1.05, WITHOUT),),
        repeats=5,
    )
