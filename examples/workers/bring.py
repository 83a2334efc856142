"""Whoever brings the jobs: one for each file, and the same one again if it was killed and is started anew."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import BinaryIO

import anyio
import chanlink
from chanlink.patterns import QueueClient, queue_client

from hashing import File, Hashed, id_of

AT_ONCE = 100
"""How many jobs are waited for; what comes after them waits in the tree."""
PATIENCE = 600
"""Seconds to wait for a queue that is away, when there is a job to be brought. Its result is waited for without end."""


async def submit(link: chanlink.Link, options: argparse.Namespace) -> None:
    bringer = Bringer(queue_client(link, "hashes", File, Hashed), options)
    async with anyio.create_task_group() as tasks:
        for path in sorted(options.folder.rglob("*")):
            if path.is_file():
                await bringer.room.acquire()
                tasks.start_soon(bringer.bring, path)
    print(f"{bringer.hashed} files, {bringer.later} of them by a later attempt", file=sys.stderr)


class Bringer:
    def __init__(self, queue: QueueClient[File, Hashed], options: argparse.Namespace) -> None:
        self.room = anyio.Semaphore(AT_ONCE)
        self.hashed = 0
        self.later = 0
        self._queue = queue
        self._folder: Path = options.folder
        self._send: bool = options.send

    async def bring(self, path: Path) -> None:
        """Bring a job, wait for its result and print it."""
        name = path.relative_to(self._folder).as_posix()
        attach = partial(opened, path) if self._send else None
        try:
            with anyio.fail_after(PATIENCE):
                job, id = File(name, path.stat().st_size), id_of(path, self._folder)
                ticket = await self._queue.submit(job, id=id, attach=attach)
            async with ticket:
                result = await ticket.result()
        except chanlink.JobFailed as error:
            print(f"{name}: {chanlink.printable(str(error))}", file=sys.stderr)
        else:
            self.hashed += 1
            self.later += result.attempt > 1
            print(f"{result.sha256}  {name}", flush=True)
        finally:
            self.room.release()


def opened(path: Path, attempt: int) -> BinaryIO:
    """What travels with an attempt: each gets a stream of its own."""
    return path.open("rb")
