"""The state of a work channel: what is asked for beside what is said, and what waits for room."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelClosed, JobLost, Receiver
from chanlink.patterns.jobs.payloads import pack
from chanlink.patterns.jobs.work_channel import WorkChannel
from tests.channels.pairs import settle
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@contextmanager
def work_channel(slots: int, room: int = 100) -> Iterator[tuple[WorkChannel, Receiver[Any]]]:
    """One task waits for jobs all the time."""
    sender, says = chanlink.pipe(room)
    yield WorkChannel(sender, slots, Any, Any, lambda: 1), says
    sender.close()
    says.close()


def all_said(says: Receiver[Any]) -> list[Any]:
    """What was said, up to now."""
    said = []
    while True:
        try:
            said.append(says.receive_nowait())
        except anyio.WouldBlock:
            return said


def notice(key: int) -> dict[str, Any]:
    return {"job": key, "id": f"job-{key}", "attempt": 1, "payload": pack(key)}


def outcome(key: int) -> dict[str, Any]:
    return {"done": key, "result": b""}


async def test_no_more_is_asked_for_than_slots_are_free() -> None:
    with work_channel(3) as (channel, says):
        channel.ask()
        channel.ask()
        assert all_said(says) == [{"ask": 1}]
        channel.take(notice(1))
        first = channel.ready.popleft()
        channel.ask()
        assert all_said(says) == [{"ask": 2}]
        channel.take(notice(2))
        channel.take(notice(3))
        channel.ready.clear()
        channel.ask()
        assert all_said(says) == []
        channel.say_outcome(first, outcome(1))
        assert all_said(says) == [outcome(1) | {"ask": 1}]


async def test_a_queue_that_does_not_answer_is_not_asked_for_ever_more() -> None:
    with work_channel(2) as (channel, says):
        key = 0
        channel.ask()
        while asked := sum(one.get("ask", 0) for one in all_said(says)):
            for _ in range(asked):
                key += 1
                channel.take(notice(key))
                channel.say_outcome(channel.ready.popleft(), outcome(key))
            channel.ask()
            assert key <= 4


async def test_what_has_no_room_leaves_later_in_its_order() -> None:
    with work_channel(3, room=1) as (channel, says):
        channel.ask()
        channel.take(notice(1))
        first = channel.ready.popleft()
        assert await says.receive() == {"ask": 1}
        channel.ask()
        channel.take(notice(2))
        channel.say_outcome(first, outcome(1))
        channel.say_outcome(channel.ready.popleft(), outcome(2))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(channel.send_rest)
            with anyio.fail_after(PATIENCE):
                said = [await says.receive() for _ in range(3)]
                await settle()
                said += all_said(says)
            tasks.cancel_scope.cancel()
        assert [one["done"] for one in said if "done" in one] == [1, 2]
        assert said[0] == {"ask": 2}


async def test_a_key_that_is_stale_twice_does_no_harm() -> None:
    with work_channel(1) as (channel, says):
        channel.ask()
        channel.take(notice(1))
        job = channel.ready.popleft()
        channel.say_outcome(job, outcome(1))
        channel.take({"stale": 1})
        channel.take({"stale": 1})
        assert job.stale
        with pytest.raises(JobLost):
            channel.take({"counted": 1})
        all_said(says)


async def test_what_is_stale_before_anybody_took_it_out_does_not_come() -> None:
    with work_channel(1) as (channel, says):
        channel.ask()
        channel.take(notice(1))
        channel.take({"stale": 1})
        assert not channel.ready
        assert all_said(says) == [{"ask": 1}, {"ask": 1}]


async def test_what_comes_after_stop_goes_back() -> None:
    with work_channel(1) as (channel, says):
        channel.ask()
        channel.stop()
        channel.stop()
        channel.take(notice(1))
        assert all_said(says)[1:] == [{"stop": True}, {"again": 1, "after": 0.0, "code": "not-taken", "text": ""}]


async def test_the_jobs_of_a_lost_channel_are_stale() -> None:
    with work_channel(1) as (channel, says):
        channel.ask()
        channel.take(notice(1))
        job = channel.ready.popleft()
        channel.is_lost(ChannelClosed("gone"))
        assert job.stale
        assert not await job.done(1)
        channel.ask()
        assert all_said(says) == [{"ask": 1}]
