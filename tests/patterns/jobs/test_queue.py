"""`work_queue`: what those who bring jobs and those who work are told, in which order, and how often."""

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from chanlink import ChannelFailed, JobRefused
from chanlink.patterns import Jobs, queue_client
from chanlink.patterns.jobs.queue import work_queue
from chanlink.testing import session_pair
from tests.patience import PATIENCE, until

from .raw import Asker, asker, outcome, queue_and_asker, receive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def test_a_job_is_given_to_a_worker_and_its_result_to_whoever_has_brought_it() -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit({"page": 17}, id="page-17")
        assert await receive(ticket) == {"state": "waiting", "attempt": 0, "new": True}
        worker = await asks.work()
        job = await worker.notice()
        assert job == {"job": job["job"], "id": "page-17", "attempt": 1, "payload": {"page": 17}}
        assert await receive(ticket) == {"attempt": 1}
        await worker.done(job["job"], "text")
        assert await worker.notice() == {"counted": job["job"]}
        assert await outcome(ticket) == {"done": "text"}
        worker.close()


async def test_an_id_that_was_there_before_stands_as_it_is() -> None:
    async with queue_and_asker() as (_, asks):
        first, second = await asks.submit(1, id="x"), await asks.submit(2, id="x")
        assert (await receive(first))["new"] is True
        assert (await receive(second))["new"] is False
        worker = await asks.work()
        job = await worker.notice()
        assert job["payload"] == 1
        await worker.done(job["job"], "one")
        assert await outcome(first) == await outcome(second) == {"done": "one"}
        third = await asks.submit(3, id="x")
        assert await receive(third) == {"state": "done", "attempt": 1, "new": False}
        assert await outcome(third) == {"done": "one"}
        worker.close()


async def test_a_failure_is_the_outcome_and_a_retry_is_another_attempt() -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit(1, id="x")
        worker = await asks.work()
        job = await worker.notice()
        await worker.say(again=job["job"], after=0, code="busy", text="later", ask=1)
        assert await worker.notice() == {"counted": job["job"]}
        job = await worker.notice()
        assert job["attempt"] == 2
        await worker.say(failed=job["job"], code="no-such-page", text="17")
        assert await outcome(ticket) == {"failed": "no-such-page", "text": "17", "attempt": 2}
        assert await asks.answer("failed", most=10) == [{"id": "x", "code": "no-such-page", "text": "17", "attempt": 2}]
        assert await asks.answer("retry", id="x") == "waiting"
        assert await asks.answer("failed", most=10) == []
        worker.close()


async def test_a_lost_worker_gives_its_job_back_until_the_attempts_are_used_up() -> None:
    async with queue_and_asker(attempts=2) as (_, asks):
        ticket = await asks.submit(1)
        for attempt in (1, 2):
            worker = await asks.work()
            assert (await worker.notice())["attempt"] == attempt
            worker.close()
        failed = await outcome(ticket)
        assert failed == {
            "failed": "attempts-used-up",
            "text": "the last of 2 attempts: its worker was lost",
            "attempt": 2,
        }


async def test_a_silent_worker_does_not_keep_its_job_and_may_still_be_the_first() -> None:
    async with queue_and_asker(silence=0.05) as (_, asks):
        ticket = await asks.submit(1)
        silent, other = await asks.work(), await asks.work(ask=0)
        first = await silent.notice()
        await other.say(ask=1)
        second = await other.notice()
        assert (first["attempt"], second["attempt"]) == (1, 2)
        await silent.done(first["job"], "first")
        assert await silent.notice() == {"counted": first["job"]}
        assert await other.notice() == {"stale": second["job"]}
        assert await outcome(ticket) == {"done": "first"}
        silent.close()
        other.close()


async def test_who_says_something_is_not_silent() -> None:
    async with queue_and_asker(silence=0.2) as (_, asks):
        ticket = await asks.submit(1)
        worker = await asks.work(slots=2)
        job = await worker.notice()
        await receive(ticket)
        for _ in range(30):
            await worker.say(progress=job["job"], value=b"\x01")
            await anyio.sleep(0.02)
        await worker.done(job["job"], 1)
        assert await worker.notice() == {"counted": job["job"]}
        worker.close()
        assert await outcome(ticket) == {"done": 1}


