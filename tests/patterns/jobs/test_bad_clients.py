"""Clients and workers that break the rules of section 14: they are told so, and others are served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelBroken, ChannelFailed, ChannelRefused, JobFailed, JobRefused, Limits, Receiver, Sender
from chanlink.patterns import queue_client, work_queue
from chanlink.patterns.jobs.payloads import pack
from chanlink.testing import session_pair
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

JOB = pack({"page": 17})
SMALL = Limits(message_size=64 * 1024)
SILENCE = 0.2


class Raw:
    """A client that says what it likes, over a session of its own."""

    def __init__(self, session: chanlink.Session, requests: Sender[Any]) -> None:
        self.session = session
        self.requests = requests

    async def ask(self, ask: Any, capacity: int | None = None, **entries: Any) -> Receiver[Any]:
        answer, answers = chanlink.pipe(capacity)
        await self.requests.send({"ask": ask, "answer": answer, **entries})
        return answers

    async def code(self, ask: Any, **entries: Any) -> str:
        """By which a request fails."""
        async with await self.ask(ask, **entries) as answers:
            with pytest.raises(ChannelFailed) as caught:
                await answers.receive()
        return caught.value.code

    async def work(self, slots: int = 1) -> "RawWorker":
        says, hears = chanlink.pipe()
        return RawWorker(says, await self.ask("work", slots=slots, says=hears))


class RawWorker:
    def __init__(self, says: Sender[Any], notices: Receiver[Any]) -> None:
        self.says = says
        self.notices = notices

    async def say(self, **entries: Any) -> None:
        await self.says.send(entries)

    async def hear(self) -> Any:
        return await self.notices.receive()

    async def job(self) -> Any:
        """The next one, which it asks for."""
        await self.say(ask=1)
        return await self.hear()

    async def refused(self) -> str:
        """The code with which it is sent away; both of its channels are over."""
        with pytest.raises(ChannelFailed) as caught:
            while True:
                await self.notices.receive()
        reason = await self.says.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == caught.value.code
        return caught.value.code


@asynccontextmanager
async def raw(queue: Any, limits: Limits | None = None, server_limits: Limits | None = None) -> AsyncIterator[Raw]:
    """A session of a client that says what it likes."""
    pair = session_pair(limits, server_limits or Limits(), services={"jobs": queue})
    with anyio.fail_after(PATIENCE):
        async with pair as (session, _), await session.open("jobs") as requests:
            yield Raw(session, requests)


async def serves(queue: Any) -> None:
    """Somebody else brings a job, and another one does it."""
    async with session_pair(services={"jobs": queue}) as (session, _):
        jobs = queue_client(session, "jobs")
        ticket = await jobs.submit({"well": True})
        async with jobs.jobs() as work:
            async for job in work:
                async with job:
                    await job.done(job.value)
                if job.id == ticket.id:
                    break
        assert await ticket.result() == {"well": True}


# --- requests ---------------------------------------------------------------------------------------

BAD_REQUESTS: list[tuple[Any, dict[str, Any]]] = [
    ("dance", {}),
    (None, {}),
    (["submit"], {}),
    ({}, {}),
    ("submit", {}),
    ("submit", {"job": "text"}),
    ("submit", {"job": None}),
    ("submit", {"job": JOB, "id": ""}),
    ("submit", {"job": JOB, "id": "x" * 201}),
    ("submit", {"job": JOB, "id": 17}),
    ("submit", {"job": JOB, "attached": 1}),
    ("find", {}),
    ("find", {"id": b"one"}),
    ("cancel", {"id": ["one"]}),
    ("retry", {"id": None}),
    ("failed", {"most": 1_001}),
    ("failed", {"most": 0}),
    ("failed", {"most": True}),
    ("failed", {"after": 1, "most": 1}),
    ("work", {}),
    ("work", {"slots": 1}),
    ("work", {"slots": 1, "says": "so"}),
]


@pytest.mark.parametrize(("ask", "entries"), BAD_REQUESTS, ids=lambda value: None)
async def test_a_request_that_is_not_as_the_table_says_fails_and_the_channel_goes_on(
    ask: Any, entries: dict[str, Any]
) -> None:
    async with work_queue() as queue, raw(queue) as client:
        assert await client.code(ask, **entries) == "bad-request"
        assert await client.code("find", id="nobody") == "unknown-job"
        await serves(queue)


@pytest.mark.parametrize("slots", [0, -1, 10_001, True, 1.0, "1", None])
async def test_slots_that_are_none_are_refused(slots: Any) -> None:
    async with work_queue() as queue, raw(queue) as client:
        says, hears = chanlink.pipe()
        assert await client.code("work", slots=slots, says=hears) == "bad-request"
        assert isinstance(await says.wait_closed(), ChannelRefused)


@pytest.mark.parametrize("message", [None, 17, "submit", [], {}, {"ask": "status"}, {"answer": 1}])
async def test_a_message_that_can_not_be_answered_does_no_harm(message: Any) -> None:
    async with work_queue() as queue, raw(queue) as client:
        await client.requests.send(message)
        assert await client.code("find", id="nobody") == "unknown-job"


async def test_ends_in_what_nobody_asked_for_are_refused() -> None:
    async with work_queue() as queue, raw(queue) as client:
        ours, theirs = chanlink.pipe()
        await client.requests.send(["a sender where a request should be", theirs])
        reason = await ours.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "not-taken"
        ours, theirs = chanlink.pipe()
        assert await client.code("find", id=17, more=theirs) == "bad-request"
        assert isinstance(await ours.wait_closed(), ChannelRefused)


async def test_an_answer_that_is_refused_at_once_does_no_harm() -> None:
    async with work_queue() as queue, raw(queue) as client:
        for ask in ("submit", "find", "cancel", "status", "failed"):
            answers = await client.ask(ask, job=JOB, id="one", most=1)
            answers.refuse("no-thanks")
        await serves(queue)


# --- sizes ------------------------------------------------------------------------------------------


async def test_a_job_that_a_worker_can_not_take_is_given_to_another_one() -> None:
    """It is too large for the session of the first one, who is served further."""
    async with work_queue(silence=SILENCE) as queue, raw(queue, SMALL) as small, raw(queue) as large:
        worker, other = await small.work(), await large.work()
        await queue.submit(bytes(100_000), id="large")
        await worker.say(ask=1)
        while (given := await other.job())["id"] != "large":
            await other.say(done=given["job"], result=JOB)
            await other.hear()
        await other.say(done=given["job"], result=JOB)
        assert await other.hear() == {"counted": given["job"]}
        await serves(queue)


async def test_a_job_that_no_worker_can_take_ends() -> None:
    async with work_queue(silence=SILENCE, attempts=2) as queue, raw(queue, SMALL) as small:
        ticket = await queue.submit(bytes(100_000))

        async def work() -> None:
            while True:
                with_ends = await small.work()
                try:
                    await with_ends.say(ask=1)
                    while True:
                        await with_ends.hear()
                except ChannelBroken:
                    pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            with pytest.raises(JobFailed) as caught:
                await ticket.result()
            assert caught.value.code == "attempts-used-up"
            tasks.cancel_scope.cancel()


async def test_a_result_that_its_submitter_can_not_take_fails_the_ticket_and_nothing_else() -> None:
    async with work_queue() as queue, raw(queue, SMALL) as small:
        answers = await small.ask("submit", job=JOB, id="one")
        assert (await answers.receive())["state"] == "waiting"
        async with queue.jobs() as work, await anext(work) as job:
            assert await job.done(bytes(100_000))
        with pytest.raises(ChannelFailed) as caught:
            while True:
                await answers.receive()
        assert caught.value.code == "too-large"
        assert len(await (await queue.find("one")).result()) == 100_000


async def test_more_jobs_than_may_wait_are_refused_and_those_that_are_there_are_not() -> None:
    async with work_queue(most=3) as queue, raw(queue) as client:
        for n in range(3):
            await (await client.ask("submit", job=JOB, id=f"job-{n}")).receive()
        assert await client.code("submit", job=JOB, id="job-3") == "queue-full"
        assert not (await (await client.ask("submit", job=JOB, id="job-0")).receive())["new"]
        with pytest.raises(JobRefused):
            await queue.submit(1)


# --- workers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"ask": 3},
        {"ask": 0},
        {"ask": -1},
        {"ask": True},
        {"ask": 2**62},
        {},
        {"dance": 1},
        {"done": 1, "failed": 1, "result": JOB, "code": "no", "text": ""},
        {"done": "one", "result": JOB},
        {"done": 1},
        {"done": 1, "result": "text"},
        {"failed": 1, "text": ""},
        {"failed": 1, "code": "", "text": ""},
        {"failed": 1, "code": "x" * 65, "text": ""},
        {"again": 1, "after": -1, "code": "no", "text": ""},
        {"again": 1, "after": float("nan"), "code": "no", "text": ""},
        {"again": 1, "after": float("inf"), "code": "no", "text": ""},
        {"again": 1, "after": "soon", "code": "no", "text": ""},
        {"progress": 1},
        "done",
        None,
        [1],
    ],
    ids=str,
)
async def test_a_worker_that_breaks_a_rule_is_refused_and_its_job_is_given_to_another_one(said: Any) -> None:
    async with work_queue() as queue, raw(queue) as client:
        ticket = await queue.submit(1)
        worker = await client.work(slots=2)
        assert (await worker.job())["job"] == 1
        await worker.says.send(said)
        assert await worker.refused() == "bad-request"
        other = await client.work()
        given = await other.job()
        assert (given["id"], given["attempt"]) == (ticket.id, 2)
        await other.say(done=given["job"], result=JOB)
        assert await ticket.result() == {"page": 17}


async def test_keys_that_are_not_ones_own_are_stale_and_touch_nothing() -> None:
    async with work_queue() as queue, raw(queue) as client:
        ticket = await queue.submit(1)
        worker, other = await client.work(), await client.work()
        key = (await worker.job())["job"]
        for said in (
            {"done": key, "result": JOB},
            {"failed": key, "code": "no", "text": ""},
            {"progress": key, "value": JOB},
        ):
            await other.says.send(said)
            assert await other.hear() == {"stale": key}
        for unknown in (0, -1, 2**62):
            await worker.say(done=unknown, result=JOB)
            assert await worker.hear() == {"stale": unknown}
        await worker.say(done=key, result=pack("well"))
        assert await worker.hear() == {"counted": key}
        assert await ticket.result() == "well"


async def test_an_outcome_counts_once_however_often_it_is_said() -> None:
    async with work_queue() as queue, raw(queue) as client:
        ticket = await queue.submit(1)
        worker = await client.work()
        key = (await worker.job())["job"]
        for result in (1, 2, 3):
            await worker.say(done=key, result=pack(result))
        await worker.say(failed=key, code="no", text="")
        heard = [await worker.hear() for _ in range(4)]
        assert sorted(map(str, heard)) == sorted(map(str, [{"counted": key}] + 3 * [{"stale": key}]))
        assert await ticket.result() == 1


async def test_a_worker_that_asks_and_never_takes_has_its_jobs_given_to_others() -> None:
    """Its channel is never read: what waits for it is no more than it has asked for."""
    async with work_queue(silence=SILENCE) as queue, raw(queue) as client:
        tickets = [await queue.submit(n) for n in range(50)]
        says, hears = chanlink.pipe()
        notices = await client.ask("work", capacity=1, slots=50, says=hears)
        await says.send({"ask": 50})
        await says.flush()
        async with queue.jobs(slots=10) as work, anyio.create_task_group() as tasks:

            async def run(job: Any) -> None:
                async with job:
                    await job.done(job.value)

            async def take() -> None:
                async for job in work:
                    tasks.start_soon(run, job)

            tasks.start_soon(take)
            assert [await ticket.result() for ticket in tickets] == list(range(50))
            tasks.cancel_scope.cancel()
        notices.close()


async def test_a_worker_that_says_what_is_wrong_and_never_reads_is_not_heard_any_more() -> None:
    """What it would be told waits for it, up to a bound; then what it says waits in its own windows."""
    said = 0

    async def say(worker: RawWorker) -> None:
        nonlocal said
        while True:
            await worker.say(done=said + 1, result=b"\x00")
            said += 1

    async with work_queue() as queue, raw(queue) as client, anyio.create_task_group() as tasks:
        worker = await client.work()
        tasks.start_soon(say, worker)
        before = -1
        while said > before:
            before = said
            await client.session.ping()
            await client.session.ping()
        assert said < 20_000
        await serves(queue)
        for key in range(1, said + 1):
            assert await worker.hear() == {"stale": key}
        tasks.cancel_scope.cancel()


# --- tickets ----------------------------------------------------------------------------------------


async def test_tickets_that_are_never_read_hold_nobody_up() -> None:
    """As many as its session may have; the channel of the requests goes on."""
    async with work_queue() as queue, raw(queue, server_limits=Limits(open_channels=500)) as client:
        await queue.submit(1, id="one")
        asked = []
        with pytest.raises(chanlink.LimitReached):
            while True:
                asked.append(await client.ask("find", id="one", capacity=1))
        assert len(asked) > 400
        async with queue.jobs() as work, await anext(work) as job:
            for step in range(1_000):
                await job.progress(step)
            assert await job.done("well")
        await serves(queue)
        for answers in asked:
            answers.close()


async def test_a_ticket_that_is_not_read_has_the_newest_progress_when_it_is() -> None:
    async with work_queue() as queue, raw(queue) as client:
        answers = await client.ask("submit", job=JOB, id="one", capacity=1)
        async with queue.jobs() as work, await anext(work) as job:
            for step in range(1_000):
                await job.progress(step)
            assert await job.done("well")
        heard = [message async for message in answers]
        assert heard[0]["state"] == "waiting"
        assert heard[-1] == {"done": pack("well")}
        assert len(heard) < 10
