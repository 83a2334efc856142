"""A channel of requests: what it may ask, and how it ends."""

from collections.abc import Sequence
from typing import Any, NoReturn

import anyio
import pytest
from anyio.abc import TaskStatus

import chanlink
from chanlink import ChannelFailed
from chanlink.patterns import MemoryStore, WorkQueue, work_queue
from chanlink.patterns.jobs.payloads import pack
from chanlink.patterns.jobs.store import End, Failed, NewJob
from chanlink.testing import session_pair
from tests.patience import PATIENCE, until

from .raw import asker, outcome, queue_and_asker, receive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def test_a_job_that_is_not_of_the_type_is_refused_without_its_value() -> None:
    async with queue_and_asker(job_type=int) as (_, asks):
        for answer in (await asks.submit("secret"), await asks.ask("submit", job=b"\xc1")):
            with pytest.raises(ChannelFailed) as caught:
                await receive(answer)
            assert caught.value.code == "bad-job"
            assert "secret" not in caught.value.text


async def test_tickets_and_lines_go_on_when_their_requests_have_ended() -> None:
    async with queue_and_asker() as (_, asks):
        ticket, worker = await asks.submit(1), await asks.work()
        asks.requests.close()
        job = await worker.notice()
        await worker.done(job["job"], 1)
        assert await outcome(ticket) == {"done": 1}
        worker.close()


async def test_tickets_of_a_session_that_drains_tell_the_outcome_of_what_runs_and_no_more() -> None:
    async with (
        work_queue() as queue,
        session_pair(services={"jobs": queue}) as (client, server),
        session_pair(services={"jobs": queue}) as (far, _),
        asker(client) as asks,
        asker(far) as far_asks,
    ):
        running, again, waiting = [await asks.submit(n) for n in range(3)]
        for ticket in (running, again, waiting):
            await receive(ticket)
        worker = await far_asks.work(slots=2)
        jobs = [(await worker.notice())["job"] for _ in range(2)]
        server.drain()
        with pytest.raises(ChannelFailed, match="draining"):
            await outcome(waiting)
        with anyio.fail_after(PATIENCE):
            assert "draining" in str(await asks.requests.wait_closed())
        await worker.say(again=jobs[1], after=60, code="busy")
        with pytest.raises(ChannelFailed, match="draining"):
            await outcome(again)
        await worker.done(jobs[0], 1)
        assert await outcome(running) == {"done": 1}
        await until(lambda: len(queue._serving) == 1)
        worker.close()


async def test_an_answer_to_a_rendezvous_is_refused_and_others_are_granted() -> None:
    async with work_queue() as queue:
        requests = queue._open_here()
        answer, answers = chanlink.pipe(0)
        await requests.send({"ask": "submit", "job": pack(1), "answer": answer})
        with pytest.raises(ChannelFailed, match="bad-request"):
            await receive(answers)
        answer, answers = chanlink.pipe(1)
        await requests.send({"ask": "submit", "job": pack(1), "answer": answer})
        assert (await receive(answers))["new"]
        answers.close()
        requests.close()


async def test_who_has_left_before_the_answer_is_forgotten() -> None:
    async with work_queue() as queue:
        requests = queue._open_here()
        for ask in ("submit", "status", "work"):
            answer, answers = chanlink.pipe(1)
            says, heard = chanlink.pipe()
            answers.close()
            await requests.send({"ask": ask, "job": pack(1), "slots": 1, "says": heard, "answer": answer})
            await requests.flush()
        await until(lambda: not queue._core.followers and not queue._core.lines)
        says.close()
        requests.close()


async def test_many_requests_that_lie_together_are_one_call_of_the_store() -> None:
    calls: list[int] = []

    class Counting(chanlink.patterns.MemoryStore):
        async def add(self, jobs):  # type: ignore[no-untyped-def]
            calls.append(len(jobs))
            return await super().add(jobs)

    async with work_queue(store=Counting()) as queue:
        requests = queue._open_here()
        tickets = []
        for n in range(50):
            answer, answers = chanlink.pipe(1)
            requests.send_nowait({"ask": "submit", "job": pack(n), "answer": answer})
            tickets.append(answers)
        for ticket in tickets:
            assert (await receive(ticket))["new"]
            ticket.close()
        requests.close()
    assert sum(calls) == 50
    assert len(calls) <= 2


class Hangs(MemoryStore):
    """Cancels nothing, ever."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = anyio.Event()

    async def cancel(self, ids: Sequence[str]) -> NoReturn:
        self.asked.set()
        await anyio.sleep_forever()
        raise AssertionError


async def test_requests_that_are_being_granted_when_the_queue_stops_are_told_so() -> None:
    store, stops = Hangs(), anyio.Event()

    async def own(*, task_status: TaskStatus[WorkQueue[Any, Any]]) -> None:
        async with work_queue(store=store) as queue:
            task_status.started(queue)
            await stops.wait()

    async with anyio.create_task_group() as tasks:
        queue = await tasks.start(own)
        async with session_pair(services={"jobs": queue}) as (client, _), asker(client) as asks:
            kept, says = chanlink.pipe()
            answers = [await asks.ask("cancel", id="x")]
            await store.asked.wait()
            answers += [await asks.ask("cancel", id="y"), await asks.ask("work", slots=1, says=says)]
            stops.set()
            for answer in answers:
                with pytest.raises(ChannelFailed, match="draining"):
                    await receive(answer)
            with anyio.fail_after(PATIENCE):
                await kept.wait_closed()
            kept.close()


async def test_what_lists_jobs_fits_in_a_message_however_long_their_ids_and_texts_are() -> None:
    store = MemoryStore()
    ids = [f"{number:04}" + 196 * "\N{GRINNING FACE}" for number in range(1_100)]
    async with queue_and_asker(store=store) as (_, asks):
        await store.add([NewJob(job_id, pack(1), False) for job_id in ids])
        text = 1_024 * "\N{GRINNING FACE}"
        await store.end([End(job.id, 1, Failed("code", text)) for job in await store.begin(1_000)])
        found: list[str] = []
        while page := await asks.answer("failed", most=1_000, **({"after": found[-1]} if found else {})):
            found += [job["id"] for job in page]
        assert found == ids[:1_000]
        worker = await asks.work(slots=100)
        for _ in range(100):
            await worker.notice()
        (shown,) = (await asks.answer("status"))["workers"]
        assert 20 < len(shown["running"]) < 100
        worker.close()
