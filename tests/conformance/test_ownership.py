"""Ends in messages: lent until the message is accepted, moved then, given back when it is not."""

from typing import Any

import anyio
import pytest

from chanlink import (
    ChannelClosed,
    ChannelFailed,
    ChannelMoved,
    ChannelRefused,
    EncodeError,
    EndOfChannel,
    LimitReached,
    Limits,
    Session,
)

from .routes import Route, every_direct_session, every_route, every_session

pytestmark = pytest.mark.anyio


# --- moving -----------------------------------------------------------------------------------------


@every_route
@pytest.mark.parametrize("kind", ["sender", "receiver", "byte stream"])
async def test_an_end_that_was_sent_has_moved(route: Route, kind: str) -> None:
    async with route() as places:
        sender, _receiver = await places.channel()
        one, other = places.byte_pipe() if kind == "byte stream" else places.pipe()
        leaving, use = {
            "sender": (one, lambda: one.send(1)),
            "receiver": (other, other.receive),
            "byte stream": (other, other.receive),
        }[kind]
        await sender.send([leaving])
        with pytest.raises(ChannelMoved):
            await use()
        with pytest.raises(ChannelMoved):
            await sender.send([leaving])
        leaving.close()  # harmless


@every_route
async def test_tasks_that_wait_on_an_end_see_that_it_moved(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe(1)
        two, other_two = places.pipe()
        await one.send("fills the channel")
        moved: list[str] = []

        async def wait(name: str, function: Any, *args: Any) -> None:
            with pytest.raises(ChannelMoved):
                await function(*args)
            moved.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, "send", one.send, "waits")
            tasks.start_soon(wait, "wait_closed", one.wait_closed)
            tasks.start_soon(wait, "receive", other_two.receive)
            await places.settle()
            await sender.send([one, other_two])
        assert sorted(moved) == ["receive", "send", "wait_closed"]
        there, there_two = places.keep(await receiver.receive())
        assert await other.receive() == "fills the channel"
        await there.send("by its new owner")
        assert await other.receive() == "by its new owner"
        await two.send("to its new owner")
        assert await there_two.receive() == "to its new owner"


@every_route
async def test_tasks_that_wait_at_the_end_that_stays_wait_on(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe(1)
        two, other_two = places.pipe()
        received: list[Any] = []

        async def receive() -> None:
            received.append(await other_two.receive())

        await one.send("fills the channel")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.send, "waits")
            tasks.start_soon(one.flush)
            tasks.start_soon(receive)
            await places.settle()
            await sender.send([other, two])
            there, there_two = places.keep(await receiver.receive())
            assert [await there.receive(), await there.receive()] == ["fills the channel", "waits"]
            await there_two.send("to whoever waits")
        assert received == ["to whoever waits"]


@every_route
async def test_both_ends_of_a_channel_may_move_one_after_the_other(route: Route) -> None:
    async with route() as places:
        one, other = places.pipe()
        await one.send("in it")
        far_receiver = await places.carry(other)
        far_sender = await places.carry(one)
        await far_sender.send("by the far sender")
        far_sender.close()
        assert [message async for message in far_receiver] == ["in it", "by the far sender"]


@every_route
@pytest.mark.parametrize("kind", ["sender", "receiver", "byte stream"])
async def test_an_end_that_comes_home_works(route: Route, kind: str) -> None:
    async with route() as places:
        one, other = places.byte_pipe() if kind == "byte stream" else places.pipe()
        for _ in range(2):
            if kind == "sender":
                one = await places.carry(await places.carry(one), back=True)
            else:
                other = await places.carry(await places.carry(other), back=True)
        data: Any = b"around" if kind == "byte stream" else "around"
        await one.send(data)
        assert await other.receive() == data
        await one.aclose()
        with pytest.raises(EndOfChannel):
            await other.receive()


@every_route
async def test_a_failure_crosses_to_where_the_end_went(route: Route) -> None:
    async with route() as places:
        one, other = places.pipe()
        there = await places.carry(other)
        home = await places.carry(there, back=True)
        await one.send("before")
        one.fail("disk-full", "text")
        assert await home.receive() == "before"
        with pytest.raises(ChannelFailed) as caught:
            await home.receive()
        assert (caught.value.code, caught.value.text) == ("disk-full", "text")


