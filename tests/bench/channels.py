"""Opening and closing channels while many are open; pipes in memory beside anyio's."""

import time
from functools import partial
from typing import Any

import anyio

import chanlink

from .harness import BACKENDS, Bench, Goal, Row, run
from .messages import connect

CYCLES = 4_000
"""Half a second: with 10,000 tasks about, one full garbage collection would be most of a shorter time."""
BATCH = 50
"""Channels that are opened and closed before the last one is waited for."""
ITEMS = 50_000


async def open_close(bench: Bench, backend: str, others: int) -> float:
    async with connect(bench, backend) as session:
        open_ends = [await session.open("count") for _ in range(others)]
        await cycle(session)  # the server has all the others when this is over
        began = time.perf_counter()
        for _ in range(CYCLES // BATCH):
            await cycle(session)
        elapsed = time.perf_counter() - began
        for end in open_ends:
            end.close()
        return elapsed / CYCLES * 1e6


async def cycle(session: chanlink.Session) -> None:
    for _ in range(BATCH):
        sender = await session.open("count")
        sender.send_nowait(None)
        sender.close()
    await sender.flush()


async def in_memory(sender: Any, receiver: Any) -> float:
    """Messages a second from one task to another."""

    async def send() -> None:
        async with sender:
            for n in range(ITEMS):
                await sender.send(n)

    began = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        async for _ in receiver:
            pass
    return ITEMS / (time.perf_counter() - began)


async def our_pipe(capacity: int) -> float:
    return await in_memory(*chanlink.pipe(capacity))


async def anyio_pipe(capacity: int) -> float:
    return await in_memory(*anyio.create_memory_object_stream[int](capacity))


def rows(bench: Bench) -> list[Row]:
    rows = []
    for backend in BACKENDS:
        few = partial(run, backend, open_close, bench, backend, 10)
        for others in (1_000, 10_000):
            rows.append(
                Row(
                    f"open-close-{others}/{backend}",
                    f"open, one message, close; {others:,} others open",
                    "us",
                    partial(run, backend, open_close, bench, backend, others),
                    {"10 others": few},
                    Goal("ratio", "<=", 1.25),
                    repeats=3,
                )
            )
        for capacity in (64, 0):
            rows.append(
                Row(
                    f"pipe-{capacity}/{backend}",
                    f"pipe in memory, capacity {capacity}",
                    "messages/s",
                    partial(run, backend, our_pipe, capacity),
                    {"anyio memory stream": partial(run, backend, anyio_pipe, capacity)},
                )
            )
    return rows
