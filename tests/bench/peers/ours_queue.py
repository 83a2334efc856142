"""chanlink: a work queue, with a process for the queue and one for each worker. Sessions are encrypted, as always."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from chanlink.patterns import queue_client
from tests.bench.meter import LINUX, Meter, Missing, memory, processor
from tests.bench.queues.postgres import postgres
from tests.bench.queues.processes import SLOTS, WORKERS, module

from . import ours

Where = dict[str, Any]
FEW = 1_000
"""Jobs before those that count: what a process does only once is done."""


@contextmanager
def queue(backend: str, store: str, waiting: int = 0) -> Iterator[Where]:
    """A queue; where it is, and the process of its database if it has one."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="chanlink-bench-"))
        database = stack.enter_context(postgres()) if store == "postgres" else None
        kind = database.conninfo if database else store
        said = stack.enter_context(module("our_queue", backend, folder, kind, *([str(waiting)] if waiting else [])))
        yield {**json.loads(said), "database": database.pid() if database else None}


@contextmanager
def workers(backend: str, where: Where, count: int = WORKERS) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(module("our_worker", backend, json.dumps(where), str(SLOTS)))
        yield


async def bring(jobs: Any, count: int, in_flight: int) -> None:
    """Jobs, so many at a time, each with its result."""

    async def some(first: int) -> None:
        for number in range(first, count, in_flight):
            ticket = await jobs.submit({"number": number})
            assert await ticket.result() == number

    async with anyio.create_task_group() as group:
        for first in range(in_flight):
            group.start_soon(some, first)


async def jobs(where: Where, meter: Meter, *, count: int, store: str, in_flight: int, backend: str = "asyncio") -> None:
    """Empty jobs, and their results."""
    with queue(backend, store) as there, workers(backend, there):
        meter.server = there["database"]
        async with ours.connect(there) as session:
            client = queue_client(session, "jobs")
            await bring(client, FEW, in_flight)
            with meter.over(count):
                await bring(client, count, in_flight)


async def waiting(where: Where, meter: Meter, *, count: int, cycles: int, backend: str = "asyncio") -> None:
    """What a job costs the queue's process, and its memory, when so many wait in SQLite; both beside a queue where
    ten wait. Each that comes pushes out the first that waits."""
    if not LINUX:
        raise Missing("processor time and memory of another process are Linux's")
    few, many = [await _cost(backend, waiting, cycles) for waiting in (10, count)]
    meter.found(many[0] / few[0], growth=many[0] / few[0], memory=(many[1] - few[1]) / 2**20)


async def _cost(backend: str, waiting: int, cycles: int) -> tuple[float, int]:
    """Seconds of its processor time for each job, and bytes of its memory."""
    with queue(backend, "sqlite", waiting) as there:
        async with ours.connect(there) as session, queue_client(session, "jobs").jobs(slots=SLOTS) as work:
            client = queue_client(session, "jobs")
            await _push(client, work, FEW)
            before = processor(there["pid"])
            await _push(client, work, cycles)
            return (processor(there["pid"]) - before) / cycles, memory(there["pid"])


async def _push(client: Any, work: Any, cycles: int) -> None:
    """Bring a job and take out the first one, again and again."""
    for _ in range(cycles):
        ticket = await client.submit({"number": 1})
        ticket.close()
        job = await anext(work)
        async with job:
            assert await job.done(1)


WORKS = {"jobs": jobs, "waiting": waiting}
