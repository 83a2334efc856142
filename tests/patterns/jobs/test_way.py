"""How requests find the queue: again by the next session, and not for ever by one that lives."""

import gc
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import ChannelFailed, ConnectFailed, EndOfChannel, JobError, JobLost, JobRefused, Receiver, Sender
from chanlink.patterns.jobs import way as ways
from chanlink.patterns.jobs.way import Tries, Way
from tests.patience import PATIENCE, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@pytest.mark.parametrize(
    "error", [JobRefused("queue-full"), JobLost(ChannelFailed("handler-failed")), JobRefused("busy")], ids=str
)
async def test_what_would_be_no_better_is_not_tried_again(error: JobError) -> None:
    with pytest.raises(JobError) as caught:
        await Tries().failed(error)
    assert caught.value is error


@pytest.mark.parametrize("error", [JobRefused("draining"), JobLost(EndOfChannel())], ids=str)
async def test_a_queue_that_stops_is_asked_for_a_while(error: JobError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PAUSE", 0)
    tries = Tries()
    with anyio.fail_after(PATIENCE):
        for _ in range(ways.TRIES):
            await tries.failed(error)
        with pytest.raises(JobError) as caught:
            await tries.failed(error)
        assert type(caught.value) is type(error)
        tries.succeeded()
        await tries.failed(error)


async def test_without_a_session_who_was_there_before_waits_for_the_next_one() -> None:
    Tries(patient=True).no_way(ConnectFailed("no session within 10 s"))
    with pytest.raises(JobRefused, match="no-session"):
        Tries().no_way(ConnectFailed("no session within 10 s"))


class Waits:
    """A link, as it were: whoever opens a channel waits for a session first."""

    def __init__(self) -> None:
        self.session = anyio.Event()
        self.opened: list[Receiver[Any]] = []

    async def open(self, service: str) -> Sender[Any]:
        await self.session.wait()
        await checkpoint()
        requests, comes = chanlink.pipe()
        self.opened.append(comes)
        return requests


async def test_those_who_wait_for_a_session_have_one_channel_and_each_its_own_patience() -> None:
    link = Waits()
    way = Way(link, "jobs")
    answered = 0

    async def ask() -> None:
        nonlocal answered
        assert await way.answer({"ask": "status"}) == 1
        answered += 1

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
            with anyio.move_on_after(0.01) as hasty:
                await ask()
            assert hasty.cancelled_caught
            link.session.set()
            await until(lambda: link.opened)
            for _ in range(20):
                async with (await link.opened[0].receive())["answer"] as answer:
                    await answer.send(1)
    assert len(link.opened) == 1
    assert answered == 20
    link.opened[0].close()


async def test_a_way_that_is_forgotten_closes_its_channel() -> None:
    link = Waits()
    link.session.set()
    way = Way(link, "jobs")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(way.answer, {"ask": "status"})
        await until(lambda: link.opened)
        async with (await link.opened[0].receive())["answer"] as answer:
            await answer.send(1)
    del way
    gc.collect()
    with anyio.fail_after(PATIENCE), pytest.raises(ChannelFailed, match="abandoned"):
        await link.opened[0].receive()
    link.opened[0].close()