async def test_progress_goes_to_those_who_follow() -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit(1, id="x")
        worker = await asks.work()
        job = await worker.notice()
        await worker.say(progress=job["job"], value=b"\x05")
        assert (await receive(ticket))["state"] == "waiting"
        while (news := await receive(ticket)) == {"attempt": 1}:
            pass
        assert news == {"attempt": 1, "progress": b"\x05"}
        found = await asks.ask("find", id="x")
        assert await receive(found) == {"state": "running", "attempt": 1, "new": False}
        assert await receive(found) == {"attempt": 1, "progress": b"\x05"}
        worker.close()
        ticket.close()
        found.close()


async def test_a_cancelled_job_is_stale_at_its_worker() -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit(1, id="x")
        worker = await asks.work()
        job = await worker.notice()
        assert await asks.answer("cancel", id="x") == "cancelled"
        assert await worker.notice() == {"stale": job["job"]}
        assert await outcome(ticket) == {"failed": "cancelled", "text": "", "attempt": 1}
        await worker.done(job["job"], 1)
        assert await worker.notice() == {"stale": job["job"]}
        worker.close()


async def test_each_worker_gets_its_turn() -> None:
    async with queue_and_asker() as (queue, asks):
        workers = [await asks.work(slots=4) for _ in range(3)]
        await until(lambda: [line.asked for line in queue._core.lines] == [4, 4, 4])
        tickets = [await asks.submit(n) for n in range(6)]
        for worker in workers:
            assert {(await worker.notice())["attempt"] for _ in range(2)} == {1}
        for worker in workers:
            worker.close()
        for ticket in tickets:
            ticket.close()


@pytest.mark.parametrize(
    ("ask", "entries", "code"),
    [
        ("dance", {}, "bad-request"),
        ("submit", {}, "bad-request"),
        ("submit", {"job": b"\x01", "id": ""}, "bad-request"),
        ("submit", {"job": b"\x01", "id": "x" * 201}, "bad-request"),
        ("submit", {"job": b"\x01", "attached": 1}, "bad-request"),
        ("find", {"id": "nobody"}, "unknown-job"),
        ("find", {}, "bad-request"),
        ("cancel", {"id": "nobody"}, "unknown-job"),
        ("retry", {"id": "nobody"}, "unknown-job"),
        ("failed", {"most": 1_001}, "bad-request"),
        ("work", {"slots": 1}, "bad-request"),
    ],
)
async def test_what_is_not_granted_fails_its_answer(ask: str, entries: dict[str, Any], code: str) -> None:
    async with queue_and_asker() as (_, asks):
        answer = await asks.ask(ask, **entries)
        with pytest.raises(ChannelFailed) as caught:
            await receive(answer)
        assert caught.value.code == code
        assert (await asks.answer("status"))["waiting"] == 0


async def test_no_more_jobs_wait_than_may() -> None:
    async with queue_and_asker(most=2) as (_, asks):
        tickets = [await asks.submit(n, id=str(n)) for n in range(3)]
        assert [(await receive(ticket))["new"] for ticket in tickets[:2]] == [True, True]
        with pytest.raises(ChannelFailed, match="queue-full"):
            await receive(tickets[2])
        again = await asks.submit(0, id="0")
        assert (await receive(again))["new"] is False
        await asks.answer("cancel", id="0")
        assert (await receive(await asks.submit(3, id="3")))["new"] is True
        for ticket in [*tickets, again]:
            ticket.close()


async def test_the_status_says_who_works_on_what() -> None:
    async with queue_and_asker() as (_, asks):
        tickets = [await asks.submit(n, id=str(n)) for n in range(2)]
        worker = await asks.work()
        await worker.notice()
        status = await asks.answer("status")
        (shown,) = status.pop("workers")
        assert status == {"waiting": 1, "delayed": 0, "running": 1, "done": 0, "failed": 0, "submitters": 1}
        assert (shown["slots"], shown["running"]) == (1, ["0"])
        worker.close()
        for ticket in tickets:
            ticket.close()


