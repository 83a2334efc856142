"""A worker: it asks for jobs, and does so many of them at a time."""

import argparse
import hashlib
from signal import SIGINT, SIGTERM
from typing import BinaryIO

import anyio
import chanlink
from chanlink.patterns import Job, Jobs, queue_client

from hashing import File, Hashed, inside


async def work(link: chanlink.Link, options: argparse.Namespace) -> None:
    queue = queue_client(link, "hashes", File, Hashed)
    async with queue.jobs(slots=options.slots) as jobs, anyio.create_task_group() as watching:
        watching.start_soon(stop_by_signal, jobs)
        async with anyio.create_task_group() as tasks:
            async for job in jobs:
                tasks.start_soon(run, job, options)
        watching.cancel_scope.cancel()


async def stop_by_signal(jobs: Jobs[File, Hashed]) -> None:
    with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async for _ in signals:
            jobs.stop()


async def run(job: Job[File, Hashed], options: argparse.Namespace) -> None:
    async with job:  # cancelled when it was done elsewhere, or the way to the queue is lost: it is given again then
        try:
            sha256 = await digest(job, options)
        except chanlink.ChannelError:  # whoever sent the file is gone
            await job.retry()
            return
        except OSError as error:  # it would be the same the next time
            counted = await job.fail("unreadable", error.strerror or str(error))
        else:
            counted = await job.done(Hashed(sha256, options.identity, job.attempt))
        print("counted:" if counted else "stale:", job.id, flush=True)


async def digest(job: Job[File, Hashed], options: argparse.Namespace) -> str:
    sha256, done = hashlib.sha256(), 0
    async with chanlink.wrap(opened(job.value, options)) if job.attached is None else job.attached as stream:
        async for piece in stream:
            sha256.update(piece)
            done += len(piece)
            await job.progress([done, job.value.size, job.attempt])  # says, too, that somebody works on it
            if options.rate:
                await anyio.sleep(len(piece) / options.rate / 1_000_000)
    return sha256.hexdigest()


def opened(file: File, options: argparse.Namespace) -> BinaryIO:
    if options.folder is None:
        raise FileNotFoundError("this worker has no folder")
    return inside(options.folder, file.path).open("rb")
