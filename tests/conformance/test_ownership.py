"""Ends in messages (DESIGN 3.5): lent until the message is accepted, moved then, given back when it is not."""

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

from .transports import Transport, every_direct_session, every_session, every_transport

pytestmark = pytest.mark.anyio


# --- moving -----------------------------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize("kind", ["sender", "receiver", "byte stream"])
async def test_an_end_that_was_sent_has_moved(transport: Transport, kind: str) -> None:
    async with transport() as link:
        sender, _receiver = await link.channel()
        one, other = link.byte_pipe() if kind == "byte stream" else link.pipe()
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


@every_transport
async def test_tasks_that_wait_on_an_end_see_that_it_moved(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        one, other = link.pipe(1)
        two, other_two = link.pipe()
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
            await link.settle()
            await sender.send([one, other_two])
        assert sorted(moved) == ["receive", "send", "wait_closed"]
        there, there_two = link.keep(await receiver.receive())
        assert await other.receive() == "fills the channel"
        await there.send("by its new owner")
        assert await other.receive() == "by its new owner"
        await two.send("to its new owner")
        assert await there_two.receive() == "to its new owner"


@every_transport
async def test_tasks_that_wait_at_the_end_that_stays_wait_on(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        one, other = link.pipe(1)
        two, other_two = link.pipe()
        received: list[Any] = []

        async def receive() -> None:
            received.append(await other_two.receive())

        await one.send("fills the channel")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.send, "waits")
            tasks.start_soon(one.flush)
            tasks.start_soon(receive)
            await link.settle()
            await sender.send([other, two])
            there, there_two = link.keep(await receiver.receive())
            assert [await there.receive(), await there.receive()] == ["fills the channel", "waits"]
            await there_two.send("to who waits")
        assert received == ["to who waits"]


@every_transport
async def test_both_ends_of_a_channel_may_move_one_after_the_other(transport: Transport) -> None:
    async with transport() as link:
        one, other = link.pipe()
        await one.send("in it")
        far_receiver = await link.carry(other)
        far_sender = await link.carry(one)
        await far_sender.send("by the far sender")
        far_sender.close()
        assert [message async for message in far_receiver] == ["in it", "by the far sender"]


@every_transport
@pytest.mark.parametrize("kind", ["sender", "receiver", "byte stream"])
async def test_an_end_that_comes_home_works(transport: Transport, kind: str) -> None:
    async with transport() as link:
        one, other = link.byte_pipe() if kind == "byte stream" else link.pipe()
        for _ in range(2):
            if kind == "sender":
                one = await link.carry(await link.carry(one), back=True)
            else:
                other = await link.carry(await link.carry(other), back=True)
        data: Any = b"around" if kind == "byte stream" else "around"
        await one.send(data)
        assert await other.receive() == data
        await one.aclose()
        with pytest.raises(EndOfChannel):
            await other.receive()


@every_transport
async def test_a_failure_crosses_to_where_the_end_went(transport: Transport) -> None:
    async with transport() as link:
        one, other = link.pipe()
        there = await link.carry(other)
        home = await link.carry(there, back=True)
        await one.send("before")
        one.fail("disk-full", "text")
        assert await home.receive() == "before"
        with pytest.raises(ChannelFailed) as caught:
            await home.receive()
        assert (caught.value.code, caught.value.text) == ("disk-full", "text")


@every_transport
async def test_a_refusal_crosses_to_where_the_end_went(transport: Transport) -> None:
    async with transport() as link:
        one, other = link.pipe()
        home = await link.carry(await link.carry(one), back=True)
        other.refuse("quota", "10 a day")
        reason = await home.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert (reason.code, reason.reason) == ("quota", "10 a day")


# --- lending ----------------------------------------------------------------------------------------


@every_transport
async def test_an_end_is_lent_while_its_message_waits_and_still_works(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel(1)
        one, other = link.pipe()
        await sender.send("fills the channel")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.send, one)
            await link.settle()
            await one.send("still works here")
            assert await other.receive() == "still works here"
            with pytest.raises(anyio.BusyResourceError):
                await sender.send([one])
            assert await receiver.receive() == "fills the channel"
            there = link.keep(await receiver.receive())
        await there.send("and there")
        assert await other.receive() == "and there"


@every_transport
@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_a_message_that_was_not_accepted_gives_its_ends_back(transport: Transport, how: str) -> None:
    async with transport() as link:
        sender, receiver = await link.channel(1)
        one, other = link.pipe()
        await sender.send("fills the channel")
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                try:
                    await sender.send({"end": one})
                except ChannelRefused:
                    assert how == "refused"

            tasks.start_soon(send)
            await link.settle()
            if how == "refused":
                receiver.close()
            else:
                tasks.cancel_scope.cancel()
        await one.send("still ours")
        assert await other.receive() == "still ours"
        moved = await link.carry(one)
        await moved.send("and can be sent")
        assert await other.receive() == "and can be sent"


# --- refused by the sender --------------------------------------------------------------------------


@every_transport
async def test_the_same_end_twice_in_a_message_is_refused_by_path(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        one, other = link.pipe()
        with pytest.raises(EncodeError) as caught:
            await sender.send({"args": [one, {"body": one}]})
        assert caught.value.path == "args[1].body"
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send("and the channel goes on")
        assert await receiver.receive() == "and the channel goes on"


@every_transport
async def test_a_closed_end_in_a_message_is_refused_and_the_others_stay_ours(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        one, other = link.pipe()
        closed, _ = link.pipe()
        closed.close()
        with pytest.raises(ChannelClosed):
            await sender.send([one, closed])
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send("and the channel goes on")
        assert await receiver.receive() == "and the channel goes on"


@every_session
async def test_what_cannot_be_sent_is_named_by_its_path_and_nothing_moves(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        one, other = link.pipe()
        before = link.near.statistics().channels
        with pytest.raises(EncodeError) as caught:
            await sender.send({"reply": one, "args": [1, 2, {"body": object()}]})
        assert caught.value.path == "args[2].body"
        assert link.near.statistics().channels == before
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send({"reply": one})
        await link.keep(await receiver.receive())["reply"].send("moved")
        assert await other.receive() == "moved"


@every_direct_session
async def test_ends_over_the_limit_of_open_channels_stay_ours_and_no_stream_is_opened(transport: Transport) -> None:
    async with transport(Limits(open_channels=5)) as link:
        sender, receiver = await link.channel()
        ends = [link.pipe() for _ in range(5)]
        before = link.near.statistics().channels
        with pytest.raises(LimitReached) as caught:
            await sender.send([one for one, _ in ends])
        assert caught.value.limit == "open_channels"
        assert link.near.statistics().channels == before
        for one, other in ends:
            await one.send("still ours")
            assert await other.receive() == "still ours"
        await sender.send(ends[0][0])
        await link.keep(await receiver.receive()).send("moved")
        assert await ends[0][1].receive() == "moved"


# --- nobody took it ---------------------------------------------------------------------------------


@every_transport
async def test_ends_in_messages_that_nobody_took_are_refused(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        reply, replies = link.pipe()
        orders, ordered = link.pipe()
        body, body_there = link.byte_pipe()
        inner, inner_there = link.pipe()
        await inner.send({"reply": reply})  # two levels down
        await sender.send({"inner": inner_there, "orders": ordered, "body": body_there})
        await link.settle()
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
async def test_a_top_level_channel_that_nobody_accepts_does_not_block_nested_ones(transport: Transport) -> None:
    async with transport() as link:
        unaccepted = link.keep(await link.near.open("nobody accepts this"))
        with pytest.raises(anyio.WouldBlock):
            while True:
                unaccepted.send_nowait(bytes(1_000))
        sender, receiver = await link.channel()
        one, other = link.pipe()
        await sender.send({"end": other})
        there = link.keep(await receiver.receive())["end"]
        await one.send("it flows")
        assert await there.receive() == "it flows"
        incoming = link.keep(await link.hops[0].far.accept()).end
        assert await incoming.receive() == bytes(1_000)


# --- ends that are over -----------------------------------------------------------------------------


@every_transport
async def test_an_end_that_is_over_arrives_so_with_what_was_left_in_it(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        ended, ended_there = link.pipe()
        failed, failed_there = link.pipe()
        refused, gone = link.pipe()
        await ended.send("left behind")
        ended.close()
        failed.fail("broken", "on purpose")
        gone.close("too late")
        await sender.send([ended_there, failed_there, refused])
        end, failure, there = link.keep(await receiver.receive())
        assert [message async for message in end] == ["left behind"]
        with pytest.raises(ChannelFailed) as caught:
            await failure.receive()
        assert (caught.value.code, caught.value.text) == ("broken", "on purpose")
        reason = await there.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.reason == "too late"


@every_transport
async def test_closing_the_carrier_does_not_touch_what_travelled_on_it(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        one, other = link.pipe()
        await sender.send(one)
        there = link.keep(await receiver.receive())
        sender.fail("broken")
        receiver.close()
        await link.settle()
        await there.send("still there")
        there.close()
        assert [message async for message in other] == ["still there"]


@every_session
async def test_a_thousand_channels_over_in_every_way_leave_every_table_empty(transport: Transport) -> None:
    async with transport() as link:
        sender, receiver = await link.channel()
        sessions = [session for hop in link.hops for session in (hop.near, hop.far)]
        before = [books(session) for session in sessions]
        for turn in range(40):
            ends = [link.pipe(None if turn % 2 else 1) for _ in range(25)]
            await sender.send([pair[n % 2] for n, pair in enumerate(ends)])
            for n, (there, pair) in enumerate(zip(await receiver.receive(), ends, strict=True)):
                here = pair[1 - n % 2]
                (there if n % 2 == 0 else here).send_nowait("x")  # the sender of the two
                for end in (here, there) if n % 3 else (there, here):
                    if n % 5 == 0 and hasattr(end, "fail"):
                        end.fail("code")
                    end.close()
        await link.settle()
        assert [books(session) for session in sessions] == before


def books(session: Session) -> tuple[int, int]:
    """What a session has in its tables."""
    figures = session.statistics()
    return figures.channels, figures.budget
