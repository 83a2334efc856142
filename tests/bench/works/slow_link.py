"""A link of 100 ms round trip and 200 Mbit/s."""

from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MEGABYTES

LINK = (0.1, 200e6)
COUNT = 100_000_000
"""Four seconds at the rate of the link."""


def rows() -> list[Row]:
    return [_stream(backend) for backend in ("asyncio", "trio")]


def _stream(backend: str) -> Row:
    peer = "TCP through the same link"
    return Row(
        f"slow-link/{backend}",
        "byte stream over a link of 100 ms round trip and 200 Mbit/s (25 MB/s)",
        MEGABYTES,
        Task("ours", "byte_stream", {"count": COUNT, "suite": "aegis256"}, backend, link=LINK),
        {peer: Task("bare", "byte_stream", {"count": COUNT}, backend, link=LINK)},
        (Goal(">=", 0.9, peer),),
        repeats=2,
    )
