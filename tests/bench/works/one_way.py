"""100-byte maps one way in tight loops: one sending task, 50 tasks, 50 channels."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MESSAGES

COUNT = 60_000
BLOCKING, ASYNCIO, GRPC = "pyzmq CURVE, blocking", "pyzmq CURVE, asyncio", "grpc.aio"
GOALS = (Goal(">=", 400_000), Goal(">=", 1.2, BLOCKING), Goal(">=", 5, ASYNCIO), Goal(">=", 30, GRPC))
SHAPES = {
    "one-way": ("one task, receive_many", {"service": "count-many"}),
    "one-way-for": ("one task, async for", {"service": "count"}),
    "one-way-tasks": ("50 tasks, receive_many", {"service": "count-many", "tasks": 50}),
    "one-way-channels": (
        "50 tasks with a channel each, receive_many",
        {"service": "count-many", "tasks": 50, "channels": 50},
    ),
}


def rows() -> list[Row]:
    peers = {
        BLOCKING: Task("zmq_blocking", "one_way", {"count": 3 * COUNT}),
        ASYNCIO: Task("zmq_asyncio", "one_way", {"count": COUNT // 4}),
        GRPC: Task("grpc_tls", "one_way", {"count": COUNT // 10}),
    }
    bare = {
        backend: {
            "TCP, one by one": Task("bare", "one_way", {"count": COUNT // 2, "at_once": 1}, backend),
            "TCP, joined by hand": Task("bare", "one_way", {"count": 4 * COUNT, "at_once": 600}, backend),
        }
        for backend in BACKENDS
    }
    rows = []
    for name, (shape, options) in SHAPES.items():
        for backend in BACKENDS:
            ours = Task("ours", "one_way", {"count": 2 * COUNT, **options}, backend)
            more = bare[backend] if name == "one-way" else {}
            rows.append(
                Row(f"{name}/{backend}", f"100-byte maps one way, {shape}", MESSAGES, ours, {**peers, **more}, GOALS)
            )
    return rows
