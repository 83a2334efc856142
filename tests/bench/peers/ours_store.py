"""The store of a work queue alone, without a queue: jobs that are added, begun and ended while others wait."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from chanlink.patterns.jobs.memory import MemoryStore
from chanlink.patterns.jobs.sqlite import SQLiteStore
from chanlink.patterns.jobs.store import Begun, Done, End, NewJob, Store
from tests.bench.meter import LINUX, Meter, Missing, memory, processor

Where = dict[str, Any]
PAYLOAD, RESULT = bytes(100), Done(b"done")
TOGETHER = 1_000
"""Jobs in a call, of those that only wait."""
UNDER_WAY = 24
"""Calls at a time: as of 3 workers with 8 slots each."""
MIB = 1024 * 1024


async def jobs(where: Where, meter: Meter, *, count: int, waiting: int, kept: str) -> None:
    """One after the other, jobs are added, as many are begun, and those are ended, while so many more wait.

    Finds the processor time of each of the three, and the memory that those hold that wait.
    """
    if not LINUX:
        raise Missing("measuring memory needs Linux")
    begun: list[Begun] = []

    async def add(number: int) -> None:
        await store.add([NewJob(_id("job", number), PAYLOAD, False)])

    async def begin(number: int) -> None:
        begun.extend(await store.begin(1))

    async def end(number: int) -> None:
        job = begun[number]
        await store.end([End(job.id, job.attempt, RESULT)])

    async with _store(kept) as store:
        before = memory(os.getpid())
        for first in range(0, waiting, TOGETHER):
            await store.add([NewJob(_id("waits", first + n), PAYLOAD, False) for n in range(TOGETHER)])
        held = memory(os.getpid()) - before
        costs = {verb.__name__: await _cost(verb, count) for verb in (add, begin, end)}
    meter.found(sum(costs.values()), **costs, held=held / MIB)


@asynccontextmanager
async def _store(kept: str) -> AsyncIterator[Store]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "jobs.db")
        async with MemoryStore() if kept == "memory" else SQLiteStore(path, fsync=kept == "disk") as store:
            yield store


async def _cost(verb: Callable[[int], Awaitable[None]], count: int) -> float:
    """Microseconds of processor for one."""

    async def some(first: int) -> None:
        for number in range(first, count, UNDER_WAY):
            await verb(number)

    spent = processor(os.getpid())
    async with anyio.create_task_group() as tasks:
        for first in range(UNDER_WAY):
            tasks.start_soon(some, first)
    return (processor(os.getpid()) - spent) / count * 1e6


def _id(name: str, number: int) -> str:
    """As random as those that a queue makes: neighbours in time are none in an index."""
    return sha256(f"{name} {number}".encode()).hexdigest()[:22]


WORKS = {"jobs": jobs}
