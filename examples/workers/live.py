"""What the queue and its workers are doing, on a terminal."""

import argparse
from contextlib import suppress

import anyio
import chanlink
from chanlink.patterns import QueueClient, QueueStatus, queue_client

from hashing import File, Hashed

EVERY = 0.5
"""Seconds between two looks."""
CLEAR = "\x1b[H\x1b[J"
BAR = 20


async def show(link: chanlink.Link, options: argparse.Namespace) -> None:
    queue = queue_client(link, "hashes", File, Hashed)
    progress: dict[str, list[int]] = {}
    async with anyio.create_task_group() as tasks:
        while True:
            status = await queue.status()
            for id in {id for worker in status.workers for id in worker.running} - progress.keys():
                progress[id] = []
                tasks.start_soon(follow, queue, id, progress)
            print(*([] if options.once else [CLEAR]), drawn(status, progress), sep="", flush=True)
            if options.once:
                break
            await anyio.sleep(EVERY)
        tasks.cancel_scope.cancel()


async def follow(queue: QueueClient[File, Hashed], id: str, progress: dict[str, list[int]]) -> None:
    """Keep the newest progress of a job, until it has its outcome."""
    try:
        with suppress(chanlink.JobError):  # it is over, or the next look follows it again
            async with await queue.find(id) as ticket:
                async for said in ticket.progress():
                    progress[id] = said
    finally:
        del progress[id]


def drawn(status: QueueStatus, progress: dict[str, list[int]]) -> str:
    waiting = status.waiting + status.delayed
    lines = [f"{status.done} done, {status.running} running, {waiting} waiting, {status.failed} failed"]
    for worker in status.workers:
        lines.append(f"{chanlink.printable(worker.name)}: {len(worker.running)} of {worker.slots}")
        lines += [f"  {bar(progress.get(id, []))} {chanlink.printable(id)}" for id in worker.running]
    return "\n".join(lines)


def bar(said: list[int]) -> str:
    if not said:
        return " " * BAR
    done, size, attempt = said
    filled = BAR * done // max(size, 1)
    return "#" * filled + "." * (BAR - filled) + (f" attempt {attempt}:" if attempt > 1 else "")
