"""A process with a store: ``python -m tests.patterns.jobs.postgres.process CONNINFO QUEUE LEASE``.

It says which attempts it has begun, as ``id attempt``, renews as a queue does, and ends what it is told to, as the same
words; then it says whether that counts.
"""

import sys

import anyio

from chanlink.patterns.jobs.postgres.store import PostgresStore
from chanlink.patterns.jobs.store import Done, End


async def main(conninfo: str, queue: str, lease: str) -> None:
    async with PostgresStore(conninfo, queue, lease=float(lease)) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(renew, store)
        for job in await store.begin(10):
            print(job.id, job.attempt, flush=True)
        print("that is all", flush=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            id, attempt = line.split()
            [counts] = await store.end([End(id, int(attempt), Done(b"by a process"))])
            print(counts, flush=True)
        tasks.cancel_scope.cancel()


async def renew(store: PostgresStore) -> None:
    while True:
        await anyio.sleep(store.lease / 3)
        await store.renew({})


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
