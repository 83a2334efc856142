"""A worker of SAQ: ``python -m tests.bench.queues.saq_worker URL SLOTS``."""

import asyncio
import logging
import sys
from typing import Any

from saq import Queue, Worker


async def nothing(context: Any, *, number: int) -> int:
    return number


async def ready(context: Any) -> None:
    print("ready", flush=True)


async def main(url: str, slots: int) -> None:
    logging.getLogger("saq").setLevel(logging.CRITICAL)  # at its end it tells of tasks that wait for a job
    queue = Queue.from_url(url)
    await queue.connect()
    worker = Worker(queue, functions=[("nothing", nothing)], concurrency=slots, startup=ready)
    await worker.start()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
