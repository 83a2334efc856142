"""A process of the queue: ``python -m tests.queue_kills.queue FOLDER PORT``. SIGTERM stops it in order."""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio

import chanlink
from chanlink.patterns import PostgresStore, SQLiteStore, work_queue

from .meeting import Plan, plan_in, trust

DRAIN = 1.0
"""Seconds that what runs may go on."""

TRY_AGAIN = 75
"""The status of a queue that could not begin: its disk is full, say."""


def store_of(plan: Plan, folder: Path) -> Any:
    match plan.store:
        case "sqlite":
            return SQLiteStore(folder / "store" / "jobs.db")
        case "postgres":
            return PostgresStore(plan.database, lease=plan.lease)
        case _:
            return None


async def main(folder: Path, port: int) -> None:
    plan = plan_in(folder)
    identity, trusted = trust(folder)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port, reuse_port=True)
    async with (
        work_queue(store=store_of(plan, folder), silence=plan.silence, attempts=plan.attempts) as queue,
        anyio.create_task_group() as tasks,
    ):
        options = {"identity": identity, "trust": trusted, "signals": (signal.SIGTERM,), "drain": DRAIN}
        await tasks.start(partial(chanlink.serve, {"jobs": queue}, listener, **options))
        print("ready", flush=True)


if __name__ == "__main__":
    try:
        anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
    except chanlink.StoreError as exc:
        print(exc, flush=True)
        sys.exit(TRY_AGAIN)
