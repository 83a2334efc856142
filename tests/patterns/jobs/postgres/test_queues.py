"""Work queues that share a database: jobs are brought by one, and worked on by another one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from chanlink import JobFailed
from chanlink.patterns import PostgresStore, WorkQueue, work_queue
from chanlink.patterns.jobs.postgres import watching
from tests.patience import PATIENCE
from tests.postgres import Server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

Opened = Callable[..., Any]


@pytest.fixture
def opened(postgres: Server, queue: str, monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setattr(watching, "LOOK", 0.2)

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[WorkQueue[Any, Any]]:
        with anyio.fail_after(PATIENCE):
            async with work_queue(store=PostgresStore(postgres.conninfo, queue, lease=1.0), **options) as opened:
                yield opened

    return opened


async def test_a_job_is_done_elsewhere(opened: Opened) -> None:
    async with opened() as one, opened() as other, await one.submit("page", id="a") as ticket:
        async with other.jobs() as jobs:
            async for job in jobs:
                async with job:
                    assert (job.id, job.value, job.attempt) == ("a", "page", 1)
                    await job.progress("half")
                    async for progress in ticket.progress():
                        assert progress == "half"
                        break
                    assert await job.done("text")
                jobs.stop()
        assert await ticket.result() == "text"


async def test_a_job_that_is_cancelled_elsewhere_is_stale(opened: Opened) -> None:
    async with opened() as one, opened() as other, other.jobs() as jobs:
        ticket = await one.submit("page", id="a")
        async for job in jobs:
            async with job:
                await ticket.cancel()
                await anyio.sleep_forever()
            assert job.stale
            jobs.stop()
        with pytest.raises(JobFailed) as caught:
            await ticket.result()
        assert caught.value.code == "cancelled"


async def test_a_job_whose_queue_was_left_is_done_by_another_one(opened: Opened) -> None:
    async with opened() as one:
        ticket = await one.submit("page", id="a")
        async with opened() as other, other.jobs() as jobs:
            async for job in jobs:
                assert job.attempt == 1
                jobs.stop()
        async with one.jobs() as jobs:
            async for job in jobs:
                assert job.attempt == 2
                async with job:
                    assert await job.done("text")
                jobs.stop()
        assert await ticket.result() == "text"


async def test_an_attached_job_is_done_where_its_submitter_is(opened: Opened) -> None:
    begun: list[WorkQueue[Any, Any]] = []

    async def work(queue: WorkQueue[Any, Any]) -> None:
        async with queue.jobs() as jobs:
            async for job in jobs:
                async with job:
                    begun.append(queue)
                    await job.done(job.attached)

    async with opened() as one, opened() as other, anyio.create_task_group() as tasks:
        for each in (one, other):
            tasks.start_soon(work, each)
        async with await one.submit("page", attach=lambda attempt: f"for attempt {attempt}") as ticket:
            assert await ticket.result() == "for attempt 1"
        assert begun == [one]
        tasks.cancel_scope.cancel()
