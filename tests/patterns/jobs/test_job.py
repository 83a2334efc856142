"""A job in the hands of its worker: one outcome, however its block is left; and when it is stale."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from chanlink import ChannelClosed, EncodeError, JobLost, MessageTooLarge, MessageTypeError, pipe
from chanlink.patterns import Job
from chanlink.patterns.jobs.payloads import pack
from tests.channels.pairs import settle
from tests.patience import PATIENCE, until

from .scripted import Line, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@asynccontextmanager
async def given(result_type: Any = Any, **entries: Any) -> AsyncGenerator[tuple[Job[Any, Any], Line], None]:
    """A job of key 1 that a worker has taken out, and the queue's side of it."""
    with anyio.fail_after(PATIENCE):
        async with scripted(Any, result_type) as (client, queue), client.jobs() as work:
            lines: list[Line] = []

            async def give() -> None:
                lines.append(await queue.line())
                assert await lines[0].says_next() == {"ask": 1}
                await lines[0].give(1, "value", **entries)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give)
                job = await anext(work)
            yield job, lines[0]
            lines[0].close()


async def test_what_a_worker_sees_of_it() -> None:
    async with given(attempt=3) as (job, _):
        assert (job.id, job.value, job.attempt, job.attached, job.stale) == ("job-1", "value", 3, None, False)


@pytest.mark.parametrize("word", ["counted", "stale"])
async def test_done_says_whether_it_counts(word: str) -> None:
    async with given() as (job, line), anyio.create_task_group() as tasks:
        counted: list[bool] = []

        async def run() -> None:
            async with job:
                counted.append(await job.done("result"))

        tasks.start_soon(run)
        assert await line.says_next() == {"done": 1, "result": pack("result")}
        await line.tell(**{word: 1})
        with anyio.fail_after(PATIENCE):
            while not counted:
                await anyio.sleep(0.001)
        assert counted == [word == "counted"]
        assert job.stale == (word == "stale")


class Broken(Exception):
    pass


@pytest.mark.parametrize(("attempt", "pause"), [(1, 1), (2, 2), (5, 16), (7, 60), (5_000, 60)])
async def test_a_block_that_an_exception_leaves_is_a_retry_with_a_growing_pause(attempt: int, pause: float) -> None:
    async with given(attempt=attempt) as (job, line):
        with pytest.raises(Broken):
            async with job:
                raise Broken("not for everybody")
        assert await line.says_next() == {"again": 1, "after": pause, "code": "broken", "text": ""}


async def test_a_block_that_is_left_without_a_word_is_one_too() -> None:
    async with given() as (job, line):
        async with job:
            pass
        assert await line.says_next() == {"again": 1, "after": 1.0, "code": "no-outcome", "text": ""}


async def test_one_that_is_cancelled_is_given_back_at_once() -> None:
    async with given() as (job, line):
        with anyio.CancelScope() as scope:
            async with job:
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert await line.says_next() == {"again": 1, "after": 0.0, "code": "cancelled", "text": ""}


async def test_a_stale_job_is_cancelled_and_nothing_is_said_of_it() -> None:
    async with given() as (job, line):
        async with job:
            await line.tell(stale=1)
            await anyio.sleep_forever()
        assert job.stale
        assert not await job.done("late")
        with pytest.raises(anyio.WouldBlock):
            line.says.receive_nowait()


async def test_a_job_whose_queue_is_gone_is_cancelled_inside_of_its_block() -> None:
    async with given() as (job, line):
        async with job:
            line.notices.fail("handler-failed")
            await job.done("perhaps")
            raise AssertionError("it is cancelled there")
        assert job.stale


async def test_and_lost_outside() -> None:
    async with given() as (job, line):
        line.notices.fail("handler-failed")
        with pytest.raises(JobLost):
            await job.done("perhaps")


async def test_a_job_that_is_stale_before_its_block_does_not_get_far() -> None:
    async with given() as (job, line):
        await line.tell(stale=1)
        await until(lambda: job.stale)
        async with job:
            await anyio.sleep_forever()
        await job.progress("nobody wants to know")
        with pytest.raises(anyio.WouldBlock):
            line.says.receive_nowait()


async def test_an_outcome_that_was_said_stays_said_when_its_worker_is_cancelled() -> None:
    async with given() as (job, line):
        with anyio.move_on_after(0.01):
            async with job:
                await job.done("result")
        assert await line.says_next() == {"done": 1, "result": pack("result")}
        await line.tell(counted=1)
        await settle()
        with pytest.raises(anyio.WouldBlock):
            line.says.receive_nowait()
        assert not job.stale


async def test_a_block_that_a_result_leaves_which_cannot_be_sent_is_a_retry() -> None:
    async with given() as (job, line):
        with pytest.raises(MessageTooLarge):
            async with job:
                await job.done(bytes(100_000_000))
        said = await line.says_next()
        assert (said["again"], said["code"]) == (1, "message-too-large")


async def test_there_is_one_outcome_only() -> None:
    async with given() as (job, line), anyio.create_task_group() as tasks:
        tasks.start_soon(job.fail, "no-such-page", "17")
        assert await line.says_next() == {"failed": 1, "code": "no-such-page", "text": "17"}
        await line.tell(counted=1)
        for again in (job.done, job.fail, job.progress):
            with pytest.raises(RuntimeError, match="outcome"):
                await again("again")
        with pytest.raises(RuntimeError, match="outcome"):
            await job.retry()


async def test_a_result_that_cannot_be_sent_leaves_the_job_to_its_worker() -> None:
    async with given(int) as (job, line), anyio.create_task_group() as tasks:
        with pytest.raises(MessageTypeError):
            await job.done("three")
        with pytest.raises(EncodeError):
            await job.progress(object())
        tasks.start_soon(job.done, 3)
        assert await line.says_next() == {"done": 1, "result": pack(3)}
        await line.tell(counted=1)


async def test_so_does_one_that_is_too_long() -> None:
    async with given() as (job, line), anyio.create_task_group() as tasks:
        with pytest.raises(MessageTooLarge):
            await job.done(bytes(100_000_000))
        with pytest.raises(MessageTooLarge):
            await job.progress(bytes(100_000_000))
        tasks.start_soon(job.retry, 10)
        assert await line.says_next() == {"again": 1, "after": 10, "code": "retry", "text": ""}
        await line.tell(counted=1)


async def test_progress_is_said_as_it_comes() -> None:
    async with given() as (job, line):
        await job.progress(0.5)
        assert await line.says_next() == {"progress": 1, "value": pack(0.5)}


async def test_ends_that_are_attached_are_closed_with_the_block() -> None:
    sender, receiver = pipe()
    async with given(attached={"out": sender}) as (job, _), receiver:
        async with job:
            await job.attached["out"].send("hello")
        assert await receiver.receive() == "hello"
        with pytest.raises(ChannelClosed):
            await job.attached["out"].send("more")


@pytest.mark.parametrize(
    ("code", "error"), [("", ValueError), ("ü", ValueError), ("x" * 65, ValueError), (1, TypeError)]
)
async def test_codes_are_short_words(code: Any, error: type[Exception]) -> None:
    async with given() as (job, _):
        with pytest.raises(error, match="code"):
            await job.fail(code)
        for after in (-1, float("nan"), 1e9):
            with pytest.raises(ValueError, match="after"):
                await job.retry(after)
