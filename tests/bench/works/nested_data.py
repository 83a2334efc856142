"""100-byte messages of data that nests, one way, beside a flat map: what that costs, and what of it is msgpack's."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.payload import DATA, FLAT
from tests.bench.results import Goal
from tests.bench.units import figure

COUNT = 20_000
ALLOWED = "a flat map, and msgpack's own difference"


def rows() -> list[Row]:
    return [_row(backend, shape) for backend in BACKENDS for shape in DATA if shape != FLAT]


def _row(backend: str, shape: str) -> Row:
    flat = {"count": COUNT, "shape": FLAT}
    return Row(
        f"nested-data-{shape.replace(' ', '-')}/{backend}",
        f"100-byte messages one way, a {shape}",
        figure("us of processor"),
        Task("ours", "data", {"count": COUNT, "shape": shape}, backend),
        {
            "a flat map": Task("ours", "data", flat, backend),
            ALLOWED: Task("ours", "data", {**flat, "with_msgpack_of": shape}, backend),
        },
        (Goal("<=", 1.2, ALLOWED),),
        repeats=5,
    )
