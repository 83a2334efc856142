"""What becomes of attempts."""

from collections.abc import Sequence

import anyio
import pytest

from chanlink.patterns import MemoryStore
from chanlink.patterns.jobs.store import Again, End

from .raw import outcome, queue_and_asker

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def test_a_result_of_another_type_fails_the_job() -> None:
    async with queue_and_asker(job_type=int, result_type=str) as (_, asks):
        ticket, worker = await asks.submit(1), await asks.work()
        job = await worker.notice()
        await worker.done(job["job"], 17)
        assert await worker.notice() == {"counted": job["job"]}
        failed = await outcome(ticket)
        assert failed["failed"] == "bad-result"
        assert "17" not in failed["text"]
        worker.close()


async def test_the_last_again_is_a_failure() -> None:
    async with queue_and_asker(attempts=1) as (_, asks):
        ticket, worker = await asks.submit(1), await asks.work()
        job = await worker.notice()
        await worker.say(again=job["job"], after=60, code="busy", text="no printer")
        assert await worker.notice() == {"counted": job["job"]}
        assert await outcome(ticket) == {
            "failed": "attempts-used-up",
            "text": "the last of 1 attempts: busy: no printer",
            "attempt": 1,
        }
        worker.close()


class SlowToAnswer(MemoryStore):
    """What it has committed it says later."""

    def __init__(self) -> None:
        super().__init__()
        self.committed, self.answers = anyio.Event(), anyio.Event()

    async def end(self, ends: Sequence[End]) -> Sequence[bool]:
        counted = await super().end(ends)
        self.committed.set()
        await self.answers.wait()
        return counted


async def test_a_worker_whose_word_counts_is_told_so_whoever_learns_of_it_first() -> None:
    store = SlowToAnswer()
    async with queue_and_asker(store=store) as (_, asks):
        ticket, worker = await asks.submit(1, id="x"), await asks.work()
        job = await worker.notice()
        await worker.done(job["job"], "first")
        await store.committed.wait()
        assert await asks.answer("cancel", id="x") == "done"
        assert await outcome(ticket) == {"done": "first"}
        store.answers.set()
        assert await worker.notice() == {"counted": job["job"]}
        worker.close()


class LetsOneGo(MemoryStore):
    """Its first `end` is late, and another queue has begun the job anew by then."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.goes_on = anyio.Event(), anyio.Event()

    async def end(self, ends: Sequence[End]) -> Sequence[bool]:
        if not self.asked.is_set():
            self.asked.set()
            await self.goes_on.wait()
            await super().end([End(end.id, end.attempt, Again(1e-9)) for end in ends])
            assert [job.attempt for job in await super().begin(1)] == [2]
        return await super().end(ends)


async def test_what_a_silent_worker_says_counts_though_its_job_has_begun_elsewhere() -> None:
    store = LetsOneGo()
    async with queue_and_asker(store=store, silence=0.05) as (_, asks):
        ticket, worker = await asks.submit(1, id="x"), await asks.work()
        job = await worker.notice()
        await store.asked.wait()  # it was silent
        await worker.done(job["job"], "late")
        await anyio.sleep(0.02)
        store.goes_on.set()
        assert await worker.notice() == {"counted": job["job"]}
        assert await outcome(ticket) == {"done": "late"}
        worker.close()
