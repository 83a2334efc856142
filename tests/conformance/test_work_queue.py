"""Work queues over every route: what becomes of jobs, and what their workers and submitters are told."""

from collections import Counter
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import JobFailed, JobLost, JobRefused, MessageTypeError
from chanlink.patterns import queue_client, work_queue
from chanlink.patterns.jobs import way
from tests.patience import until

from .queues import Way, over_each, reached, working
from .routes import Route, every_session

pytestmark = pytest.mark.anyio

SILENCE = 0.6
LONG = 3_600.0


class Trouble(Exception):
    pass


async def double(job: Any) -> None:
    async with job:
        assert await job.done(2 * job.value)


# --- outcomes ---------------------------------------------------------------------------------------


@over_each
async def test_each_job_is_done_once_by_one_of_the_workers(route: Route) -> None:
    ran: Counter[str] = Counter()

    async def run(job: Any) -> None:
        ran[job.id] += 1
        assert job.attempt == 1
        await double(job)

    async with reached(route) as (_, client):
        jobs = client()
        async with working(client(), run, slots=3), working(client(), run), working(jobs, run, slots=2):
            tickets = [await jobs.submit(n, id=f"job-{n}") for n in range(40)]
            assert [await ticket.result() for ticket in tickets] == [2 * n for n in range(40)]
    assert set(ran.values()) == {1}
    assert len(ran) == 40


@over_each
async def test_a_failure_is_told_with_its_code_and_its_text(route: Route) -> None:
    async def run(job: Any) -> None:
        async with job:
            assert await job.fail("no-such-page", "page 17")

    async with reached(route) as (_, client), working(client(), run):
        ticket = await client().submit({"page": 17}, id="page-17")
        with pytest.raises(JobFailed) as caught:
            await ticket.result()
        assert (caught.value.code, caught.value.text, caught.value.attempt) == ("no-such-page", "page 17", 1)
        assert [(one.id, one.code, one.text) for one in await client().failed()] == [
            ("page-17", "no-such-page", "page 17")
        ]


@over_each
async def test_a_retry_is_another_attempt_that_says_so(route: Route) -> None:
    attempts = []

    async def run(job: Any) -> None:
        attempts.append(job.attempt)
        async with job:
            await (job.retry(after=0) if job.attempt < 3 else job.done(job.attempt))

    async with reached(route) as (_, client), working(client(), run):
        assert await (await client().submit(None)).result() == 3
    assert attempts == [1, 2, 3]


@over_each
async def test_a_job_that_nobody_can_do_ends_with_its_attempts_used_up(route: Route) -> None:
    ran: list[int] = []

    async def run(job: Any) -> None:
        ran.append(job.attempt)
        async with job:
            await job.retry(after=0, code="poison", text="it is bitter")

    async with reached(route, attempts=3) as (_, client), working(client(), run):
        with pytest.raises(JobFailed, match="poison") as caught:
            await (await client().submit(None)).result()
        assert (caught.value.code, caught.value.attempt) == ("attempts-used-up", 3)
    assert ran == [1, 2, 3]


@pytest.mark.waits
@over_each
async def test_a_block_that_is_left_by_an_exception_is_a_retry_after_a_while(route: Route) -> None:
    caught: list[int] = []

    async def run(job: Any) -> None:
        try:
            async with job:
                if job.attempt == 1:
                    raise Trouble
                await job.done("well")
        except Trouble:
            caught.append(job.attempt)

    async with reached(route) as (_, client), working(client(), run):
        ticket = await client().submit(None)
        await until(lambda: caught)
        assert (await client().status()).delayed == 1
        assert await ticket.result() == "well"
    assert caught == [1]


# --- submitting -------------------------------------------------------------------------------------


