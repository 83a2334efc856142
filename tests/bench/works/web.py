"""Bytes by WebSocket, in both directions: what a client sends is masked."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MEGABYTES

STREAMED = 256 * 1024 * 1024
TCP = "chanlink over TCP"
TITLES = {"ws": "WebSocket", "wss": "WebSocket over TLS"}
DIRECTIONS = {"to_server": "towards the server", "to_client": "towards the client"}


def rows() -> list[Row]:
    return [_bytes(backend, way, work) for backend in BACKENDS for way in TITLES for work in DIRECTIONS]


def _bytes(backend: str, way: str, work: str) -> Row:
    def over(one: str) -> Task:
        return Task("ours_web", work, {"count": STREAMED, "way": one}, backend)

    return Row(
        f"{way}-{work.replace('_', '-')}/{backend}",
        f"byte stream over a session by {TITLES[way]}, {DIRECTIONS[work]}",
        MEGABYTES,
        over(way),
        {TCP: over("tcp")},
        (Goal(">=", 0.5, TCP),),
    )
