"""A worker of ours, whose jobs do nothing: ``python -m tests.bench.queues.our_worker BACKEND WHERE SLOTS``."""

import json
import sys
from typing import Any

import anyio

from chanlink.patterns import queue_client
from tests.bench.ends import run
from tests.bench.peers import ours


async def nothing(job: Any) -> None:
    async with job:
        await job.done(job.value["number"])


async def main(where: dict[str, Any], slots: int) -> None:
    async with ours.connect(where) as session, queue_client(session, "jobs").jobs(slots=slots) as work:
        print("ready", flush=True)
        async with anyio.create_task_group() as tasks:
            async for job in work:
                tasks.start_soon(nothing, job)


if __name__ == "__main__":
    run(sys.argv[1], main, json.loads(sys.argv[2]), int(sys.argv[3]))