@every_route
async def test_a_refusal_crosses_to_where_the_end_went(route: Route) -> None:
    async with route() as places:
        one, other = places.pipe()
        home = await places.carry(await places.carry(one), back=True)
        other.refuse("quota", "10 a day")
        reason = await home.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert (reason.code, reason.reason) == ("quota", "10 a day")


# --- lending ----------------------------------------------------------------------------------------


@every_route
async def test_an_end_is_lent_while_its_message_waits_and_still_works(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel(1)
        one, other = places.pipe()
        await sender.send("fills the channel")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.send, one)
            await places.settle()
            await one.send("still works here")
            assert await other.receive() == "still works here"
            with pytest.raises(anyio.BusyResourceError):
                await sender.send([one])
            assert await receiver.receive() == "fills the channel"
            there = places.keep(await receiver.receive())
        await there.send("and there")
        assert await other.receive() == "and there"


@every_route
@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_a_message_that_was_not_accepted_gives_its_ends_back(route: Route, how: str) -> None:
    async with route() as places:
        sender, receiver = await places.channel(1)
        one, other = places.pipe()
        await sender.send("fills the channel")
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                try:
                    await sender.send({"end": one})
                except ChannelRefused:
                    assert how == "refused"

            tasks.start_soon(send)
            await places.settle()
            if how == "refused":
                receiver.close()
            else:
                tasks.cancel_scope.cancel()
        await one.send("still ours")
        assert await other.receive() == "still ours"
        moved = await places.carry(one)
        await moved.send("and can be sent")
        assert await other.receive() == "and can be sent"


# --- refused by the sender --------------------------------------------------------------------------


