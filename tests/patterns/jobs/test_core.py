"""The tasks that a queue has however many work with it."""

import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.memory import MemoryObjectSendStream

import chanlink
from chanlink import ChannelFailed, StoreError
from chanlink.patterns import SQLiteStore, WorkQueue, work_queue
from chanlink.patterns.jobs.memory import MemoryStore
from chanlink.patterns.jobs.payloads import pack
from chanlink.patterns.jobs.store import Begun, Changes, Done, End, Known, NewJob
from chanlink.testing import session_pair
from tests.patience import PATIENCE

from .raw import outcome, queue_and_asker, receive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


class Failing(MemoryStore):
    """Can't do any verb the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.failed_verbs: set[str] = set()

    def fail_once(self, verb: str) -> None:
        if verb not in self.failed_verbs:
            self.failed_verbs.add(verb)
            raise StoreError("the disk is full")

    async def add(self, jobs: Sequence[NewJob]) -> Sequence[Known]:
        self.fail_once("add")
        return await super().add(jobs)

    async def begin(self, most: int) -> Sequence[Begun]:
        self.fail_once("begin")
        return await super().begin(most)

    async def end(self, ends: Sequence[End]) -> Sequence[bool]:
        self.fail_once("end")
        return await super().end(ends)

    async def cancel(self, ids: Sequence[str]) -> Sequence[Known | None]:
        self.fail_once("cancel")
        return await super().cancel(ids)

    async def find(self, ids: Sequence[str]) -> Sequence[Known | None]:
        self.fail_once("find")
        return await super().find(ids)


async def test_a_store_that_fails_is_asked_again_but_for_those_who_can_do_that_themselves() -> None:
    store = Failing()
    async with queue_and_asker(store=store) as (_, asks):
        for ask in ("submit", "find", "cancel"):
            with pytest.raises(ChannelFailed, match="store-failed"):
                await receive(await asks.ask(ask, job=pack(1), id="x"))
        ticket, worker = await asks.submit(1, id="x"), await asks.work()
        job = await worker.notice()
        await worker.done(job["job"], 1)
        assert await worker.notice() == {"counted": job["job"]}
        assert await outcome(ticket) == {"done": 1}
        assert store.failed_verbs == {"add", "begin", "end", "cancel", "find"}
        worker.close()


class Shared(MemoryStore):
    """As one that other queues use, too: what they do comes by a channel, and this queue has a lease."""

    lease: float | None = 0.03  # type: ignore[misc]

    def __init__(self) -> None:
        super().__init__()
        self.renewed: list[dict[str, bytes]] = []
        self.theirs: dict[str, Known] = {}
        self.tell: MemoryObjectSendStream[Changes]
        self.tell, self._told = anyio.create_memory_object_stream[Changes](10)

    async def renew(self, progress: Mapping[str, bytes]) -> None:
        self.renewed.append({**progress})

    async def changes(self) -> AsyncIterator[Changes]:
        async for change in self._told:
            yield change
        await anyio.sleep_forever()

    async def find(self, ids: Sequence[str]) -> Sequence[Known | None]:
        return [self.theirs.get(job_id) or known for job_id, known in zip(ids, await super().find(ids), strict=True)]

    async def __aexit__(self, *exc: Any) -> None:
        self.tell.close()
        self._told.close()


async def test_what_other_queues_do_is_told_to_those_who_follow_and_to_whoever_works_in_vain() -> None:
    store = Shared()
    async with queue_and_asker(store=store) as (_, asks):
        ticket, worker = await asks.submit(1, id="x"), await asks.work()
        other = await asks.submit(2, id="y")
        job = await worker.notice()
        for progress in (None, b"\x01"):
            store.theirs["y"] = Known("y", "running", 3, None, progress, False)
            await store.tell.send(Changes(jobs=False, ended=(), progressed=["y"]))
            news = {"attempt": 3} if progress is None else {"attempt": 3, "progress": progress}
            with anyio.fail_after(PATIENCE):
                while await receive(other) != news:
                    pass
        store.theirs |= {job_id: Known(job_id, "done", 4, Done(pack(job_id)), None, False) for job_id in "xy"}
        await store.tell.send(Changes(jobs=False, ended=["x", "y", "z"], progressed=()))
        assert await worker.notice() == {"stale": job["job"]}
        assert await outcome(ticket) == {"done": "x"}
        assert await outcome(other) == {"done": "y"}
        worker.close()


async def test_jobs_that_others_have_brought_are_begun() -> None:
    store = Shared()
    async with queue_and_asker(store=store) as (_, asks):
        worker = await asks.work()
        await asks.answer("status")
        await store.add([NewJob("x", pack("theirs"), False)])
        await store.tell.send(Changes(jobs=True, ended=(), progressed=()))
        assert (await worker.notice())["payload"] == "theirs"
        worker.close()


async def test_a_lease_is_renewed_with_the_newest_progress() -> None:
    store = Shared()
    async with queue_and_asker(store=store) as (_, asks):
        ticket, worker = await asks.submit(1, id="x"), await asks.work()
        job = await worker.notice()
        for value in (b"\x01", b"\x02"):
            await worker.say(progress=job["job"], value=value)
        with anyio.fail_after(PATIENCE):
            while not store.renewed or {"x": b"\x02"} not in store.renewed:
                await anyio.sleep(0.005)
        assert [renewed for renewed in store.renewed if renewed][-1] == {"x": b"\x02"}
        worker.close()
        ticket.close()


async def test_nobody_is_silent_for_the_time_in_which_the_queue_stood_still() -> None:
    async with queue_and_asker(silence=0.2) as (_, asks):
        ticket, worker = await asks.submit(1, id="x"), await asks.work()
        job = await worker.notice()
        time.sleep(0.5)
        await worker.done(job["job"], 1)
        assert await worker.notice() == {"counted": job["job"]}
        assert await outcome(ticket) == {"done": 1}
        worker.close()


async def test_a_queue_may_wait_for_ever() -> None:
    async with queue_and_asker(silence=math.inf) as (_, asks):
        ticket, worker = await asks.submit(1), await asks.work()
        await worker.done((await worker.notice())["job"], 1)
        assert await outcome(ticket) == {"done": 1}
        worker.close()


async def test_what_runs_when_the_block_is_left_is_given_back_to_the_store() -> None:
    store = MemoryStore()
    async with queue_and_asker(store=store) as (_, asks):
        ticket, worker = await asks.submit(1, id="x"), await asks.work()
        await worker.notice()
        other = await asks.submit(2, id="y", attached=True)
        await receive(other)
    assert {state: count for state, count in (await store.counts()).items() if count} == {"waiting": 2}
    for end in (ticket, other, worker):
        end.close()


async def test_a_block_that_is_cancelled_commits_what_was_said_and_gives_back_the_rest() -> None:
    store = MemoryStore()
    with anyio.fail_after(PATIENCE), anyio.CancelScope() as scope:
        async with work_queue(store=store) as queue, queue.jobs(slots=2) as work:
            for number in range(2):
                (await queue.submit(number)).close()
            jobs = [await anext(work) for _ in range(2)]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(jobs[0].done, "said")
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
    counts = await store.counts()
    assert (counts["done"], counts["waiting"], counts["running"]) == (1, 1, 0)


async def test_a_queue_that_is_busy_with_a_file_can_be_cancelled_at_any_time(tmp_path: Path) -> None:
    async def bring(queue: WorkQueue[Any, Any]) -> None:
        while True:
            (await queue.submit(1)).close()

    async def work(queue: WorkQueue[Any, Any]) -> None:
        async with queue.jobs(slots=4) as jobs:
            async for job in jobs:
                async with job:
                    await job.done(1)

    for round_number in range(8):
        store = SQLiteStore(tmp_path / "jobs.db", fsync=False)
        with anyio.fail_after(PATIENCE), anyio.CancelScope() as scope:
            async with work_queue(store=store) as queue, anyio.create_task_group() as tasks:
                for task in (bring, bring, work):
                    tasks.start_soon(task, queue)
                await anyio.sleep(0.005 * round_number)
                scope.cancel()


async def test_a_session_of_whoever_opens_the_way_here_is_not_that_of_the_queue() -> None:
    async with AsyncExitStack() as stack:
        queue, asks = await stack.enter_async_context(queue_and_asker())

        async def bring(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
            async for number in requests:
                (await queue.submit(number, id=str(number))).close()

        client, server = await stack.enter_async_context(session_pair(services={"bring": bring}))
        async with await client.open("bring") as numbers:
            await numbers.send(1)
            with anyio.fail_after(PATIENCE):
                while not (await asks.answer("status"))["waiting"]:
                    await anyio.sleep(0.005)
        channels = [*queue._serving]
        server.drain()
        with anyio.fail_after(PATIENCE):
            while server.state != "draining":
                await anyio.sleep(0.005)
        await anyio.sleep(0.01)
        assert [*queue._serving] == channels