async def test_leaving_the_block_tells_all_who_wait() -> None:
    async with AsyncExitStack() as stack:
        services: dict[str, Any] = {}
        client, _server = await stack.enter_async_context(session_pair(services=services))
        async with work_queue() as queue:
            services["jobs"] = queue
            asks = await stack.enter_async_context(asker(client))
            ticket, worker = await asks.submit(1), await asks.work()
            await worker.notice()
        with anyio.fail_after(PATIENCE):
            for channel in (ticket, worker.notices):
                with pytest.raises(ChannelFailed, match="draining"):
                    await outcome(channel)
            assert "draining" in str(await worker.says.wait_closed())
            assert "draining" in str(await asks.requests.wait_closed())
            async with asker(client) as late:
                assert "draining" in str(await late.requests.wait_closed())


async def double(work: Jobs[int, int]) -> None:
    async for job in work:
        async with job:
            await job.done(2 * job.value)


async def test_the_queue_is_a_client_of_itself_and_its_verbs_are_refused_behind_the_block() -> None:
    async with work_queue(int, int) as queue, queue.jobs() as work, anyio.create_task_group() as tasks:
        tasks.start_soon(double, work)
        with anyio.fail_after(PATIENCE):
            ticket = await queue.submit(21, id="x")
            assert (ticket.id, ticket.new, await ticket.result()) == ("x", True, 42)
            assert await (await queue.find("x")).result() == 42
        (worker,) = (await queue.status()).workers
        assert (worker.name, repr(queue)) == ("this process", "<WorkQueue with 1 workers>")
        work.stop()
    with pytest.raises(JobRefused, match="draining"):
        await queue.submit(1)


async def test_a_service_takes_only_what_it_is_for() -> None:
    async with (
        work_queue(int, int) as queue,
        session_pair(services={"desk": queue.service("submit", "find")}) as (client, _server),
        queue.jobs() as work,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(double, work)
        desk = queue_client(client, "desk", int, int)
        with anyio.fail_after(PATIENCE):
            assert await (await desk.submit(1)).result() == 2
            with pytest.raises(JobRefused, match="not-allowed"):
                await desk.status()
        with pytest.raises(ValueError, match="dance"):
            queue.service("dance")  # type: ignore[arg-type]
        tasks.cancel_scope.cancel()


async def test_clients_and_workers_of_sessions_work_together() -> None:
    async with (
        work_queue(int, int) as queue,
        session_pair(services={"jobs": queue}) as (client, _),
        session_pair(services={"jobs": queue}) as (far, _),
        queue_client(far, "jobs", int, int).jobs(slots=2) as work,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(2):
            tasks.start_soon(double, work)
        jobs = queue_client(client, "jobs", int, int)
        with anyio.fail_after(PATIENCE):
            tickets = [await jobs.submit(n) for n in range(20)]
            assert [await ticket.result() for ticket in tickets] == [2 * n for n in range(20)]
        work.stop()


async def test_nothing_is_left_of_a_client_whose_session_is_lost_but_its_jobs() -> None:
    async with work_queue() as queue, session_pair(services={"jobs": queue}) as (stays, _), asker(stays) as asks:
        async with session_pair(services={"jobs": queue}) as (lost, server):
            requests = Asker(await lost.open("jobs"))
            tickets = [await requests.submit(n, id=str(n)) for n in range(20)]
            workers = [await requests.work(slots=3) for _ in range(5)]
            for worker in workers:
                await worker.notice()
            assert len((await asks.answer("status"))["workers"]) == 5
            server.abort()
            for end in (*tickets, *workers, requests.requests):
                end.close()
        core = queue._core
        await until(lambda: not (core.lines or len(core.followers) or len(core.attempts) or len(queue._serving) > 1))
        assert not core.giving._asking
        worker = await asks.work(slots=20)
        jobs = [await worker.notice() for _ in range(20)]
        assert {job["id"] for job in jobs} == {str(n) for n in range(20)}
        assert Counter(job["attempt"] for job in jobs) == {1: 5, 2: 15}
        worker.close()