@over_each
async def test_a_job_that_is_submitted_again_is_the_same_job(route: Route) -> None:
    async with reached(route) as (_, client):
        one = await client().submit(1, id="one")
        other = await client().submit(2, id="one")
        assert (one.new, other.new) == (True, False)
        async with working(client(), double):
            assert await one.result() == await other.result() == 2
        again = await client().submit(3, id="one")
        assert (again.new, await again.result()) == (False, 2)


@over_each
async def test_a_job_is_found_by_its_id_and_an_unknown_one_is_refused(route: Route) -> None:
    async with reached(route) as (_, client):
        (await client().submit(21, id="x" * 200)).close()
        found = await client().find("x" * 200)
        async with working(client(), double):
            assert await found.result() == 42
        assert await (await client().find("x" * 200)).result() == 42
        for ask in (client().find, client().cancel, client().retry):
            with pytest.raises(JobRefused) as caught:
                await ask("another")
            assert caught.value.code == "unknown-job"


@over_each
async def test_a_failed_job_that_is_retried_waits_again_with_its_attempts_counted_anew(route: Route) -> None:
    attempts = []

    async def run(job: Any) -> None:
        attempts.append(job.attempt)
        async with job:
            await (job.fail("early") if len(attempts) == 1 else job.done("late"))

    async with reached(route) as (_, client), working(client(), run):
        with pytest.raises(JobFailed):
            await (await client().submit(None, id="one")).result()
        await client().retry("one")
        assert await (await client().find("one")).result() == "late"
        await client().retry("one")  # of a job that is done, nothing happens
        assert await (await client().find("one")).result() == "late"
    assert attempts == [1, 2]


# --- progress and cancellation ----------------------------------------------------------------------


@over_each
async def test_progress_is_the_newest_value_until_the_outcome(route: Route) -> None:
    heard = anyio.Event()

    async def run(job: Any) -> None:
        async with job:
            await job.progress(["step", 0])
            await heard.wait()
            for step in range(1, 200):
                await job.progress(["step", step])
            await job.done("well")

    async with reached(route) as (_, client), working(client(), run):
        ticket = await client().submit(None)
        seen = []
        async for _, step in ticket.progress():
            seen.append(step)
            heard.set()
        assert seen[0] == 0
        assert seen == sorted(set(seen))
        assert await ticket.result() == "well"


@over_each
async def test_a_job_that_waits_is_cancelled_and_never_given(route: Route) -> None:
    async with reached(route) as (_, client):
        ticket = await client().submit(1, id="one")
        await ticket.cancel()
        with pytest.raises(JobFailed) as caught:
            await ticket.result()
        assert caught.value.code == "cancelled"
        async with working(client(), double):
            assert await (await client().submit(2)).result() == 4
        await client().cancel("one")  # it has its outcome


@over_each
async def test_a_cancelled_job_cancels_the_block_of_its_worker(route: Route) -> None:
    stale = []

    async def run(job: Any) -> None:
        async with job:
            await job.progress()
            await anyio.sleep_forever()
        stale.append(job.stale)
        async with anyio.create_task_group():
            assert not await job.done(1)

    async with reached(route) as (_, client), working(client(), run):
        ticket = await client().submit(None, id="one")
        async for _ in ticket.progress():
            await client().cancel("one")
        with pytest.raises(JobFailed, match="cancelled"):
            await ticket.result()
        await until(lambda: stale)
    assert stale == [True]


# --- silence, and who is gone -----------------------------------------------------------------------


@pytest.mark.waits
@over_each
async def test_who_is_silent_may_still_be_the_first_and_the_other_one_is_stale(route: Route) -> None:
    told: dict[int, bool] = {}
    second = anyio.Event()

    async def run(job: Any) -> None:
        async with job:
            if job.attempt == 1:
                await second.wait()
                told[1] = await job.done("first")
            else:
                second.set()
                while True:
                    await job.progress()
                    await anyio.sleep(SILENCE / 3)
        if job.attempt == 2:
            told[2] = not job.stale

    async with reached(route, silence=SILENCE) as (_, client), working(client(), run, slots=2):
        assert await (await client().submit(None)).result() == "first"
        await until(lambda: len(told) == 2)
    assert told == {1: True, 2: False}


