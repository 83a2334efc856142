"""A worker's line: the rules that a worker keeps, or is refused."""

from typing import Any

import anyio
import pytest

from chanlink import ChannelFailed, EndOfChannel, Limits
from chanlink.patterns import work_queue
from chanlink.patterns.jobs.line import UNSENT, UNSENT_BYTES
from chanlink.testing import session_pair
from tests.patience import PATIENCE, until

from .raw import asker, outcome, queue_and_asker, receive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@pytest.mark.parametrize(
    "message",
    [
        "ask",
        {},
        {"ask": 0},
        {"ask": 2},
        {"ask": True},
        {"done": 1, "failed": 1},
        {"done": 1},
        {"done": "x", "result": b"\x01"},
        {"failed": 1},
        {"again": 1, "after": -1, "code": "x"},
        {"progress": 1},
    ],
    ids=repr,
)
async def test_who_breaks_a_rule_is_refused_and_its_job_goes_to_another(message: Any) -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit(1)
        worker = await asks.work()
        await worker.notice()
        await worker.says.send(message)
        with pytest.raises(ChannelFailed, match="bad-request"):
            await worker.notice()
        assert "bad-request" in str(await worker.says.wait_closed())
        other = await asks.work()
        job = await other.notice()
        assert job["attempt"] == 2
        await other.done(job["job"], 1)
        assert await outcome(ticket) == {"done": 1}
        worker.close()
        other.close()


async def test_a_key_that_nobody_knows_is_stale() -> None:
    async with queue_and_asker() as (_, asks):
        worker = await asks.work(ask=0)
        await worker.done(7, 1)
        await worker.say(again=8, after=1, code="x")
        await worker.say(failed=9, code="x")
        await worker.say(progress=10, value=b"")
        assert [(await worker.notice())["stale"] for _ in range(4)] == [7, 8, 9, 10]
        worker.close()


async def test_a_key_is_of_one_line_only() -> None:
    async with queue_and_asker() as (_, asks):
        ticket = await asks.submit(1)
        worker, other = await asks.work(), await asks.work(ask=0)
        key = (await worker.notice())["job"]
        await other.done(key, "not mine")
        assert await other.notice() == {"stale": key}
        await worker.done(key, "mine")
        assert await outcome(ticket) == {"done": "mine"}
        worker.close()
        other.close()


async def test_what_was_asked_for_can_be_taken_back() -> None:
    async with queue_and_asker() as (_, asks):
        worker = await asks.work()
        await worker.say(stop=True)
        await worker.done(7, 1)
        assert await worker.notice() == {"stale": 7}
        ticket = await asks.submit(1)
        other = await asks.work()
        assert (await other.notice())["attempt"] == 1
        for end in (worker, other, ticket):
            end.close()


async def test_whoever_leaves_in_order_is_left_in_order() -> None:
    async with queue_and_asker() as (_, asks):
        worker = await asks.work()
        worker.says.close()
        with pytest.raises(EndOfChannel):
            await worker.notice()
        worker.close()


async def test_a_job_that_is_too_long_for_a_worker_costs_it_nothing_else() -> None:
    async with (
        work_queue() as queue,
        session_pair(services={"jobs": queue}) as (client, _),
        session_pair(Limits(message_size=1_000), services={"jobs": queue}) as (small, _),
        asker(client) as asks,
        asker(small) as small_asks,
    ):
        worker = await small_asks.work()
        long = await asks.submit("x" * 2_000)
        assert await receive(long) == {"state": "waiting", "attempt": 0, "new": True}
        short = await asks.submit("short")
        job = await worker.notice()
        assert job["payload"] == "short"
        await worker.done(job["job"], 1)
        assert await outcome(short) == {"done": 1}
        able = await asks.work()
        job = await able.notice()
        assert len(job["payload"]) == 2_000
        assert job["attempt"] > 1
        await able.done(job["job"], 2)
        assert await outcome(long) == {"done": 2}
        worker.close()
        able.close()


async def test_who_takes_nothing_gets_no_more_than_some_bytes_and_others_get_the_rest() -> None:
    payload, jobs = "x" * 100_000, 60
    async with queue_and_asker() as (_, asks):
        hoarder = await asks.work(slots=jobs)
        tickets = [await asks.submit(payload) for _ in range(jobs)]
        for ticket in tickets:
            await receive(ticket)
        (shown,) = (await asks.answer("status"))["workers"]
        assert len(shown["running"]) * len(payload) < 2 * UNSENT_BYTES
        other = await asks.work()
        for _ in range(jobs - len(shown["running"])):
            await other.done((await other.notice())["job"], 1)
            assert "counted" in await other.notice()
            await other.say(ask=1)
        for end in (hoarder, other, *tickets):
            end.close()


async def test_who_reads_no_answers_is_heard_no_more_until_it_does() -> None:
    async with queue_and_asker() as (_, asks):
        worker = await asks.work(ask=0)
        said = 0
        with anyio.move_on_after(1):
            while True:
                await worker.say(failed=said, code="x")
                said += 1
        assert said > UNSENT
        with anyio.fail_after(PATIENCE):
            assert [(await worker.notices.receive())["stale"] for _ in range(said)] == [*range(said)]
        worker.close()


async def test_a_worker_of_a_session_that_drains_ends_what_it_has_and_gets_no_more() -> None:
    async with (
        work_queue() as queue,
        session_pair(services={"jobs": queue}) as (client, _),
        session_pair(services={"jobs": queue}) as (far, server),
        asker(client) as asks,
        asker(far) as far_asks,
    ):
        tickets = [await asks.submit(n) for n in range(2)]
        worker = await far_asks.work(slots=1)
        job = await worker.notice()
        server.drain()
        await worker.done(job["job"], 1, ask=1)
        assert await worker.notice() == {"counted": job["job"]}
        with pytest.raises(ChannelFailed, match="draining"):
            await worker.notice()
        assert await outcome(tickets[0]) == {"done": 1}
        assert (await asks.answer("status"))["waiting"] == 1
        await until(lambda: not queue._core.lines)
        tickets[1].close()
        worker.close()


async def test_a_job_that_waits_for_what_goes_with_it_has_a_slot() -> None:
    async with queue_and_asker() as (_, asks):
        ticket, worker = await asks.submit(1, attached=True), await asks.work()
        while "attach" not in (said := await receive(ticket)):
            pass
        await worker.say(ask=1)
        with pytest.raises(ChannelFailed, match="more than 1 slots"):
            await worker.notice()
        said["attach"].close()
        ticket.close()
        worker.close()
