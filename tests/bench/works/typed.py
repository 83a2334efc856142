"""100-byte messages of a channel with a type beside the same as a plain map, and what each of the two ends takes."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import figure

COUNT = 20_000
PLAIN = "a plain map"
MOST = {"struct": 1.3, "dataclass": 2.0}
"""Of what a plain map takes where it is received."""


def rows() -> list[Row]:
    return [
        row
        for backend in BACKENDS
        for row in (*[_received(backend, kind) for kind in MOST], *[_sent(backend, kind) for kind in MOST])
    ]


def _received(backend: str, kind: str) -> Row:
    options = {"count": COUNT, "end": "receiving"}
    return Row(
        f"typed-received-{kind}/{backend}",
        f"100-byte messages received as a {kind}, the receiving end alone",
        figure("us of processor"),
        Task("ours_typed", "typed", {**options, "received": kind}, backend),
        {PLAIN: Task("ours_typed", "typed", options, backend)},
        (Goal("<=", MOST[kind], PLAIN),),
        repeats=5,
    )


def _sent(backend: str, kind: str) -> Row:
    options = {"count": COUNT, "end": "sending"}
    return Row(
        f"typed-sent-{kind}/{backend}",
        f"100-byte messages sent as a {kind}, the sending end alone",
        figure("us of processor"),
        Task("ours_typed", "typed", {**options, "sent": kind}, backend),
        {PLAIN: Task("ours_typed", "typed", options, backend)},
        repeats=5,
    )
