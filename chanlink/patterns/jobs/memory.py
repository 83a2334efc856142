"""`MemoryStore`: the jobs of one queue, for as long as its process lives."""

import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from heapq import heapify, heappop, heappush, nsmallest
from types import TracebackType
from typing import Self

import anyio

from chanlink import clock
from chanlink.arguments import expect

from .store import CANCELLED, STATES, Again, Begun, Changes, Done, End, Failed, Known, NewJob, State

FEW_DELAYED = 100
"""Entries of the heap of delayed jobs for which it isn't worth a look whether they are still delayed."""
LONGEST_SLEEP = 30.0
"""Seconds after which `changes` looks at the clock, though nothing is due: it goes on while the machine sleeps."""


class MemoryStore:
    """The store of a queue that was given none: what it holds is gone with the block of the queue.

    An ended job is known for `keep` seconds, so that bringing it again changes nothing and its result can be found;
    the oldest are forgotten before that when there are more than `most_ended`. The payload of a job that is done is
    forgotten at once. Raises `TypeError` and `ValueError`.
    """

    lease = None

    def __init__(self, *, keep: float = 3600.0, most_ended: int = 100_000) -> None:
        expect("keep", keep, int, float)
        expect("most_ended", most_ended, int)
        if not keep >= 0 or most_ended < 0:
            raise ValueError("keep and most_ended are at least 0")
        self._keep = keep
        self._most_ended = most_ended
        self._jobs: dict[str, _Job] = {}
        self._waiting: OrderedDict[str, None] = OrderedDict()
        """Whose turn is next. (The first key of a dict from which many were taken is behind holes for all of them.)"""
        self._delayed: list[tuple[float, str]] = []
        """A heap: when, and which. Some have gone elsewhere meanwhile."""
        self._ended: OrderedDict[str, float] = OrderedDict()
        """When they came to their outcome, the oldest first."""
        self._counts: dict[State, int] = dict.fromkeys(STATES, 0)
        self._news = anyio.Event()
        """Something is due earlier than what was."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        pass

    # --- verbs ---

    async def add(self, jobs: Sequence[NewJob]) -> Sequence[Known]:
        """As `Store.add`."""
        self._forget()
        return [self._add(job) for job in jobs]

    def _add(self, new: NewJob) -> Known:
        if (known := self._jobs.get(new.id)) is not None:
            return known.known(new.id)
        job = self._jobs[new.id] = _Job(new)
        self._waiting[new.id] = None
        self._counts["waiting"] += 1
        return job.known(new.id, new=True)

    async def begin(self, most: int) -> Sequence[Begun]:
        """As `Store.begin`."""
        self._release_due()
        begun: list[Begun] = []
        while self._waiting and len(begun) < most:
            job_id = next(iter(self._waiting))
            job = self._move(job_id, "running")
            job.begins()
            begun.append(Begun(job_id, job.payload, job.attempt, job.attached, job.since))
        return begun

    async def renew(self, progress: Mapping[str, bytes]) -> None:
        """As `Store.renew`; nobody else uses what is here."""

    async def end(self, ends: Sequence[End]) -> Sequence[bool]:
        """As `Store.end`."""
        counted = [self._end(end) for end in ends]
        self._forget()
        return counted

    def _end(self, end: End) -> bool:
        job = self._jobs.get(end.id)
        if job is None:
            return False
        if job.counted == end or job.again == end:
            return True
        if job.outcome is not None:
            return False
        if isinstance(end.outcome, Again):
            return self._again(job, end, end.outcome.after)
        job.counts(end)
        self._finish(end.id, end.outcome)
        return True

    def _again(self, job: "_Job", end: End, after: float) -> bool:
        if job.state != "running" or end.attempt != job.attempt:
            return False
        job.counts(end)
        if after > 0:
            self._move(end.id, "delayed")
            job.waits_until(clock.now() + after)
            if not self._delayed or job.due < self._delayed[0][0]:
                self._news.set()
            heappush(self._delayed, (job.due, end.id))
            self._sweep_delayed()
        else:
            self._move(end.id, "waiting")
        return True

    async def cancel(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.cancel`."""
        for job_id in ids:
            job = self._jobs.get(job_id)
            if job is not None and job.outcome is None:
                self._finish(job_id, Failed(CANCELLED, ""))
        return await self.find(ids)

    async def changes(self) -> AsyncIterator[Changes]:
        """As `Store.changes`: when jobs are not delayed any more."""
        while True:
            self._news = anyio.Event()
            left = self._delayed[0][0] - clock.now() if self._delayed else math.inf
            if left > 0:
                with anyio.move_on_after(min(left, LONGEST_SLEEP)):
                    await self._news.wait()
            self._forget()
            if self._release_due():
                yield Changes(True, (), ())

    # --- questions ---

    async def find(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.find`."""
        self._forget()
        return [job.known(job_id) if (job := self._jobs.get(job_id)) is not None else None for job_id in ids]

    async def retry(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.retry`."""
        for job_id in ids:
            job = self._jobs.get(job_id)
            if job is not None and job.state == "failed":
                del self._ended[job_id]
                job.starts_anew()
                self._move(job_id, "waiting")
        return await self.find(ids)

    async def counts(self) -> Mapping[State, int]:
        """As `Store.counts`."""
        self._forget()
        return dict(self._counts)

    async def failed(self, after: str, most: int) -> Sequence[Known]:
        """As `Store.failed`."""
        self._forget()
        ids = (job_id for job_id in self._ended if job_id > after and self._jobs[job_id].has_failed())
        return [self._jobs[job_id].known(job_id) for job_id in nsmallest(most, ids)]

    # --- from state to state ---

    def _move(self, job_id: str, state: State) -> "_Job":
        job = self._jobs[job_id]
        if job.state == "waiting":
            del self._waiting[job_id]
        if state == "waiting":
            self._waiting[job_id] = None
        self._counts[job.state] -= 1
        self._counts[state] += 1
        job.is_now(state)
        return job

    def _finish(self, job_id: str, outcome: Done | Failed) -> None:
        job = self._move(job_id, "done" if isinstance(outcome, Done) else "failed")
        job.ends(outcome)
        self._ended[job_id] = clock.now()

    def _release_due(self) -> bool:
        """Let those wait whose time has come. Whether there were any."""
        found, now = False, clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            due, job_id = heappop(self._delayed)
            if self._is_delayed(due, job_id):
                self._move(job_id, "waiting")
                found = True
        return found

    def _is_delayed(self, due: float, job_id: str) -> bool:
        """Whether this is still so of what is in the heap."""
        job = self._jobs.get(job_id)
        return job is not None and job.state == "delayed" and job.due == due

    def _sweep_delayed(self) -> None:
        """Forget those that have gone elsewhere when they are most: their time may be a year away."""
        if len(self._delayed) > FEW_DELAYED + 2 * self._counts["delayed"]:
            self._delayed = [entry for entry in self._delayed if self._is_delayed(*entry)]
            heapify(self._delayed)

    def _forget(self) -> None:
        """Forget ended jobs that are too old or too many."""
        oldest = clock.now() - self._keep
        while self._ended:
            job_id, ended = next(iter(self._ended.items()))
            if ended >= oldest and len(self._ended) <= self._most_ended:
                break
            del self._ended[job_id]
            self._counts[self._jobs.pop(job_id).state] -= 1


class _Job:
    """A job, and what has become of it."""

    __slots__ = ("again", "attached", "attempt", "counted", "due", "outcome", "payload", "since", "state")

    def __init__(self, new: NewJob) -> None:
        self.payload = new.payload
        self.attached = new.attached
        self.state: State = "waiting"
        self.attempt = 0
        self.since = 0
        self.due = 0.0
        """If it is delayed: until when."""
        self.outcome: Done | Failed | None = None
        self.counted: End | None = None
        """What the outcome comes from; None if that is no attempt."""
        self.again: End | None = None
        """What the newest attempt but one came to."""

    def is_now(self, state: State) -> None:
        self.state = state

    def begins(self) -> None:
        self.attempt += 1

    def waits_until(self, due: float) -> None:
        self.due = due

    def ends(self, outcome: Done | Failed) -> None:
        self.outcome = outcome
        if isinstance(outcome, Done):
            self.payload = b""  # only what has failed can be tried again

    def counts(self, end: End) -> None:
        if isinstance(end.outcome, Again):
            self.again = end
        else:
            self.counted = end

    def starts_anew(self) -> None:
        self.outcome = self.counted = self.again = None
        self.since = self.attempt

    def known(self, job_id: str, *, new: bool = False) -> Known:
        return Known(job_id, self.state, self.attempt, self.outcome, None, new)

    def has_failed(self) -> bool:
        return isinstance(self.outcome, Failed) and self.outcome.code != CANCELLED
