"""100 bytes there and back; a message with a reply channel and the reply; connections."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import CALLS, MICROSECONDS, MILLISECONDS

COUNT = 4_000
CALLED = 2_000
CONNECTIONS = 200
TRANSPORTS = {"tcp": "TCP", "unix": "a Unix socket"}
TIMES_BARE = {"asyncio": 1.5, "uvloop": 2.0, "trio": 1.9}
NESTED = {"asyncio": 0.45, "uvloop": 0.32, "trio": 0.32}


def rows() -> list[Row]:
    trips = [_round_trip(backend, over) for backend in BACKENDS for over in TRANSPORTS]
    calls = [row for backend in BACKENDS for row in (_nested(backend), _in_flight(backend))]
    return [*trips, *calls, *map(_connections, BACKENDS)]


def _round_trip(backend: str, over: str) -> Row:
    curve, grpc, options = "pyzmq CURVE, asyncio", "grpc.aio", {"count": COUNT, "over": over}
    bare = f"anyio, {TRANSPORTS[over]}"
    goals: tuple[Goal, ...] = (Goal("<=", TIMES_BARE[backend], bare),)
    peers = {bare: Task("bare", "round_trip", options, backend)}
    if over == "tcp":
        peers |= {
            curve: Task("zmq_asyncio", "round_trip", {"count": COUNT}),
            grpc: Task("grpc_tls", "round_trip", {"count": COUNT // 2}),
            "RPyC": Task("rpyc_tcp", "round_trip", {"count": COUNT}),
        }
        goals += (Goal("<=", 1.0, curve), Goal("<=", 1.0, grpc))
    return Row(
        f"round-trip-{over}/{backend}",
        f"100 bytes there and back over {TRANSPORTS[over]}",
        MICROSECONDS,
        Task("ours", "round_trip", options, backend),
        peers,
        goals,
    )


def _nested(backend: str) -> Row:
    return Row(
        f"nested/{backend}",
        "message with a reply channel, and the reply",
        MILLISECONDS,
        Task("ours", "nested", {"count": CALLED}, backend),
        {"grpc.aio": Task("grpc_tls", "nested", {"count": CALLED // 2})},
        (Goal("<=", NESTED[backend]), Goal("<=", 0.5, "grpc.aio")),
    )


def _in_flight(backend: str) -> Row:
    options = {"count": 4 * CALLED, "in_flight": 100}
    return Row(
        f"nested-100/{backend}",
        "the same, 100 in flight",
        CALLS,
        Task("ours", "nested", options, backend),
        {"grpc.aio": Task("grpc_tls", "nested", {**options, "count": 2 * CALLED})},
        (Goal(">=", 6_000),),
    )


def _connections(backend: str) -> Row:
    return Row(
        f"connect/{backend}",
        "connect, handshake, close, one after another",
        CALLS,
        Task("ours", "connections", {"count": CONNECTIONS}, backend),
        {"anyio, TCP": Task("bare", "connections", {"count": CONNECTIONS}, backend)},
    )
