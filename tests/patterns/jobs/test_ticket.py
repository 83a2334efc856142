"""Tickets: what a submitter hears, whoever waits for it; what is attached; what a queue may not say."""

import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import pytest
from anyio.abc import TaskGroup

import chanlink
from chanlink import (
    ChannelClosed,
    ChannelFailed,
    DecodeError,
    EncodeError,
    JobFailed,
    JobLost,
    JobRefused,
    MessageTypeError,
    Receiver,
    Sender,
)
from chanlink.patterns import QueueClient, Ticket
from chanlink.patterns.jobs.payloads import pack
from tests.channels.pairs import settle
from tests.patience import PATIENCE, until

from .scripted import ScriptedQueue, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


class Submitted(NamedTuple):
    """A ticket, and the queue's end of it."""

    ticket: Ticket[Any]
    answer: Sender[Any]
    queue: ScriptedQueue
    tasks: TaskGroup

    def say(self, *messages: Any) -> None:
        """The queue says this, and ends the ticket."""
        self.tasks.start_soon(_say, self.answer, messages)


async def _say(answer: Sender[Any], messages: tuple[Any, ...]) -> None:
    async with answer:
        for message in messages:
            await answer.send(message)


@asynccontextmanager
async def submitted(result_type: Any = Any, **options: Any) -> AsyncGenerator[Submitted, None]:
    """A job that is submitted to a scripted queue."""
    tickets: list[Ticket[Any]] = []

    async def submit(client: QueueClient[Any, Any]) -> None:
        tickets.append(await client.submit("job", id="one", **options))

    with anyio.fail_after(PATIENCE):
        async with scripted(Any, result_type) as (client, queue):
            async with anyio.create_task_group() as submitting:
                submitting.start_soon(submit, client)
                answer = await queue.ticket()
            async with anyio.create_task_group() as tasks:
                yield Submitted(tickets[0], answer, queue, tasks)
                tickets[0].close()
                answer.close()
                tasks.cancel_scope.cancel()


# --- outcomes and progress ------------------------------------------------------------------------


async def test_a_result_comes_as_often_as_it_is_asked_for() -> None:
    async with submitted() as job:
        assert (job.ticket.id, job.ticket.new) == ("one", True)
        job.say({"attempt": 1}, {"done": pack([1, 2])})
        assert await job.ticket.result() == [1, 2]
        assert await job.ticket.result() == [1, 2]
        job.ticket.close()
        assert await job.ticket.result() == [1, 2]
        assert "done" in repr(job.ticket)


async def test_a_failure_comes_as_often_as_it_is_asked_for() -> None:
    async with submitted() as job:
        job.say({"failed": "no-such-page", "text": "17", "attempt": 3})
        for _ in range(2):
            with pytest.raises(JobFailed) as caught:
                await job.ticket.result()
            assert (caught.value.code, caught.value.text, caught.value.attempt) == ("no-such-page", "17", 3)


async def test_all_who_wait_hear_of_it_also_when_the_one_who_takes_is_cancelled() -> None:
    async with submitted() as job:
        results: list[Any] = []
        values: list[Any] = []

        async def wait() -> None:
            results.append(await job.ticket.result())

        async def follow() -> None:
            values.extend([value async for value in job.ticket.progress()])

        async with anyio.create_task_group() as waiting:
            scope = anyio.CancelScope()

            async def take() -> None:
                with scope:
                    await wait()

            waiting.start_soon(take)
            await settle()
            waiting.start_soon(wait)
            waiting.start_soon(follow)
            await settle()
            scope.cancel()
            await settle()
            job.say({"attempt": 1, "progress": pack(0.5)}, {"done": pack("result")})
        assert results == ["result"]
        assert values == [0.5]


async def test_progress_ends_with_the_outcome_and_says_nothing_of_it() -> None:
    async with submitted() as job:
        job.say({"attempt": 1, "progress": pack(1)}, {"failed": "cancelled", "text": "", "attempt": 1})
        assert [value async for value in job.ticket.progress()] == [1]
        assert [value async for value in job.ticket.progress()] == [1], "who comes later sees the newest one"
        with pytest.raises(JobFailed, match="cancelled"):
            await job.ticket.result()


async def test_a_timeout_loses_nothing() -> None:
    async with submitted() as job:
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await job.ticket.result()
        job.say({"done": pack(1)})
        assert await job.ticket.result() == 1


