"""The queue: two services, of which one takes jobs and the other one gives them to workers."""

from collections.abc import Sequence
from typing import NamedTuple

import chanlink

WAITING = 100
"""Jobs that wait for a worker. Whoever brings more than these waits, too."""
LARGEST = 10**18
"""Of a number that comes from somebody else."""


class Job(NamedTuple):
    """What is brought to the service `submit`."""

    number: int
    result: chanlink.Sender[list[int]]


class Work(NamedTuple):
    """What a worker gets, and where it sends the result."""

    number: int
    done: chanlink.Sender[list[int]]


class JobQueue:
    """Jobs are given out in their order, one to each worker that asks; one that was not done is given out again."""

    def __init__(self) -> None:
        self._new, self._waiting = chanlink.pipe(WAITING, item_type=Job)
        self._undone, self._again = chanlink.pipe(1_000_000, item_type=Job)  # has room for one of each worker

    def services(self) -> chanlink.Services:
        return {"submit": self.submit, "work": self.work}

    async def submit(self, jobs: chanlink.Receiver[Job], peer: chanlink.Peer) -> None:
        async for job in jobs:
            if 0 < job.number <= LARGEST:
                await self._new.send(job)
            else:
                job.result.fail("no-job", f"a number from 1 to {LARGEST} is wanted")

    async def work(self, asks: chanlink.Receiver[chanlink.Sender[Work]], peer: chanlink.Peer) -> None:
        """Each message is a sender by which a worker wants one job."""
        async for worker in asks:
            async with worker:
                chosen = await chanlink.select(self._again, self._waiting, worker.closing())
                if isinstance(chosen.value, Job):
                    await self._give(chosen.value, worker, peer.name)

    async def _give(self, job: Job, worker: chanlink.Sender[Work], name: str) -> None:
        result: Sequence[int] = ()
        done, finished = chanlink.pipe(item_type=list[int])
        print(f"{job.number}: {name} has it", flush=True)
        try:
            async with finished:
                await worker.send(Work(job.number, done))
                result = await finished.receive()
        except chanlink.ChanlinkError as error:
            print(f"{job.number}: {name} does not do it: {error}", flush=True)
        finally:  # also when this task is cancelled, since the session of the worker is gone
            if not result:
                self._undone.send_nowait(job)
        if result:
            await _tell(job, list(result))


async def _tell(job: Job, result: list[int]) -> None:
    try:
        async with job.result:
            await job.result.send(result)
    except chanlink.ChannelBroken as error:
        print(f"{job.number}: nobody waits for it any more: {error}", flush=True)