@pytest.mark.waits
@over_each
async def test_who_was_silent_and_comes_second_is_told_that_it_does_not_count(route: Route) -> None:
    told: dict[int, bool] = {}
    over = anyio.Event()

    async def run(job: Any) -> None:
        with anyio.CancelScope(shield=True):
            if job.attempt == 1:
                await over.wait()
            told[job.attempt] = await job.done(job.attempt)

    async with reached(route, silence=SILENCE) as (_, client), working(client(), run, slots=2):
        assert await (await client().submit(None)).result() == 2
        over.set()
        await until(lambda: len(told) == 2)
    assert told == {1: False, 2: True}


@pytest.mark.waits
@over_each
async def test_progress_keeps_a_job_from_being_given_again(route: Route) -> None:
    attempts = []

    async def run(job: Any) -> None:
        attempts.append(job.attempt)
        async with job:
            for _ in range(30):
                await job.progress()
                await anyio.sleep(SILENCE / 10)
            await job.done(None)

    async with reached(route, silence=3 * SILENCE) as (_, client), working(client(), run, slots=2):
        await (await client().submit(None)).result()
    assert attempts == [1]


@over_each
async def test_jobs_of_a_worker_that_leaves_are_given_to_others_at_once(route: Route) -> None:
    began = []

    async def sit(job: Any) -> None:
        began.append((job.id, job.attempt))
        async with job:
            await anyio.sleep_forever()

    async def run(job: Any) -> None:
        async with job:
            await job.done(job.attempt)

    async with reached(route, silence=LONG) as (_, client):
        tickets = [await client().submit(None) for _ in range(3)]
        async with working(client(), sit, slots=3):
            await until(lambda: len(began) == 3)
        async with working(client(), run, slots=3):
            assert all([await ticket.result() > 1 for ticket in tickets])


@every_session
async def test_jobs_of_a_worker_that_is_cut_off_are_given_to_others_at_once(route: Route) -> None:
    """The worker's block is cancelled, and who waits there for a result is told that the way was lost."""
    began, cancelled = [], []

    async def sit(job: Any) -> None:
        began.append(job.id)
        async with job:
            await anyio.sleep_forever()
        cancelled.append(job.stale)

    async with work_queue(silence=LONG) as queue:
        async with route() as places, anyio.create_task_group() as tasks:
            jobs = queue_client(Way(places, queue, tasks), "jobs")
            ticket = await jobs.submit(None, id="one")
            async with jobs.jobs() as work:
                tasks.start_soon(sit, await anext(work))
                await until(lambda: began)
                await places.cut()
                with pytest.raises((JobLost, JobRefused)):
                    await anext(work)
                await until(lambda: cancelled)
            with pytest.raises((JobLost, JobRefused)):
                await ticket.result()
            tasks.cancel_scope.cancel()
        async with queue.jobs() as work, await anext(work) as job:
            assert (job.id, job.attempt) == ("one", 2)
            assert await job.done("well")
        assert await (await queue.find("one")).result() == "well"
    assert cancelled == [True]


# --- asking -----------------------------------------------------------------------------------------


