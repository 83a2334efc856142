"""Each store beside a model in plain dicts, under plans that hypothesis draws, and shortens when they fail.

A plan is a list of steps about a few ids, so that most of them meet jobs in all their states.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chanlink.patterns.jobs.store import (
    CANCELLED,
    STATES,
    Again,
    Done,
    End,
    Failed,
    Known,
    NewJob,
    State,
    Store,
)

from .stores import PLACES, Place

LATER = 3600.0
IDS = "abcd"

# --- plans ----------------------------------------------------------------------------------------


class Add(NamedTuple):
    ids: list[str]


class Begin(NamedTuple):
    most: int


class Cancel(NamedTuple):
    ids: list[str]


class Retry(NamedTuple):
    ids: list[str]


class Word(NamedTuple):
    """What became of an attempt: of the newest one, or of one before."""

    id: str | int
    """A number: of one that is running, if there is one."""
    before: int
    outcome: Done | Failed | Again


class Say(NamedTuple):
    words: list[Word]


class Repeat(NamedTuple):
    """Say again what was said last."""


class Reopen(NamedTuple):
    """Leave the store and enter the next one, if the place outlives it."""


Step = Add | Begin | Say | Repeat | Cancel | Retry | Reopen

ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=3)
OUTCOMES = (Done(b"1"), Done(b"2"), Failed("no", "1"), Failed("no", "2"))
outcomes = st.sampled_from([*OUTCOMES, *[Again(0.0)] * 3, Again(LATER)])
words = st.builds(Word, st.sampled_from([*range(6), *IDS]), st.sampled_from([0, 0, 1]), outcomes)
says = st.builds(Say, st.lists(words, min_size=1, max_size=2))
begins = st.builds(Begin, st.integers(1, 3))
rare = st.one_of(st.builds(Cancel, ids), st.builds(Retry, ids), st.just(Reopen()))
steps: st.SearchStrategy[Step] = st.one_of(st.builds(Add, ids), begins, begins, says, says, st.just(Repeat()), rare)
plans = st.integers(1, 100).flatmap(lambda size: st.lists(steps, min_size=size, max_size=size))


# --- the model ------------------------------------------------------------------------------------


@dataclass
class Job:
    payload: bytes
    state: State = "waiting"
    attempt: int = 0
    since: int = 0
    outcome: Done | Failed | None = None
    ended_by: int | None = None
    returned: tuple[int, float] | None = None


@dataclass
class Model:
    """What a store has to say."""

    jobs: dict[str, Job] = field(default_factory=dict)
    line: list[set[str]] = field(default_factory=list)
    """Those that wait, in order; of those that came back together nobody knows the order."""
    payloads: int = 0

    def add(self, ids: Sequence[str]) -> tuple[list[NewJob], list[Known]]:
        jobs, answers = [], []
        for id in ids:
            self.payloads += 1
            jobs.append(NewJob(id, b"%d" % self.payloads, False))
            new = id not in self.jobs
            if new:
                self.jobs[id] = Job(jobs[-1].payload)
                self.line.append({id})
            [known] = self.find([id])
            assert known is not None
            answers.append(known._replace(new=new))
        return jobs, answers

    def begun(self, most: int, begun: Sequence[tuple[str, bytes, int, int]]) -> None:
        """Whether these are those whose turn it was."""
        assert len(begun) == min(most, sum(map(len, self.line)))
        for id, payload, attempt, since in begun:
            assert id in self.line[0]
            self.leave_line(id)
            job = self.jobs[id]
            job.state, job.attempt = "running", job.attempt + 1
            assert (payload, attempt, since) == (job.payload, job.attempt, job.since)

    def end(self, end: End) -> bool:
        job = self.jobs.get(end.id)
        if job is None:
            return False
        if isinstance(end.outcome, Again):
            if job.state == "running" and job.attempt == end.attempt:
                job.returned = end.attempt, end.outcome.after
                job.state = "delayed" if end.outcome.after else "waiting"
                if job.state == "waiting":
                    self.line.append({end.id})
                return True
            return job.returned == (end.attempt, end.outcome.after)
        if job.outcome is None:
            self.finish(end.id, end.outcome, end.attempt)
            return True
        return (job.outcome, job.ended_by) == (end.outcome, end.attempt)

    def cancel(self, ids: Sequence[str]) -> None:
        for id in ids:
            if id in self.jobs and self.jobs[id].outcome is None:
                self.finish(id, Failed(CANCELLED, ""), None)

    def retry(self, ids: Sequence[str]) -> None:
        for id in ids:
            if id in self.jobs and self.jobs[id].state == "failed":
                attempt = self.jobs[id].attempt
                self.jobs[id] = Job(self.jobs[id].payload, attempt=attempt, since=attempt)
                self.line.append({id})

    def reopen(self) -> None:
        """All who ran wait again."""
        back = {id for id, job in self.jobs.items() if job.state == "running"}
        for id in back:
            self.jobs[id].state = "waiting"
        self.line += [back] if back else []

    def find(self, ids: Sequence[str]) -> list[Known | None]:
        found = [(id, self.jobs.get(id)) for id in ids]
        return [job and Known(id, job.state, job.attempt, job.outcome, None, False) for id, job in found]

    def resolve(self, word: Word) -> End:
        id = word.id
        if isinstance(id, int):
            running = [one for one, job in self.jobs.items() if job.state == "running"]
            id = running[id % len(running)] if running else IDS[0]
        attempt = self.jobs[id].attempt if id in self.jobs else 1
        return End(id, max(1, attempt - word.before), word.outcome)

    def finish(self, id: str, outcome: Done | Failed, attempt: int | None) -> None:
        self.leave_line(id)
        job = self.jobs[id]
        job.state = "done" if isinstance(outcome, Done) else "failed"
        job.outcome, job.ended_by = outcome, attempt

    def leave_line(self, id: str) -> None:
        self.line = [rest for together in self.line if (rest := together - {id})]


# --- both -----------------------------------------------------------------------------------------


async def play(place: Place, plan: Sequence[Step]) -> None:
    model, rest = Model(), [step for step in reversed(plan) if place.outlives or step != Reopen()]
    said: list[End] = []
    while rest:
        async with place.store() as store:
            await compare(store, model)
            while rest and not isinstance(step := rest.pop(), Reopen):
                if isinstance(step, Say):
                    said = [model.resolve(word) for word in step.words]
                if isinstance(step, Say | Repeat):
                    assert list(await store.end(said)) == [model.end(end) for end in said]
                else:
                    await take(store, model, step)
                await compare(store, model)
        model.reopen()


async def take(store: Store, model: Model, step: Add | Begin | Cancel | Retry) -> None:
    match step:
        case Add(ids):
            jobs, answers = model.add(ids)
            assert list(await store.add(jobs)) == answers
        case Begin(most):
            begun = await store.begin(most)
            model.begun(most, [(job.id, job.payload, job.attempt, job.since) for job in begun])
        case Cancel(ids):
            model.cancel(ids)
            assert list(await store.cancel(ids)) == model.find(ids)
        case Retry(ids):
            model.retry(ids)
            assert list(await store.retry(ids)) == model.find(ids)


async def compare(store: Store, model: Model) -> None:
    """By all that can be asked."""
    assert list(await store.find(IDS)) == model.find(IDS)
    states = [job.state for job in model.jobs.values()]
    assert await store.counts() == {state: states.count(state) for state in STATES}
    failed = [known for known in model.find(IDS) if known and known.state == "failed"]
    assert list(await store.failed("", 10)) == [one for one in failed if one.outcome != Failed(CANCELLED, "")]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_a_store_says_what_the_model_says(name: str, request: pytest.FixtureRequest) -> None:
    @settings(deadline=None, max_examples=20)
    @given(plan=plans)
    def plays(plan: list[Step]) -> None:
        with PLACES[name](request) as place:
            anyio.run(play, place, plan)

    plays()
