"""chanlink: how long a job takes to the worker that waits for it."""

import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from chanlink.patterns import queue_client, work_queue
from tests.bench.meter import Meter

from . import ours
from .services import SERVICES

Where = dict[str, Any]


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    async with work_queue() as queue:
        SERVICES["jobs"] = queue
        async with ours.serve(folder) as where:
            yield where


async def start(where: Where, meter: Meter, *, count: int, round_trip: float) -> None:
    """From `submit` to the start, in round trips of the link that both the submitter and the worker are behind."""
    async with ours.connect(where) as bringing, ours.connect(where) as working:
        client = queue_client(bringing, "jobs")
        async with queue_client(working, "jobs").jobs() as work:
            await _one(client, work, round_trip)  # opens the channels
            took = [await _one(client, work, round_trip) for _ in range(count)]
    meter.found(statistics.median(took) / round_trip)


async def _one(client: Any, work: Any, round_trip: float) -> float:
    """Seconds that a job takes to a worker who has asked for it before."""
    started = 0.0

    async def take() -> None:
        nonlocal started
        job = await anext(work)
        started = anyio.current_time()
        async with job:
            await job.done(None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await anyio.sleep(2 * round_trip)  # what it asks for has arrived by then
        began = anyio.current_time()
        await (await client.submit(None)).result()
    return started - began


WORKS = {"start": start}