async def test_a_result_that_is_not_of_the_type_is_the_error_that_it_is() -> None:
    async with submitted(int) as job:
        job.say({"done": pack("three")})
        for _ in range(2):
            with pytest.raises(MessageTypeError):
                await job.ticket.result()


async def test_a_result_that_is_no_message_is_the_error_that_it_is() -> None:
    async with submitted() as job:
        job.say({"done": b"\xc1"})
        with pytest.raises(DecodeError):
            await job.ticket.result()


async def test_progress_that_is_no_message_is_an_error_once() -> None:
    async with submitted() as job:
        job.say({"attempt": 1, "progress": b"\xc1"}, {"done": pack(1)})
        values = job.ticket.progress()
        with pytest.raises(DecodeError):
            await anext(values)
        assert [value async for value in values] == []


# --- closing --------------------------------------------------------------------------------------


async def test_a_ticket_that_is_closed_tells_who_waits_and_the_queue() -> None:
    async with submitted() as job:
        async with anyio.create_task_group() as waiting:

            async def wait() -> None:
                with pytest.raises(ChannelClosed):
                    await job.ticket.result()

            waiting.start_soon(wait)
            waiting.start_soon(wait)
            await settle()
            job.ticket.close()
        assert isinstance(await job.answer.wait_closed(), chanlink.ChannelRefused)
        assert "closed" in repr(job.ticket)


async def test_a_block_closes_its_ticket() -> None:
    async with submitted() as job:
        async with job.ticket as ticket:
            assert ticket is job.ticket
        await job.answer.wait_closed()


async def test_a_ticket_may_be_forgotten() -> None:
    async with scripted() as (client, queue), anyio.create_task_group() as tasks:

        async def submit() -> None:
            await client.submit("job")

        tasks.start_soon(submit)
        answer = await queue.ticket()
        gc.collect()
        with anyio.fail_after(PATIENCE):
            await answer.wait_closed()
        answer.close()


async def test_cancel_asks_the_queue() -> None:
    async with submitted() as job, anyio.create_task_group() as tasks:
        words: list[str] = []

        async def cancel() -> None:
            words.append(await job.ticket.cancel())

        tasks.start_soon(cancel)
        request = await job.queue.request("cancel")
        assert request["id"] == "one"
        async with request["answer"] as answer:
            await answer.send("done")
        await until(lambda: words == ["done"])


# --- what is attached -----------------------------------------------------------------------------


async def asked(job: Submitted, attempt: int) -> Receiver[Any]:
    """The queue asks for what is attached."""
    wants, comes = chanlink.pipe()
    await job.answer.send({"attempt": attempt, "attach": wants})
    return comes


def attached(attempt: int) -> dict[str, int]:
    return {"attempt": attempt}


async def attached_later(attempt: int) -> dict[str, int]:
    await settle()
    return attached(attempt)


@pytest.mark.parametrize("attach", [attached, attached_later], ids=lambda attach: attach.__name__)
async def test_what_is_attached_is_asked_for_by_attempt(attach: Callable[[int], Any]) -> None:
    async with submitted(attach=attach) as job, job.ticket:
        for attempt in (1, 2):
            async with await asked(job, attempt) as comes:
                assert [item async for item in comes] == [{"attempt": attempt}]


async def test_ends_are_attached() -> None:
    ends: list[Receiver[Any]] = []

    def attach(attempt: int) -> Sender[Any]:
        sender, receiver = chanlink.pipe()
        ends.append(receiver)
        return sender

    async with submitted(attach=attach) as job, job.ticket:
        async with await asked(job, 1) as comes, await comes.receive() as sender:
            await sender.send("hello")
        async with ends[0] as receiver:
            assert await receiver.receive() == "hello"


async def test_who_waits_gives_what_is_attached_also_after_a_timeout() -> None:
    calls: list[int] = []
    go = anyio.Event()

    async def attach(attempt: int) -> str:
        calls.append(attempt)
        await go.wait()
        return "given"

    async with submitted(attach=attach) as job, await asked(job, 1) as comes:
        with anyio.move_on_after(0.05):
            await job.ticket.result()
        go.set()
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(job.ticket.result)
            assert await comes.receive() == "given"
            job.say({"done": pack(None)})
        assert set(calls) == {1}


async def test_an_attempt_that_is_over_meanwhile_wants_nothing() -> None:
    sender, receiver = chanlink.pipe()
    async with submitted(attach=lambda attempt: sender) as job, receiver:
        (await asked(job, 1)).close()
        job.say({"done": pack("by another one")})
        assert await job.ticket.result() == "by another one"
        with pytest.raises(ChannelFailed, match="stale"):
            await receiver.receive()


