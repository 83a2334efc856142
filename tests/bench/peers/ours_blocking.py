"""chanlink: calls of a method from a thread that waits, and the same from a task, one after the other in one run."""

import time
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

import chanlink
from chanlink import blocking
from tests.bench.meter import Meter

from .ours import MANY
from .ours_calls import ANSWERS, Where, serve

TURNS = 10
"""Both are measured this many times in turn; the best turn of each counts."""

__all__ = ["WORKS", "serve"]


async def call(where: Where, meter: Meter, *, count: int, backend: str, backend_options: dict[str, Any]) -> None:
    await anyio.to_thread.run_sync(partial(_call, where, meter, count // TURNS, backend, backend_options))


def _call(where: Where, meter: Meter, count: int, backend: str, backend_options: dict[str, Any]) -> None:
    """Finds how many milliseconds more a call takes from a thread."""
    address, key = f"tcp://{where['host']}:{where['port']}", chanlink.PublicKey.parse(where["key"])
    connect = blocking.connect(
        address,
        identity=chanlink.Identity.load(where["identity"]),
        peer=key,
        limits=MANY,
        backend=backend,
        backend_options=backend_options,
    )
    with connect as session:
        client = session.client(ANSWERS, "calls")

        async def in_tasks() -> float:
            began = time.perf_counter()
            for n in range(count):
                await client.answer(n)
            return time.perf_counter() - began

        def in_thread() -> float:
            began = time.perf_counter()
            for n in range(count):
                session.call(client.answer, n)
            return time.perf_counter() - began

        turns = [(in_thread(), session.call(in_tasks)) for _ in range(TURNS)]
    thread, tasks = (min(turn) / count * 1e3 for turn in zip(*turns, strict=True))
    meter.found(thread - tasks, thread=thread, tasks=tasks)


WORKS = {"call": call}
