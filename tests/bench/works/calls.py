"""Calls of a method: beside a plain message with a reply channel, and beside grpc.aio."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MICROSECONDS

COUNT = 2_000
IN_FLIGHT = 100
PLAIN, GRPC = "a message with a reply channel", "grpc.aio"
ONE = {"asyncio": 0.9, "uvloop": 0.9, "trio": 0.95}
"""Of what a call of grpc.aio takes."""


def rows() -> list[Row]:
    return [row for backend in BACKENDS for row in (_one(backend), _many(backend))]


def _one(backend: str) -> Row:
    options = {"count": COUNT}
    return Row(
        f"call/{backend}",
        "a call of a method and its result",
        MICROSECONDS,
        Task("ours_calls", "call", options, backend),
        {PLAIN: Task("ours_calls", "nested", options, backend), GRPC: Task("grpc_tls", "nested", options)},
        (Goal("<=", 1.3, PLAIN), Goal("<=", ONE[backend], GRPC)),
        repeats=5,
    )


def _many(backend: str) -> Row:
    options = {"count": 4 * COUNT, "in_flight": IN_FLIGHT}
    return Row(
        f"call-{IN_FLIGHT}/{backend}",
        f"the same, {IN_FLIGHT} in flight",
        MICROSECONDS,
        Task("ours_calls", "call", options, backend),
        {PLAIN: Task("ours_calls", "nested", options, backend), GRPC: Task("grpc_tls", "nested", options)},
        (Goal("<=", 1.5, PLAIN), Goal("<=", 0.8, GRPC)),
        repeats=5,
    )
