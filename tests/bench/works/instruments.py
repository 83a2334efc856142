"""Messages, channels and calls with instruments beside the same without any: a message must not pay for them."""

from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MICROSECONDS

NONE = "without instruments"
WORKS = {"messages": 20_000, "channels": 2_000, "calls": 2_000}
KINDS = {"no-op": "with an instrument that does nothing", "opentelemetry": "with spans of OpenTelemetry"}


def rows() -> list[Row]:
    return [_row(work, kind) for work in WORKS for kind in KINDS]


def _row(work: str, kind: str) -> Row:
    options = {"count": WORKS[work]}
    return Row(
        f"instrument-{work}-{kind}/asyncio",
        f"{work} {KINDS[kind]}, on both sides",
        MICROSECONDS,
        Task("ours_instruments", work, {**options, "kind": kind}, "asyncio"),
        {NONE: Task("ours_instruments", work, {**options, "kind": "none"}, "asyncio")},
        (Goal("<=", 1.03, NONE),) if work == "messages" else (),
        repeats=7,
    )
