"""Who gets the next job."""

from collections.abc import Sequence

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed
from chanlink.patterns.jobs.memory import MemoryStore
from chanlink.patterns.jobs.payloads import pack
from chanlink.patterns.jobs.queue import work_queue
from chanlink.patterns.jobs.store import Again, Begun, End, NewJob
from chanlink.testing.sessions import PEER

from .raw import Asker, outcome, queue_and_asker, receive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def test_a_delayed_job_is_given_when_its_time_has_come_and_others_before() -> None:
    async with queue_and_asker() as (_, asks):
        tickets = [await asks.submit(n) for n in range(2)]
        worker = await asks.work()
        job = await worker.notice()
        await worker.say(again=job["job"], after=0.05, code="busy")
        assert await worker.notice() == {"counted": job["job"]}
        await worker.say(ask=1)
        other = await worker.notice()
        assert other["payload"] == 1
        await worker.done(other["job"], 1)
        assert await worker.notice() == {"counted": other["job"]}
        await worker.say(ask=1)
        job = await worker.notice()
        assert (job["payload"], job["attempt"]) == (0, 2)
        await worker.done(job["job"], 0)
        assert [await outcome(ticket) for ticket in tickets] == [{"done": 0}, {"done": 1}]
        worker.close()


class SlowStore(MemoryStore):
    """Says what has begun when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.go = anyio.Event(), anyio.Event()

    async def begin(self, most: int) -> Sequence[Begun]:
        begun = await super().begin(most)
        self.has_begun.set()
        await self.go.wait()
        return begun


async def test_a_worker_that_leaves_while_its_job_comes_out_of_the_store_leaves_it_to_others() -> None:
    """Its channel is over, and the task that hears it has not seen that yet."""
    store = SlowStore()
    async with work_queue(store=store) as queue, anyio.create_task_group() as tasks:
        requests, arriving = chanlink.pipe()
        tasks.start_soon(queue, arriving, PEER)
        asks = Asker(requests)
        ticket = await asks.submit(1)
        worker = await asks.work()
        await store.has_begun.wait()
        store.go.set()
        worker.close()
        other = await asks.work()
        job = await other.notice()
        assert job["attempt"] == 2
        await other.done(job["job"], 1)
        assert await outcome(ticket) == {"done": 1}
        other.close()
        requests.close()


async def test_there_is_room_for_a_job_as_soon_as_another_one_has_begun() -> None:
    async with queue_and_asker(most=1) as (_, asks):
        await receive(await asks.submit(1))
        with pytest.raises(ChannelFailed, match="queue-full"):
            await receive(await asks.submit(2))
        worker = await asks.work()
        await worker.notice()
        assert (await receive(await asks.submit(3)))["new"]
        worker.close()


async def test_a_job_whose_last_attempt_began_in_a_queue_that_died_is_given_to_nobody() -> None:
    store = MemoryStore()
    await store.add([NewJob(job_id, pack(job_id), False) for job_id in ("poison", "next")])
    await store.begin(1)
    await store.end([End("poison", 1, Again(0.0))])  # as the next start does it, or the end of a lease
    async with queue_and_asker(store=store, attempts=1) as (_, asks):
        poison, worker = await asks.ask("find", id="poison"), await asks.work(slots=2)
        assert (await worker.notice())["id"] == "next"
        failed = await outcome(poison)
        assert (failed["failed"], failed["attempt"]) == ("attempts-used-up", 1)
        with pytest.raises(anyio.WouldBlock):
            worker.notices.receive_nowait()
        worker.close()