@over_each
async def test_a_worker_never_has_more_jobs_than_slots(route: Route) -> None:
    running = most = 0
    all_slots = anyio.Event()

    async def run(job: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            all_slots.set()
        async with job:
            await all_slots.wait()
            running -= 1  # who says that it is done asks for the next one in the same breath
            await job.done(None)

    async with reached(route) as (_, client), working(client(), run, slots=3):
        tickets = [await client().submit(None) for _ in range(30)]
        for ticket in tickets:
            await ticket.result()
    assert most == 3


@over_each
async def test_jobs_that_nobody_asks_for_wait(route: Route) -> None:
    async with reached(route) as (_, client), client().jobs(slots=5) as work:
        for n in range(3):
            (await client().submit(n)).close()
        status = await client().status()
        assert (status.waiting, status.running) == (3, 0)
        job = await anext(work)
        status = await client().status()
        assert (status.waiting, status.running) == (2, 1)
        assert [(worker.slots, list(worker.running)) for worker in status.workers] == [(5, [job.id])]
        assert await job.done(None)


@over_each
async def test_a_worker_that_stops_gets_no_more_and_may_end_what_it_has(route: Route) -> None:
    async with reached(route) as (_, client), client().jobs(slots=2) as work:
        tickets = [await client().submit(n) for n in range(2)]
        job = await anext(work)
        work.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(work)
        assert await job.done("well")
        assert await tickets[job.value].result() == "well"
        assert (await client().status()).waiting == 1


# --- what is attached -------------------------------------------------------------------------------


@over_each
async def test_each_attempt_gets_ends_of_its_own(route: Route) -> None:
    given: list[Any] = []

    def attach(attempt: int) -> Any:
        sender, receiver = chanlink.pipe()
        given.append((attempt, receiver))
        return {"attempt": attempt, "to": sender}

    async def run(job: Any) -> None:
        async with job:
            assert job.attached["attempt"] == job.attempt
            async with job.attached["to"] as sender:
                await sender.send(f"attempt {job.attempt}")
            await (job.retry(after=0) if job.attempt == 1 else job.done("well"))

    async with reached(route) as (_, client), working(client(), run):
        ticket = await client().submit(None, attach=attach)
        assert await ticket.result() == "well"
        assert [(attempt, await receiver.receive()) for attempt, receiver in given] == [
            (1, "attempt 1"),
            (2, "attempt 2"),
        ]
        for _, receiver in given:
            receiver.close()


# --- types ------------------------------------------------------------------------------------------


@over_each
async def test_a_result_of_another_type_fails_the_job_and_no_value_is_quoted(route: Route) -> None:
    async def run(job: Any) -> None:
        async with job:
            await job.done("a secret")

    async with reached(route, int, int) as (_, client), working(client(), run):
        with pytest.raises(JobFailed) as caught:
            await (await client(int, int).submit(1)).result()
        assert caught.value.code == "bad-result"
        assert "secret" not in caught.value.text


@over_each
async def test_a_job_of_another_type_is_found_by_who_knows_it_first(route: Route) -> None:
    async with reached(route, int, int) as (_, client):
        with pytest.raises(MessageTypeError):
            await client(int, int).submit("a secret")
        with pytest.raises(JobRefused) as caught:
            await client().submit("a secret")
        assert caught.value.code == "bad-job"
        assert "secret" not in str(caught.value)
        assert (await client().status()).waiting == 0


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.waits
@every_session
async def test_a_queue_that_is_left_ends_its_workers_in_order_and_tells_whoever_waits(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "TRIES", 2)

    async def work(jobs: Any) -> None:
        async with jobs.jobs() as work:
            async for _ in work:
                raise AssertionError("there is no job")
        ended.append("worker")

    async def wait(ticket: Any) -> None:
        with pytest.raises(JobLost, match="draining"):
            await ticket.result()
        ended.append("submitter")

    ended: list[str] = []
    async with route() as places, anyio.create_task_group() as serving, anyio.create_task_group() as tasks:
        async with work_queue() as queue:
            jobs = queue_client(Way(places, queue, serving), "jobs")
            ticket = await jobs.submit(None, attach=lambda attempt: None)
            tasks.start_soon(wait, await jobs.find(ticket.id))
            ticket.close()  # nobody gives what goes with it: it waits
            tasks.start_soon(work, jobs)
            await places.settle()
        await until(lambda: sorted(ended) == ["submitter", "worker"])
        serving.cancel_scope.cancel()
