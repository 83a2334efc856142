"""What it costs that a session may be resumed, while nothing breaks: counting, keeping, acknowledging."""

from typing import Any

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MEGABYTES, MESSAGES, Unit, figure

MIB = 1024 * 1024
TRIPS = 4_000
STREAMED = 512 * MIB
SENT = 100_000
PLAIN = "a plain session"


def rows() -> list[Row]:
    return [row for backend in BACKENDS for row in _of(backend)]


def _of(backend: str) -> list[Row]:
    return [
        _row(
            f"resumable-round-trip/{backend}",
            "100 bytes there and back, resumable",
            figure("us of processor"),
            ("round_trip", TRIPS, backend),
            Goal("<=", 1.08, PLAIN),
        ),
        _row(
            f"resumable-bytes/{backend}",
            "byte stream over a session, resumable",
            MEGABYTES,
            ("byte_stream", STREAMED, backend),
            Goal(">=", 0.92, PLAIN),
        ),
        _row(
            f"resumable-one-way/{backend}",
            "maps of 100 bytes, resumable",
            MESSAGES,
            ("one_way", SENT, backend),
            Goal(">=", 0.92, PLAIN),
        ),
    ]


def _row(name: str, what: str, unit: Unit, work: tuple[str, int, str], goal: Goal) -> Row:
    works, count, backend = work

    def task(layer: str) -> Task:
        options: dict[str, Any] = {"count": count, "layer": layer}
        return Task("ours_through", works, options, backend)

    return Row(name, what, unit, task("resumable"), {PLAIN: task("none")}, (goal,), repeats=5)
