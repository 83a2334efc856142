"""What goes with an attempt, and what becomes of it when nobody sends it."""

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Limits
from chanlink.patterns import QueueClient, queue_client, work_queue
from chanlink.testing import session_pair
from tests.patience import PATIENCE, until

from .raw import asker, outcome, queue_and_asker, receive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def test_an_attached_job_brings_what_its_submitter_sends_for_the_attempt() -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit(1, attached=True)
        worker = await asks.work()
        assert await receive(ticket) == {"state": "waiting", "attempt": 0, "new": True}
        assert await receive(ticket) == {"attempt": 1}
        asked = await receive(ticket)
        assert asked.pop("attempt") == 1
        await asked["attach"].send("a file")
        asked["attach"].close()
        job = await worker.notice()
        assert job["attached"] == "a file"
        await worker.done(job["job"], 1)
        assert await outcome(ticket) == {"done": 1}
        worker.close()


async def test_a_job_whose_submitter_is_gone_has_failed_when_its_attempts_are_used_up() -> None:
    async with queue_and_asker(attempts=1, silence=0.03) as (_, asks):
        ticket = await asks.submit(1, id="x", attached=True)
        await receive(ticket)
        ticket.close()
        found = await asks.ask("find", id="x")
        await receive(found)
        worker = await asks.work()
        failed = await outcome(found)
        assert failed["failed"] == "attempts-used-up"
        assert "was not there" in failed["text"]
        other = await asks.submit(2)
        assert (await worker.notice())["payload"] == 2
        worker.close()
        other.close()


async def test_a_job_whose_submitter_comes_back_begins_at_once_and_its_worker_had_others_meanwhile() -> None:
    async with queue_and_asker() as (queue, asks):
        ticket = await asks.submit(1, id="x", attached=True)
        await receive(ticket)
        ticket.close()
        await until(lambda: not len(queue._core.followers))
        worker = await asks.work()
        other = await asks.submit(2)
        job = await worker.notice()
        assert job["payload"] == 2
        await worker.done(job["job"], None, ask=1)
        ticket = await asks.submit(1, id="x", attached=True)
        with anyio.fail_after(PATIENCE):
            while "attach" not in (asked := await receive(ticket)):
                pass
        assert asked["attempt"] == 2
        async with asked["attach"] as attach:
            await attach.send("a file")
        while "job" not in (job := await worker.notice()):
            pass
        assert (job["attempt"], job["attached"]) == (2, "a file")
        for end in (worker, other, ticket):
            end.close()


async def test_a_job_that_is_cancelled_while_its_submitter_is_gone_is_over() -> None:
    async with queue_and_asker() as (queue, asks):
        ticket = await asks.submit(1, id="x", attached=True)
        await receive(ticket)
        ticket.close()
        await until(lambda: not len(queue._core.followers))
        worker = await asks.work()
        await until(lambda: len(queue._core.attempts) == 1)
        await asks.answer("cancel", id="x")
        await until(lambda: not len(queue._core.attempts))
        found = await asks.ask("find", id="x")
        assert (await outcome(found))["failed"] == "cancelled"
        worker.close()


async def test_a_job_that_is_cancelled_meanwhile_is_given_to_nobody() -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit(1, id="x", attached=True)
        worker = await asks.work()
        asked = [await receive(ticket) for _ in range(3)][-1]["attach"]
        await asks.answer("cancel", id="x")
        with anyio.fail_after(PATIENCE):
            with pytest.raises(ChannelRefused):
                raise await asked.wait_closed()
        asked.close()
        assert (await outcome(ticket))["failed"] == "cancelled"
        other = await asks.submit(2)
        assert (await worker.notice())["payload"] == 2
        worker.close()
        other.close()


async def test_a_submitter_that_sends_nothing_costs_its_worker_only_the_silence() -> None:
    async with queue_and_asker(silence=0.03, attempts=1) as (_, asks):
        ticket = await asks.submit(1, attached=True)
        worker = await asks.work()
        other = await asks.submit(2)
        assert (await worker.notice())["payload"] == 2
        failed = await outcome(ticket)
        assert (failed["failed"], failed["text"]) == (
            "attempts-used-up",
            "the last of 1 attempts: its submitter did not send what goes with it",
        )
        worker.close()
        other.close()


async def test_a_worker_that_leaves_meanwhile_costs_an_attempt_and_its_attachment() -> None:
    async with queue_and_asker() as (queue, asks):
        ticket = await asks.submit(1, attached=True)
        gone = await asks.work()
        asked = [await receive(ticket) for _ in range(3)][-1]
        gone.close()
        await until(lambda: not queue._core.lines)
        sender, receiver = chanlink.pipe()
        async with asked["attach"] as attach:
            await attach.send(receiver)
            with anyio.fail_after(PATIENCE):
                assert isinstance(await sender.wait_closed(), ChannelRefused)
        sender.close()
        worker = await asks.work()
        with anyio.fail_after(PATIENCE):
            while "attach" not in (asked := await receive(ticket)):
                pass
        async with asked["attach"] as attach:
            await attach.send(None)
        assert (await worker.notice())["attempt"] == asked["attempt"] == 2
        worker.close()
        ticket.close()


async def test_ends_go_with_each_attempt_from_a_submitter_to_a_worker() -> None:
    async with (
        work_queue(str, int) as queue,
        session_pair(services={"jobs": queue}) as (client, _),
        session_pair(services={"jobs": queue}) as (far, _),
    ):

        async def count(jobs: QueueClient[str, int]) -> None:
            async with jobs.jobs() as work:
                async for job in work:
                    if job.attempt == 1:
                        async with job:
                            await job.retry(after=0)
                        continue
                    async with job, job.attached as numbers:
                        await job.done(sum([number async for number in numbers]))

        given: list[int] = []

        async def numbers(attempt: int) -> chanlink.Receiver[int]:
            given.append(attempt)
            sender, receiver = chanlink.pipe()
            async with sender:
                for number in range(5):
                    await sender.send(number * attempt)
            return receiver

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count, queue_client(far, "jobs", str, int))
            with anyio.fail_after(PATIENCE):
                ticket = await queue_client(client, "jobs", str, int).submit("sum", attach=numbers)
                assert await ticket.result() == 20
            assert given == [1, 2]
            tasks.cancel_scope.cancel()


async def test_an_attachment_that_a_worker_can_not_be_sent_costs_it_nothing_else() -> None:
    async with (
        work_queue() as queue,
        session_pair(services={"jobs": queue}) as (client, _),
        session_pair(Limits(message_ends=1), Limits(), services={"jobs": queue}) as (far, _),
        asker(client) as asks,
        asker(far) as far_asks,
    ):
        ticket = await asks.submit(1, attached=True)
        worker = await far_asks.work()
        asked = [await receive(ticket) for _ in range(3)][-1]
        pipes = [chanlink.pipe() for _ in range(2)]
        async with asked["attach"] as attach:
            await attach.send([receiver for _, receiver in pipes])
            with anyio.fail_after(PATIENCE):
                for sender, _ in pipes:
                    assert isinstance(await sender.wait_closed(), ChannelRefused)
                    sender.close()
        other = await asks.submit(2)
        assert (await worker.notice())["payload"] == 2
        for end in (worker, ticket, other):
            end.close()