@every_route
async def test_the_same_end_twice_in_a_message_is_refused_by_path(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe()
        with pytest.raises(EncodeError) as caught:
            await sender.send({"args": [one, {"body": one}]})
        assert caught.value.path == "args[1].body"
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send("and the channel goes on")
        assert await receiver.receive() == "and the channel goes on"


@every_route
async def test_a_closed_end_in_a_message_is_refused_and_the_others_stay_ours(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe()
        closed, _ = places.pipe()
        closed.close()
        with pytest.raises(ChannelClosed):
            await sender.send([one, closed])
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send("and the channel goes on")
        assert await receiver.receive() == "and the channel goes on"


@every_session
async def test_what_cannot_be_sent_is_named_by_its_path_and_nothing_moves(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe()
        before = places.near.statistics().channels
        with pytest.raises(EncodeError) as caught:
            await sender.send({"reply": one, "args": [1, 2, {"body": object()}]})
        assert caught.value.path == "args[2].body"
        assert places.near.statistics().channels == before
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send({"reply": one})
        await places.keep(await receiver.receive())["reply"].send("moved")
        assert await other.receive() == "moved"


@every_direct_session
async def test_ends_over_the_limit_of_open_channels_stay_ours_and_no_stream_is_opened(route: Route) -> None:
    async with route(Limits(open_channels=5)) as places:
        sender, receiver = await places.channel()
        ends = [places.pipe() for _ in range(5)]
        before = places.near.statistics().channels
        with pytest.raises(LimitReached) as caught:
            await sender.send([one for one, _ in ends])
        assert caught.value.limit == "open_channels"
        assert places.near.statistics().channels == before
        for one, other in ends:
            await one.send("still ours")
            assert await other.receive() == "still ours"
        await sender.send(ends[0][0])
        await places.keep(await receiver.receive()).send("moved")
        assert await ends[0][1].receive() == "moved"


# --- nobody took it ---------------------------------------------------------------------------------


@every_route
async def test_ends_in_messages_that_nobody_took_are_refused(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        reply, replies = places.pipe()
        orders, ordered = places.pipe()
        body, body_there = places.byte_pipe()
        inner, inner_there = places.pipe()
        await inner.send({"reply": reply})  # two levels down
        await sender.send({"inner": inner_there, "orders": ordered, "body": body_there})
        await places.settle()
        receiver.close()
        with pytest.raises(ChannelFailed) as failed:
            await replies.receive()
        assert failed.value.code == "not-taken"
        for end in (orders, body, inner):
            reason = await end.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert reason.code == "not-taken"
        with pytest.raises(ChannelFailed):
            await body.receive()


@every_session
async def test_a_channel_that_nobody_accepted_gives_its_code_to_the_ends_in_its_messages(route: Route) -> None:
    """At any depth, and through relays: the carrier goes on in a message to a service that has no place for it."""
    busy = ("busy", "1 channels wait to be accepted")
    async with route(Limits(unaccepted=1)) as places:
        reply, replies = places.pipe()
        orders, ordered = places.pipe()
        body, body_there = places.byte_pipe()
        inner, inner_there = places.pipe()
        sender, receiver = places.pipe()
        await inner.send({"reply": reply})
        await sender.send({"inner": inner_there, "orders": ordered, "body": body_there})
        for hop in places.hops[:-1]:
            await hop.there[0].send(receiver)
            receiver = places.keep(await hop.there[1].receive())
        last = places.hops[-1]
        places.keep(await last.near.open(last.service))  # which has the only place
        places.keep(await last.near.open(last.service)).send_nowait([receiver])
        for receiving in (replies, body):
            with pytest.raises(ChannelFailed) as failed:
                await receiving.receive()
            assert failed.value.args == busy
        for end in (orders, body, inner, sender):
            reason = await end.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert reason.args == busy


@every_session
async def test_a_top_level_channel_that_nobody_accepts_does_not_block_nested_ones(route: Route) -> None:
    async with route() as places:
        unaccepted = places.keep(await places.near.open(places.hops[0].service))
        with pytest.raises(anyio.WouldBlock):
            while True:
                unaccepted.send_nowait(bytes(1_000))
        sender, receiver = await places.channel()
        one, other = places.pipe()
        await sender.send({"end": other})
        there = places.keep(await receiver.receive())["end"]
        await one.send("it flows")
        assert await there.receive() == "it flows"
        incoming = places.keep(await places.hops[0].far.accept()).end
        assert await incoming.receive() == bytes(1_000)


# --- ends that are over -----------------------------------------------------------------------------


@every_route
async def test_an_end_that_is_over_arrives_so_with_what_was_left_in_it(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        ended, ended_there = places.pipe()
        failed, failed_there = places.pipe()
        refused, gone = places.pipe()
        await ended.send("left behind")
        ended.close()
        failed.fail("broken", "on purpose")
        gone.close("too late")
        await sender.send([ended_there, failed_there, refused])
        end, failure, there = places.keep(await receiver.receive())
        assert [message async for message in end] == ["left behind"]
        with pytest.raises(ChannelFailed) as caught:
            await failure.receive()
        assert (caught.value.code, caught.value.text) == ("broken", "on purpose")
        reason = await there.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.reason == "too late"


@every_route
async def test_closing_the_carrier_does_not_touch_what_travelled_on_it(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe()
        await sender.send(one)
        there = places.keep(await receiver.receive())
        sender.fail("broken")
        receiver.close()
        await places.settle()
        await there.send("still there")
        there.close()
        assert [message async for message in other] == ["still there"]


@every_session
async def test_a_thousand_channels_over_in_every_way_leave_every_table_empty(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        sessions = [session for hop in places.hops for session in (hop.near, hop.far)]
        before = [books(session) for session in sessions]
        for turn in range(40):
            ends = [places.pipe(None if turn % 2 else 1) for _ in range(25)]
            await sender.send([pair[n % 2] for n, pair in enumerate(ends)])
            for n, (there, pair) in enumerate(zip(await receiver.receive(), ends, strict=True)):
                here = pair[1 - n % 2]
                (there if n % 2 == 0 else here).send_nowait("x")  # the sender of the two
                for end in (here, there) if n % 3 else (there, here):
                    if n % 5 == 0 and hasattr(end, "fail"):
                        end.fail("code")
                    end.close()
        await places.settle()
        assert [books(session) for session in sessions] == before


def books(session: Session) -> tuple[int, int]:
    """What a session has in its tables."""
    figures = session.statistics()
    return figures.channels, figures.budget
