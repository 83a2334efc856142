"""The process of our queue: ``python -m tests.bench.queues.our_queue BACKEND FOLDER STORE``.

STORE is ``memory``, ``sqlite``, or the connection string of a PostgreSQL. With a fourth argument, so many jobs wait in
the SQLite file before it begins to serve.
"""

import json
import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio

from chanlink.patterns import PostgresStore, SQLiteStore, work_queue
from chanlink.patterns.jobs.payloads import pack
from chanlink.patterns.jobs.store import NewJob
from tests.bench.ends import run
from tests.bench.meter import Missing
from tests.bench.peers import ours
from tests.bench.peers.services import SERVICES

TOGETHER = 1_000
MOST = 10_000_000
"""More than ever wait here."""


def store_of(kind: str, folder: Path) -> Any:
    """None for one in memory."""
    match kind:
        case "memory":
            return None
        case "sqlite":
            return SQLiteStore(folder / "jobs.db")
        case where:
            return PostgresStore(where)


async def fill(folder: Path, count: int) -> None:
    """So many jobs wait in the file."""
    payload = pack({"number": 0})
    async with store_of("sqlite", folder) as store:
        for first in range(0, count, TOGETHER):
            numbers = range(first, min(first + TOGETHER, count))
            await store.add([NewJob(f"waiting-{number}", payload, False) for number in numbers])


def queue_in(folder: Path, kind: str) -> AbstractAsyncContextManager[Any]:
    """A block that gives the queue over such a store."""
    return work_queue(store=store_of(kind, folder), most=MOST)


async def main(folder: Path, kind: str, waiting: int) -> None:
    try:
        await fill(folder, waiting)
        async with queue_in(folder, kind) as queue:
            SERVICES["jobs"] = queue
            async with ours.serve(folder) as where:
                print(json.dumps({"pid": os.getpid(), **where}), flush=True)
                await anyio.sleep_forever()
    except ImportError as exc:
        raise Missing(f"needs {exc.name}") from exc


if __name__ == "__main__":
    backend, place, kind, *more = sys.argv[1:]
    try:
        run(backend, main, Path(place), kind, int(*more))
    except Missing as exc:
        print(f"missing {exc}", flush=True)
