"""A call of a method from a thread that waits: what that takes more than from a task."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import figure

COUNT = 2_000
OPTIONS = {
    "asyncio": {"backend": "asyncio", "backend_options": {}},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio", "backend_options": {}},
}


def rows() -> list[Row]:
    return [
        Row(
            f"blocking-call/{backend}",
            "a call from a thread: what it takes more than one from a task",
            figure("ms"),
            Task("ours_blocking", "call", {"count": COUNT, **OPTIONS[backend]}, backend),
            {},
            (Goal("<=", 0.6),),
        )
        for backend in BACKENDS
    ]
