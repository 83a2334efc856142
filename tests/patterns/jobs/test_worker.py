"""Workers: what they ask for and when, how they stop, what becomes of jobs that nobody took out."""

from typing import Any

import anyio
import pytest

from chanlink import JobLost, JobRefused, MessageTypeError
from chanlink.patterns import Job
from chanlink.patterns.jobs.payloads import pack
from tests.channels.pairs import settle
from tests.patience import PATIENCE

from .scripted import Line, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def done(line: Line, key: int, **also: Any) -> None:
    """The worker says that this one is done, which counts."""
    said = await line.says_next()
    assert said["done"] == key
    await line.tell(counted=key)


async def test_one_job_after_the_other_is_asked_for_when_it_is_wanted() -> None:
    async with scripted() as (client, queue), anyio.create_task_group() as tasks:
        values: list[Any] = []

        async def run() -> None:
            async with client.jobs(slots=8) as work:
                async for job in work:
                    values.append(job.value)
                    assert await job.done(job.value * 2)
                    if len(values) == 3:
                        work.stop()

        with anyio.fail_after(PATIENCE):
            tasks.start_soon(run)
            line = await queue.line()
            for key in (1, 2, 3):
                assert await line.says_next() == {"ask": 1}
                await line.give(key, key)
                assert await line.says_next() == {"done": key, "result": pack(key * 2)}
                await line.tell(counted=key)
            assert await line.says_next() == {"stop": True}
            line.close()
        assert values == [1, 2, 3]


async def test_those_that_run_side_by_side_are_asked_for_together_up_to_the_slots() -> None:
    async with scripted() as (client, queue), anyio.create_task_group() as tasks:
        go = anyio.Event()

        async def run_one(job: Job[Any, Any]) -> None:
            async with job:
                await go.wait()
                await job.done(None)

        async def run() -> None:
            async with client.jobs(slots=4) as work, anyio.create_task_group() as running:
                async for job in work:
                    running.start_soon(run_one, job)

        with anyio.fail_after(PATIENCE):
            tasks.start_soon(run)
            line = await queue.line()
            asked, key = 0, 0
            while asked < 4:
                wanted = (await line.says_next())["ask"]
                asked += wanted
                for _ in range(wanted):
                    key += 1
                    await line.give(key)
            assert asked == key == 4
            go.set()
            said = [await line.says_next() for _ in range(4)]
            assert sorted(one["done"] for one in said) == [1, 2, 3, 4]
            assert sum(one.get("ask", 0) for one in said) == 4, "the next ones are asked for beside"
            line.close()
            tasks.cancel_scope.cancel()


async def test_without_one_who_waits_nothing_is_asked_for() -> None:
    async with scripted() as (client, queue):
        async with client.jobs() as work:
            with anyio.fail_after(PATIENCE):
                line = await queue.line()
            await settle()
            with pytest.raises(anyio.WouldBlock):
                line.says.receive_nowait()
            with anyio.move_on_after(0.01):
                await anext(work)
            assert await line.says_next() == {"ask": 1}
        assert await line.says_next() == {"stop": True}
        line.close()


async def test_what_nobody_has_taken_out_goes_back() -> None:
    async with scripted() as (client, queue):
        async with client.jobs() as work:
            with anyio.move_on_after(0.01):
                await anext(work)
            line = await queue.line()
            assert await line.says_next() == {"ask": 1}
            await line.give(1)
            await settle()
        assert await line.says_next() == {"stop": True}
        assert (await line.says_next()) == {"again": 1, "after": 0.0, "code": "not-taken", "text": ""}
        with anyio.fail_after(PATIENCE):
            await line.notices.wait_closed()
        line.close()


async def test_a_job_that_is_not_of_the_type_has_failed_and_the_next_one_comes() -> None:
    async with scripted(int) as (client, queue), anyio.create_task_group() as tasks:

        async def run() -> None:
            async with client.jobs() as work:
                job = await anext(work)
                assert job.value == 17
                assert await job.done(None)

        with anyio.fail_after(PATIENCE):
            tasks.start_soon(run)
            line = await queue.line()
            assert await line.says_next() == {"ask": 1}
            await line.give(1, "seventeen")
            said = await line.says_next()
            assert (said["failed"], said["code"], said["ask"]) == (1, "bad-job", 1)
            assert "seventeen" not in said["text"]
            await line.tell(counted=1)
            await line.give(2, 17)
            await done(line, 2)
            assert await line.says_next() == {"stop": True}
            line.close()


@pytest.mark.parametrize(
    "notice", [None, {}, {"job": 1}, {"counted": 1}, {"stale": "one"}, {"job": 1, "id": "a", "attempt": 1}], ids=str
)
async def test_what_is_no_notice_is_an_error(notice: Any) -> None:
    async with scripted() as (client, queue), anyio.create_task_group() as tasks:

        async def run() -> None:
            async with client.jobs() as work:
                for _ in range(2):
                    with pytest.raises(JobLost) as caught:
                        await anext(work)
                    assert isinstance(caught.value.cause, MessageTypeError)

        with anyio.fail_after(PATIENCE):
            tasks.start_soon(run)
            line = await queue.line()
            await line.notices.send(notice)
            await line.notices.wait_closed()
            line.close()


async def test_a_job_that_was_not_asked_for_is_an_error() -> None:
    async with scripted() as (client, queue), client.jobs() as work:
        line = await queue.line()
        await line.give(1)
        await settle()
        with anyio.fail_after(PATIENCE), pytest.raises(JobLost):
            await anext(work)
        line.close()


async def test_a_queue_that_takes_no_worker_says_why() -> None:
    async with scripted() as (client, queue), client.jobs() as work:
        (await queue.request("work"))["answer"].fail("not-allowed")
        for _ in range(2):
            with anyio.fail_after(PATIENCE), pytest.raises(JobRefused, match="not-allowed"):
                await anext(work)
