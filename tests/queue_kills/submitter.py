"""Who brings jobs, and waits for each: ``python -m tests.queue_kills.submitter FOLDER NAME ADDRESS``.

It goes on with what another one of its name has left. When there is enough, it waits for the rest and leaves.
"""

import sys
from pathlib import Path
from typing import Any

import anyio

from chanlink import JobError, JobFailed
from chanlink.patterns import queue_client

from .diary import Diary, read
from .kinds import is_cancelled, kind_of
from .meeting import ENOUGH, Plan, hurry, link, plan_in

PAUSE = 0.1


class Submitter:
    def __init__(self, jobs: Any, folder: Path, name: str, plan: Plan) -> None:
        self._jobs = jobs
        self._enough = folder / ENOUGH
        self._name = name
        self._plan = plan
        brought, ended = (
            {line["job"] for line in read(folder, name) if line["what"] == what} for what in ("brings", "ended")
        )
        self._left = [int(job.rpartition("-")[2]) for job in brought - ended]
        self._next = 1 + max((int(job.rpartition("-")[2]) for job in brought), default=-1)
        self._diary = Diary(folder, name)

    async def bring(self) -> None:
        """One after the other, until there is enough."""
        while (number := self._number()) is not None:
            job = f"{self._name}-{number}"
            kind = kind_of(job, number, self._plan.seed)
            self._diary.say("brings", job, kind=kind)
            while not await self._ended(job, kind):
                await anyio.sleep(PAUSE)

    def _number(self) -> int | None:
        if self._left:
            return self._left.pop()
        if self._enough.exists():
            return None
        self._next += 1
        return self._next - 1

    async def _ended(self, job: str, kind: str) -> bool:
        """Whether the job has its outcome; else it has to be brought again."""
        attach = (lambda attempt: [job, attempt]) if kind == "attached" else None
        try:
            async with await self._jobs.submit({"kind": kind}, id=job, attach=attach) as ticket:
                if is_cancelled(job, self._plan.seed):
                    await ticket.cancel()
                if kind == "slow":
                    await self._watch(job, ticket)
                self._diary.say("ended", job, done=await ticket.result())
        except JobFailed as exc:
            self._diary.say("ended", job, code=exc.code, text=exc.text)
        except JobError as exc:
            self._diary.say("again", job, why=f"{type(exc).__name__}: {exc}")
            return False
        return True

    async def _watch(self, job: str, ticket: Any) -> None:
        """The steps of an attempt only grow; who follows the job anew sees the newest one again. Where several queues
        share a store, it may be an older one: what they know of each other is as old as their last words to it."""
        last = [0, -1]
        async for value in ticket.progress():
            if value[0] == last[0] and value < last and self._plan.store != "postgres":
                self._diary.say("wrong", job, why=f"progress {value} after {last}")
            last = value


async def main(folder: Path, name: str, address: str) -> None:
    hurry()
    plan = plan_in(folder)
    async with link(folder, address) as way:
        submitter = Submitter(queue_client(way, "jobs"), folder, name, plan)
        async with anyio.create_task_group() as tasks:
            for _ in range(plan.in_flight):
                tasks.start_soon(submitter.bring)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3])
