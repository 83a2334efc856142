"""Clones of a sender from inside: whose messages come first, which reason stays, what `statistics` shows.

The conformance suite has the rules that can be seen from outside, over every route.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed, ChannelRefused, EndOfChannel, Receiver, Sender, SessionLost
from chanlink.testing.promises import eventually
from tests.conformance.routes import Route, memory, one_relay, session

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

three_routes = pytest.mark.parametrize("route", [memory, session, one_relay], ids=lambda one: one.__name__)
every_session = pytest.mark.parametrize("route", [session, one_relay], ids=lambda one: one.__name__)


@asynccontextmanager
async def two_links() -> AsyncIterator[tuple[Any, Any]]:
    """Two other processes, each with a session of its own."""
    async with session() as one, session() as two:
        yield one, two


async def read(receiver: Receiver[Any]) -> list[Any]:
    return [message async for message in receiver]


# --- order ------------------------------------------------------------------------------------------


@three_routes
@pytest.mark.parametrize("capacity", [None, 3, 1])
async def test_a_clone_that_moves_with_messages_waiting_keeps_its_order(route: Route, capacity: Any) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = places.pipe(capacity)
        clone = places.keep(sender.clone())
        waiting = 1 if capacity == 1 else 2
        for n in range(waiting):
            clone.send_nowait(["clone", n])
        if capacity != 1:
            sender.send_nowait(["sender", 0])
        there = await places.carry(clone)
        received: list[Any] = []

        async def go_on(name: str, one: Sender[Any], start: int) -> None:
            async with one:
                for n in range(start, 30):
                    await one.send([name, n])

        tasks.start_soon(go_on, "clone", there, waiting)
        await places.settle()  # what it sends now must not overtake
        tasks.start_soon(go_on, "sender", sender, 1 if capacity != 1 else 0)
        received = await read(receiver)
        for name in ("clone", "sender"):
            assert [n for one, n in received if one == name] == list(range(30))


async def test_clones_that_went_to_two_processes_and_one_that_stayed_each_keep_their_order() -> None:
    async with two_links() as (one, two), anyio.create_task_group() as tasks:
        sender, receiver = chanlink.pipe()
        clones = [sender, sender.clone(), sender.clone()]
        for name, clone in enumerate(clones):
            for n in range(5):
                clone.send_nowait([name, n])
        clones[1] = await one.carry(clones[1])
        clones[2] = await two.carry(clones[2])

        async def go_on(name: int) -> None:
            async with clones[name] as clone:
                for n in range(5, 40):
                    await clone.send([name, n])

        for name in range(3):
            tasks.start_soon(go_on, name)
        received = await read(receiver)
        for name in range(3):
            assert [n for other, n in received if other == name] == list(range(40))


async def test_a_receiver_that_moves_between_its_clones_in_other_processes_is_followed_by_all() -> None:
    """One clone is away, one is here, and now the receiver leaves for a third process: a relay and a rebinding."""
    async with two_links() as (one, two), anyio.create_task_group() as tasks:
        sender, receiver = chanlink.pipe()
        clones = [sender, await one.carry(sender.clone())]
        for n in range(3):
            for name, clone in enumerate(clones):
                await clone.send([name, n])
        await one.settle()
        there = await two.carry(receiver)

        async def go_on(name: int) -> None:
            async with clones[name] as clone:
                for n in range(3, 40):
                    await clone.send([name, n])

        for name in range(2):
            tasks.start_soon(go_on, name)
        received = await read(there)
        for name in range(2):
            assert [n for other, n in received if other == name] == list(range(40))


# --- the end ----------------------------------------------------------------------------------------


@three_routes
async def test_the_first_failure_wins_and_an_orderly_end_does_not_hide_it(route: Route) -> None:
    async with route() as places:
        sender, receiver = places.pipe()
        clones = [places.keep(sender.clone()) for _ in range(3)]
        away = await places.carry(clones.pop())
        clones[0].fail("first", "text")
        clones[0].fail("not this")
        clones[1].close()
        away.fail("second")
        await places.settle()
        await sender.send("still open")
        assert await receiver.receive() == "still open"
        assert receiver.statistics().failure.code == "first"
        sender.close()
        for _ in range(2):
            with pytest.raises(ChannelFailed) as caught:
                await receiver.receive()
            assert (caught.value.code, caught.value.text) == ("first", "text")


async def test_a_failure_before_the_receiver_moves_goes_with_it() -> None:
    async with session() as places:
        sender, receiver = places.pipe()
        clone = places.keep(sender.clone())
        clone.send_nowait("before")
        clone.fail("early")
        there = await places.carry(receiver)
        await sender.send("after")
        sender.close()
        assert [await there.receive() for _ in range(2)] == ["before", "after"]
        with pytest.raises(ChannelFailed, match="early"):
            await there.receive()


async def test_the_lost_session_of_one_clone_is_seen_before_the_end_by_statistics_and_at_the_end_by_all() -> None:
    async with two_links() as (one, two):
        sender, receiver = chanlink.pipe()
        lost, well = await one.carry(sender.clone()), await two.carry(sender.clone())
        await lost.send("arrived before")
        await one.settle()
        assert await receiver.receive() == "arrived before"
        assert receiver.statistics().failure is None
        assert receiver.statistics().feeds == 3
        await one.cut()
        with pytest.raises(SessionLost):
            await lost.send("never")
        await well.send("from the other process")
        assert await receiver.receive() == "from the other process"
        await sender.send("from here")
        assert await receiver.receive() == "from here"
        with pytest.raises(anyio.WouldBlock):
            receiver.receive_nowait()
        assert isinstance(receiver.statistics().failure, SessionLost)
        assert receiver.statistics().feeds == 2
        well.fail("later")
        sender.close()
        with pytest.raises(SessionLost) as caught:
            await receiver.receive()
        assert caught.value.taken == 3


@every_session
async def test_the_channel_waits_for_a_clone_that_lies_in_a_message_which_nobody_took(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        carrier, carried = await places.channel()
        sender, receiver = places.pipe()
        await carrier.send(places.keep(sender.clone()))
        sender.close()
        ended: list[Exception] = []

        async def wait() -> None:
            try:
                await receiver.receive()
            except chanlink.ChannelError as exc:
                ended.append(exc)

        tasks.start_soon(wait)
        await places.settle()
        assert ended == []
        carried.close()
        await eventually(lambda: ended)
        assert isinstance(ended[0], ChannelFailed)
        assert ended[0].code == "not-taken"


async def test_a_clone_counts_once_however_often_it_is_closed() -> None:
    sender, receiver = chanlink.pipe()
    clone = sender.clone()
    for _ in range(3):
        clone.close()
        clone.fail("too late")
    assert sender.statistics().senders == 1
    assert sender.statistics().failure is None
    sender.send_nowait("still open")
    sender.close()
    assert await read(receiver) == ["still open"]


@three_routes
async def test_a_clone_that_leaves_after_the_receiver_was_closed_arrives_refused(route: Route) -> None:
    async with route() as places:
        sender, receiver = places.pipe()
        clone = places.keep(sender.clone())
        receiver.close("enough")
        there = await places.carry(clone)
        reason = await there.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert (reason.code, reason.reason) == ("closed", "enough")
        sender.close()


# --- flow -------------------------------------------------------------------------------------------


async def test_clones_in_one_process_share_the_capacity_and_each_other_process_has_its_own() -> None:
    async with session() as places:
        sender, receiver = places.pipe(2)
        here = places.keep(sender.clone())
        there = await places.carry(places.keep(sender.clone()))
        there_too = places.keep(there.clone())
        for one, other in ((sender, here), (there, there_too)):
            one.send_nowait(1)
            other.send_nowait(2)
            for full in (one, other):
                with pytest.raises(anyio.WouldBlock):
                    full.send_nowait(3)
        await places.settle()
        assert sorted([await receiver.receive() for _ in range(4)]) == [1, 1, 2, 2]
        await there_too.flush()
        await here.flush()
        for one in (sender, here, there, there_too):
            one.close()
        with pytest.raises(EndOfChannel):
            await receiver.receive()


@three_routes
async def test_statistics_of_the_senders_here_are_counted_together(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(2)
        clone = places.keep(sender.clone())
        assert sender.statistics()[:2] == (0, 0)
        assert sender.statistics().senders == 2
        sender.send_nowait("one")
        clone.send_nowait("two")
        for one in (sender, clone):
            tasks.start_soon(one.send, "waits")
        await places.settle()
        for one in (sender, clone):
            statistics = one.statistics()
            assert (statistics.sent, statistics.taken, statistics.waiting, statistics.failure) == (2, 0, 2, None)
        assert [await receiver.receive() for _ in range(4)] == ["one", "two", "waits", "waits"]
        await clone.flush()
        clone.fail("code", "text")
        statistics = sender.statistics()
        assert (statistics.sent, statistics.taken, statistics.waiting, statistics.senders) == (4, 4, 0, 1)
        assert isinstance(statistics.failure, ChannelFailed)
        assert statistics.failure.code == "code"
        assert receiver.statistics()[0] == 4


async def test_a_sender_that_tells_text_has_clones_that_do() -> None:
    sender, receiver = chanlink.pipe()
    sender.tell_text = True
    clone = sender.clone()
    sender.close()
    with pytest.raises(RuntimeError):
        async with clone:
            raise RuntimeError("said")
    with pytest.raises(ChannelFailed) as caught:
        await receiver.receive()
    assert (caught.value.code, caught.value.text) == ("runtime-error", "said")