async def test_the_function_is_cancelled_when_its_attempt_is_over() -> None:
    began, cancelled = anyio.Event(), anyio.Event()

    async def attach(attempt: int) -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with submitted(attach=attach) as job, job.ticket:
        async with await asked(job, 1):
            await began.wait()
        await cancelled.wait()
        job.say({"done": pack("by another one")})
        assert await job.ticket.result() == "by another one"


async def test_what_the_function_raises_goes_on_and_fails_the_attempt() -> None:
    def attach(attempt: int) -> None:
        raise FileNotFoundError("scan.png")

    async with submitted(attach=attach) as job, await asked(job, 1) as comes:
        with pytest.raises(FileNotFoundError):
            await job.ticket.result()
        with pytest.raises(ChannelFailed, match="file-not-found-error"):
            await comes.receive()
        job.say({"done": pack("another attempt")})
        assert await job.ticket.result() == "another attempt"


async def test_out_of_a_block_it_goes_in_a_group() -> None:
    def attach(attempt: int) -> None:
        raise FileNotFoundError("scan.png")

    async with submitted(attach=attach) as job, await asked(job, 1) as comes:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with job.ticket:
                await anyio.sleep_forever()
        assert caught.value.subgroup(FileNotFoundError) is not None
        with pytest.raises(ChannelFailed, match="file-not-found-error"):
            await comes.receive()


async def test_what_cannot_be_sent_fails_the_attempt() -> None:
    async with submitted(attach=lambda attempt: object()) as job, await asked(job, 1) as comes:
        with pytest.raises(EncodeError):
            await job.ticket.result()
        with pytest.raises(ChannelFailed, match="encode-error"):
            await comes.receive()


async def test_a_block_without_anything_attached_starts_no_task() -> None:
    async with submitted() as job:
        before = len(anyio.get_running_tasks())
        async with job.ticket:
            assert len(anyio.get_running_tasks()) == before


async def test_a_ticket_that_was_to_give_something_is_not_forgotten_in_silence() -> None:
    async with scripted() as (client, queue), anyio.create_task_group() as tasks:

        async def submit() -> None:
            ticket = await client.submit("job", attach=attached)
            with pytest.warns(ResourceWarning, match="attached"):
                del ticket

        tasks.start_soon(submit)
        answer = await queue.ticket()
        with anyio.fail_after(PATIENCE):
            await answer.wait_closed()
        answer.close()


# --- what a queue may not say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        None,
        {},
        {"done": "text"},
        {"failed": "code"},
        {"failed": 1, "text": "", "attempt": 1},
        {"attempt": "one"},
        {"attempt": 1, "progress": 1},
        {"attempt": 1, "attach": 1},
        {"attempt": 1, "unknown": 1},
    ],
    ids=str,
)
async def test_what_is_no_ticket_is_an_error(message: Any) -> None:
    async with submitted() as job:
        job.say(message)
        with pytest.raises(JobLost) as caught:
            await job.ticket.result()
        assert isinstance(caught.value.cause, MessageTypeError)


async def test_nobody_is_asked_for_what_was_not_attached() -> None:
    async with submitted() as job, await asked(job, 1) as comes:
        with pytest.raises(JobLost):
            await job.ticket.result()
        with pytest.raises(ChannelFailed, match="not-taken"):
            await comes.receive()


@pytest.mark.parametrize(
    "first",
    [None, [], {}, {"state": "odd", "attempt": 0, "new": True}, {"state": "done", "attempt": True, "new": True}],
    ids=str,
)
async def test_what_does_not_begin_as_a_ticket_is_an_error(first: Any) -> None:
    async with scripted() as (client, queue), anyio.create_task_group() as tasks:

        async def submit() -> None:
            with pytest.raises(JobLost) as caught:
                await client.submit("job")
            assert isinstance(caught.value.cause, MessageTypeError)

        tasks.start_soon(submit)
        async with (await queue.request("submit"))["answer"] as answer:
            await answer.send(first)


async def test_a_ticket_that_ends_without_an_outcome_is_asked_for_again_and_lost_at_last() -> None:
    async with submitted() as job:
        job.answer.close()
        async with anyio.create_task_group() as waiting:

            async def wait() -> None:
                with pytest.raises(JobRefused, match="unknown-job"):
                    await job.ticket.result()

            waiting.start_soon(wait)
            request = await job.queue.request("submit")
            assert (request["id"], request["job"]) == ("one", pack("job"))
            request["answer"].fail("unknown-job")
