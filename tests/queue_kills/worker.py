"""A worker: ``python -m tests.queue_kills.worker FOLDER NAME ADDRESS``. SIGTERM stops it in order."""

import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import anyio

from chanlink import JobError
from chanlink.patterns import queue_client

from .diary import Diary
from .meeting import Plan, hurry, link, plan_in

STEPS = 5
LATER = 2
"""The attempt that has no trouble any more."""


class Trouble(Exception):
    """What a worker did not expect."""


class Worker:
    def __init__(self, name: str, plan: Plan, diary: Diary) -> None:
        self._name = name
        self._plan = plan
        self._diary = diary
        self._running: set[Any] = set()
        """Those of which it has not said what becomes of them."""

    async def run(self, job: Any) -> None:
        self._running.add(job)
        self._say("began", job, kind=job.value["kind"], attached=job.attached, running=len(self._running))
        try:
            async with job:
                await getattr(self, job.value["kind"])(job)
        except (Trouble, JobError) as exc:
            self._say("left", job, why=f"{type(exc).__name__}: {exc}")
        finally:
            self._running.discard(job)
            self._say("over", job)

    # --- the kinds of jobs ---

    async def quick(self, job: Any) -> None:
        await self._done(job)

    async def attached(self, job: Any) -> None:
        await self._done(job)

    async def slow(self, job: Any) -> None:
        for step in range(STEPS):
            await job.progress([job.attempt, step])
            await anyio.sleep(0.1)
        await self._done(job)

    async def silent(self, job: Any) -> None:
        """It is given to another one meanwhile; the first who is done counts."""
        await anyio.sleep(1.3 * self._plan.silence)
        await self._done(job)

    async def flaky(self, job: Any) -> None:
        if job.attempt < LATER:
            raise Trouble
        await self._done(job)

    async def again(self, job: Any) -> None:
        if job.attempt < LATER:
            await self._tell(job, "again", job.retry(after=0.3))
        else:
            await self._done(job)

    async def bad(self, job: Any) -> None:
        await self._tell(job, "failed", job.fail("no-good", self._mark(job)))

    async def deadly(self, job: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    # --- what is told ---

    def _mark(self, job: Any) -> str:
        """By which an outcome says whose it is."""
        return f"{self._name} {job.attempt}"

    async def _done(self, job: Any) -> None:
        await self._tell(job, "done", job.done(self._mark(job)))

    async def _tell(self, job: Any, how: str, telling: Awaitable[bool]) -> None:
        self._say("tells", job, how=how)
        self._running.discard(job)
        counted = await telling
        self._say("told", job, how=how, counted=counted)

    def _say(self, what: str, job: Any, **more: Any) -> None:
        self._diary.say(what, job.id, attempt=job.attempt, mark=self._mark(job), **more)


async def stop_at_signal(work: Any) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            work.stop()


async def main(folder: Path, name: str, address: str) -> None:
    hurry()
    plan = plan_in(folder)
    worker = Worker(name, plan, Diary(folder, name))
    async with (
        link(folder, address) as way,
        queue_client(way, "jobs").jobs(slots=plan.slots) as work,
        anyio.create_task_group() as listening,
    ):
        listening.start_soon(stop_at_signal, work)
        async with anyio.create_task_group() as tasks:
            async for job in work:
                tasks.start_soon(worker.run, job)
        listening.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3])
