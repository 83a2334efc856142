"""SAQ, with Redis or with PostgreSQL."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from saq import Queue

from tests.bench.meter import Meter
from tests.bench.queues.postgres import postgres
from tests.bench.queues.processes import SLOTS, WORKERS, module
from tests.bench.queues.redis import redis
from tests.postgres import USER


async def jobs(where: dict[str, Any], meter: Meter, *, count: int, store: str, in_flight: int) -> None:
    """So many are brought at a time, and their results waited for."""
    with ExitStack() as stack:
        if store == "postgres":
            server = stack.enter_context(postgres())
            meter.server = server.pid()
            url = f"postgresql://{USER}@/postgres?host={server.folder}"
        else:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="chanlink-bench-")))
            url = stack.enter_context(redis(folder, kept=store == "kept"))
        queue = Queue.from_url(url)
        await queue.connect()  # its tables are there before the workers look for them
        for _ in range(WORKERS):
            stack.enter_context(module("saq_worker", url, str(SLOTS)))
        try:
            await _all(queue, 2 * WORKERS * SLOTS, in_flight)
            with meter.over(count):
                await _all(queue, count, in_flight)
        finally:
            await queue.disconnect()


async def _all(queue: Any, count: int, in_flight: int) -> None:
    async def bring(first: int) -> None:
        for number in range(first, count, in_flight):
            assert await queue.apply("nothing", number=number, timeout=None) == number

    await asyncio.gather(*map(bring, range(in_flight)))


WORKS = {"jobs": jobs}
