"""A queue without its face: its parts, and the tasks that it has however many work with it.

requests.py    what comes in, checked
serving.py     a channel of requests: one task for each
keeping.py     how the store is used: again and again, and no more than there is room for
giving.py      who gets the next job
line.py        a worker: one task for each
attempts.py    which worker has which job, and who is silent
outcomes.py    what becomes of attempts: to the store, and then to whoever wants to know
followers.py   those who want to know: tickets, without a task
attaching.py   what goes with an attempt: a task for each that has something
outbox.py      what is sent, without a task
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from chanlink.errors import StoreError
from chanlink.limits import STEPS

from .attaching import Attaching
from .attempts import Attempt, Attempts
from .followers import Follower, Followers
from .giving import Giving
from .keeping import Insistence, Room
from .line import Line
from .outcomes import Outcomes
from .payloads import unpack_as
from .store import Begun, Changes, Known, NewJob, Store

RENEWALS = 3
"""In a lease."""
LAST_COMMIT = 5.0
"""Seconds that the store has for what was said, when the block of a queue is left."""


class Core:
    """The parts of a queue. Its tasks are those of a group that is made for it."""

    def __init__(
        self,
        store: Store,
        job_type: Any,
        result_type: Any,
        *,
        silence: float,
        attempts: int,
        most: int,
        tasks: TaskGroup,
    ) -> None:
        self.store = store
        self.room = Room(store, most)
        self.attempts = Attempts()
        self.followers = Followers()
        self.lines: dict[Line, None] = {}
        self.submitters = 0
        """Channels of requests by which jobs came."""
        self._job_type = job_type
        self._result_type = result_type
        self._silence = silence
        self._tasks = tasks
        self._insistence = Insistence()
        self.outcomes = Outcomes(
            store, self._insistence, self.attempts, self.followers, most=attempts, waits_again=self._waits_again
        )
        self.giving = Giving(
            store,
            self._insistence,
            self.room,
            self.outcomes,
            self.followers,
            attempts=attempts,
            give_attached=self._give_attached,
        )

    def check_job(self, payload: bytes) -> None:
        """Raises `DecodeError` and `MessageTypeError` for what is no job of this queue."""
        if self._job_type is not Any:
            unpack_as(payload, self._job_type)

    def check_result(self, payload: bytes) -> None:
        """As `check_job`, of a result."""
        if self._result_type is not Any:
            unpack_as(payload, self._result_type)

    # --- what is asked for ---

    async def add(self, jobs: Sequence[NewJob]) -> Sequence[Known | None]:
        """Bring jobs. What they are now; None for those for which there is no room. Raises `StoreError`."""
        fit = await self._fit(jobs)
        try:
            added = iter(await self.store.add([job for job, fits in zip(jobs, fit, strict=True) if fits]))
        finally:
            self.giving.maybe_jobs()  # also if it was cancelled: some may be there
        found = [next(added) if fits else None for fits in fit]
        self.room.more(sum(known is not None and known.new for known in found))
        return found

    async def _fit(self, jobs: Sequence[NewJob]) -> Sequence[bool]:
        """Which of them may be added: those that are known, and of the others as many as there is room for."""
        left = await self.room.left(len(jobs))
        if left >= len(jobs):
            return [True] * len(jobs)
        fit = []
        for known in await self.store.find([job.id for job in jobs]):
            left -= known is None
            fit.append(known is not None or left >= 0)
        return fit

    async def cancel(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.cancel`. Whoever works on them is told."""
        found = await self.store.cancel(ids)
        self.room.maybe_fewer()
        for known in found:
            if known is not None:
                self.outcomes.known(known)
        return found

    async def retry(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.retry`."""
        try:
            found = await self.store.retry(ids)
        finally:
            self.giving.maybe_jobs()
        self.room.more(len(ids))  # at most; if that is too many, the store is asked
        return found

    def opens(self, follower: Follower, known: Known) -> None:
        """Its job is this one."""
        attempt = self.attempts.newest(known.id)
        follower.opens(known, known.progress if attempt is None else attempt.progress)

    def store_failed(self, error: StoreError) -> None:
        """It could not do what was asked for."""
        self._insistence.failed(error)

    def submitter_came(self) -> None:
        """One more channel of requests brings jobs."""
        self.submitters += 1

    def submitter_left(self) -> None:
        """One of them is over."""
        self.submitters -= 1

    # --- lines tell ---

    def wants(self, line: Line) -> None:
        """As `Lines.wants`."""
        self.giving.wants(line)

    def progressed(self, attempt: Attempt, value: bytes) -> None:
        """As `Lines.progressed`."""
        for follower in self.followers.of(attempt.id):
            follower.progresses(attempt.number, value)

    def enter(self, line: Line) -> None:
        """It begins to work here."""
        self.lines[line] = None

    def leave(self, line: Line) -> None:
        """It is gone."""
        self.lines.pop(line, None)
        self.giving.forget(line)

    # --- the tasks ---

    def start(self) -> None:
        """Start the tasks."""
        self._tasks.start_soon(self.outcomes.run)
        self._tasks.start_soon(self.giving.run)
        self._tasks.start_soon(self.followers.run)
        if self._silence < math.inf:
            self._tasks.start_soon(self._listen_for_silence)
        self._tasks.start_soon(self._follow_changes)
        if self.store.lease is not None:
            self._tasks.start_soon(self._renew, self.store.lease / RENEWALS)

    async def settle(self) -> None:
        """Give nothing more, and commit what was said, as far as the store does it in time."""
        with CancelScope(shield=True), anyio.move_on_after(LAST_COMMIT):
            await self.giving.stop()
            await self.outcomes.settle()
        self.outcomes.stop()

    async def _listen_for_silence(self) -> NoReturn:
        while True:
            await anyio.sleep(self._silence / STEPS)
            for attempt in self.attempts.tick():
                self.outcomes.silent(attempt, f"its worker was silent for {self._silence:g} s")

    async def _renew(self, seconds: float) -> NoReturn:
        while True:
            await self._insistence.insist(partial(self.store.renew, self.attempts.untold()))
            self.room.unsure()
            await anyio.sleep(seconds)

    async def _follow_changes(self) -> NoReturn:
        while True:
            await self._insistence.insist(self._follow_changes_once)

    async def _follow_changes_once(self) -> None:
        async with closing(self.store.changes()) as changes:
            async for change in changes:
                if change.jobs:
                    self.giving.maybe_jobs()
                await self._tell(change)

    async def _tell(self, changes: Changes) -> None:
        """Those that wait for jobs that other queues have, and those who work on what is over."""
        ended = {job_id for job_id in changes.ended if self.attempts.of(job_id)}
        ids = [*ended.union(self.followers.followed([*changes.ended, *changes.progressed]))]
        if not ids:
            return
        for known in await self._insistence.insist(partial(self.store.find, ids)):
            if known is None:
                continue
            self.outcomes.known(known)
            if known.state == "running" and self.attempts.newest(known.id) is None:
                self._tell_of_others(known)

    def _tell_of_others(self, known: Known) -> None:
        """What another queue's worker does."""
        for follower in self.followers.of(known.id):
            if known.progress is None:
                follower.begins(known.attempt)
            else:
                follower.progresses(known.attempt, known.progress)

    def _give_attached(self, line: Line, begun: Begun) -> None:
        attaching = Attaching(begun, line, self.attempts, self.outcomes)
        self._tasks.start_soon(attaching.run, self.followers, self._silence)

    def _waits_again(self, after: float) -> None:
        self.room.more(1)
        if after == 0:  # else the store says when the time has come
            self.giving.maybe_jobs()


@asynccontextmanager
async def closing(changes: AsyncIterator[Changes]) -> AsyncGenerator[AsyncIterator[Changes], None]:
    """Close them behind the block, if they are a generator."""
    try:
        yield changes
    finally:
        if isinstance(changes, AsyncGenerator):
            with CancelScope(shield=True):
                await changes.aclose()
