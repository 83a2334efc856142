"""Ends in messages, over every route: they move, with what waits in them, and stay ours when they can not."""

import anyio
import pytest

import chanlink
from chanlink import (
    ChannelClosed,
    ChannelFailed,
    ChannelMoved,
    ChannelRefused,
    EncodeError,
)

from .pairs import CHANNELS, REMOTE, MakeChannel, session_pair, settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

every_channel = pytest.mark.parametrize("make_channel", CHANNELS, ids=lambda f: f.__name__)
every_remote_channel = pytest.mark.parametrize("make_channel", REMOTE, ids=lambda f: f.__name__)


@every_channel
async def test_a_reply_channel_in_a_message_works(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        reply, replies = chanlink.pipe()
        await sender.send({"ping": 7, "reply": reply})
        request = await receiver.receive()
        async with request["reply"]:
            await request["reply"].send({"pong": request["ping"]})
        assert [message async for message in replies] == [{"pong": 7}]


@every_channel
async def test_three_levels_of_nesting_in_both_directions(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, one_here = chanlink.pipe()
        await sender.send([[one]])
        [[one_there]] = await receiver.receive()
        two_there, two = chanlink.pipe()
        await one_there.send({"next": two})
        two_here = (await one_here.receive())["next"]
        three, three_here = chanlink.pipe()
        await two_there.send((three,))
        [three_there] = await two_here.receive()
        await three_there.send("hello from the bottom")
        assert await three_here.receive() == "hello from the bottom"


@every_channel
async def test_sending_an_end_moves_it(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, _receiver):
        one, other = chanlink.pipe()
        await sender.send([one])
        with pytest.raises(ChannelMoved):
            await one.send(1)
        with pytest.raises(ChannelMoved):
            await sender.send(one)
        one.close()  # harmless, and without effect on where it went
        assert other.statistics().taken == 0


@every_channel
async def test_a_task_that_waits_on_an_end_sees_that_it_moved(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        moved = False

        async def wait() -> None:
            nonlocal moved
            with pytest.raises(ChannelMoved):
                await other.receive()
            moved = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await settle()
            await sender.send(other)
        assert moved
        await one.send("it went there")
        assert await (await receiver.receive()).receive() == "it went there"


@every_channel
async def test_a_task_that_waits_at_the_end_that_stays_goes_on_over_the_move(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe(1)
        await one.send("fills the channel")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.send, "waits")
            await settle()
            await sender.send(other)
            there = await receiver.receive()
            assert await there.receive() == "fills the channel"
            assert await there.receive() == "waits"


@every_channel
async def test_messages_that_wait_in_an_end_travel_with_it(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        inner, inner_here = chanlink.pipe()
        await one.send("first")
        await one.send({"second": inner})
        await sender.send(other)
        await one.send("third")
        one.close()
        there = await receiver.receive()
        assert await there.receive() == "first"
        await (await there.receive())["second"].send("through the second")
        assert await inner_here.receive() == "through the second"
        assert [message async for message in there] == ["third"]


@every_channel
async def test_an_end_that_is_over_arrives_so(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        await one.send("left behind")
        one.fail("broken", "on purpose")
        await sender.send(other)
        there = await receiver.receive()
        assert await there.receive() == "left behind"
        with pytest.raises(ChannelFailed) as caught:
            await there.receive()
        assert caught.value.code == "broken"


@every_channel
async def test_a_sender_whose_receiver_is_gone_arrives_so(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        other.close("too late")
        await sender.send(one)
        there = await receiver.receive()
        reason = await there.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.reason == "too late"


@every_channel
async def test_the_same_end_twice_in_a_message_is_refused_and_stays_ours(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        with pytest.raises(EncodeError, match=r"args\[1\].body"):
            await sender.send({"args": [one, {"body": one}]})
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send("and the channel goes on")
        assert await receiver.receive() == "and the channel goes on"


@every_remote_channel
async def test_what_cannot_be_sent_is_named_by_its_path_and_nothing_is_sent(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        with pytest.raises(EncodeError, match=r"args\[2\].body"):
            await sender.send({"reply": one, "args": [1, 2, {"body": object()}]})
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send({"reply": one})
        assert set(await receiver.receive()) == {"reply"}


@every_remote_channel
async def test_a_waiting_message_that_cannot_be_encoded_keeps_its_end_here(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, _receiver):
        one, other = chanlink.pipe()
        unsendable = object()
        await one.send(unsendable)
        with pytest.raises(EncodeError):
            await sender.send(other)
        assert await other.receive() is unsendable


@every_remote_channel
async def test_an_end_whose_other_side_is_remote_goes_on_through_this_process(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        await sender.send(one)
        there = await receiver.receive()
        await there.send("sent before")
        await sender.send(other)
        other_there = await receiver.receive()
        await there.send("sent after")
        there.close()
        assert [item async for item in other_there] == ["sent before", "sent after"]


@every_remote_channel
async def test_both_ends_of_a_channel_leave_in_one_message(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        await one.send("sent before")
        await sender.send([one, other])
        there = await receiver.receive()
        await there[0].send("sent after")
        there[0].close()
        assert [item async for item in there[1]] == ["sent before", "sent after"]


async def test_a_receiver_cannot_be_sent_through_its_own_channel() -> None:
    sender, receiver = chanlink.pipe()
    with pytest.raises(EncodeError, match="own channel"):
        await sender.send({"loop": receiver})
    await sender.send(1)
    assert await receiver.receive() == 1


@every_channel
async def test_an_end_is_lent_while_its_message_waits(make_channel: MakeChannel) -> None:
    async with make_channel(1) as (sender, receiver):
        one, other = chanlink.pipe()
        await sender.send("fills the channel")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.send, one)
            await settle()
            await one.send("still works here")
            with pytest.raises(anyio.BusyResourceError):
                await sender.send(one)
            assert await receiver.receive() == "fills the channel"
            there = await receiver.receive()
        assert await other.receive() == "still works here"
        await there.send("and there")
        assert await other.receive() == "and there"


@every_channel
async def test_a_cancelled_send_gives_its_ends_back(make_channel: MakeChannel) -> None:
    async with make_channel(1) as (sender, receiver):
        one, other = chanlink.pipe()
        await sender.send("fills the channel")
        with anyio.move_on_after(0.01):
            await sender.send(one)
        await one.send("still ours")
        assert await other.receive() == "still ours"
        assert await receiver.receive() == "fills the channel"
        await sender.send(one)
        await (await receiver.receive()).send("now it moved")
        assert await other.receive() == "now it moved"


@every_channel
async def test_ends_in_a_message_that_nobody_took_are_refused(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        reply, replies = chanlink.pipe()
        to_fill, filled = chanlink.pipe()
        await sender.send({"reply": reply, "more": filled})
        await settle()
        receiver.close()
        with pytest.raises(ChannelFailed) as failed:
            await replies.receive()
        assert failed.value.code == "not-taken"
        refused = await to_fill.wait_closed()
        assert isinstance(refused, ChannelRefused)
        assert refused.code == "not-taken"


@every_channel
async def test_closing_a_channel_does_not_touch_channels_that_travelled_through_it(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        one, other = chanlink.pipe()
        await sender.send(one)
        there = await receiver.receive()
        sender.close()
        receiver.close()
        await settle()
        await there.send("still there")
        assert await other.receive() == "still there"


async def test_an_end_that_is_closed_while_its_message_waits_is_its_senders_error() -> None:
    sender, receiver = chanlink.pipe(0)
    one, _other = chanlink.pipe()
    outcome: list[type[Exception]] = []

    async def send() -> None:
        try:
            await sender.send(one)
        except ChannelClosed as exc:
            outcome.append(type(exc))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await settle()
        one.close()
        tasks.start_soon(sender.send, "the next one")
        assert await receiver.receive() == "the next one"
    assert outcome == [ChannelClosed]


async def test_messages_waiting_in_ends_too_deep_are_refused_and_nothing_moves() -> None:
    async with session_pair() as (client, _server):
        carrier = await client.open("service")
        senders, (_, receiver) = [], chanlink.pipe()
        for _ in range(100):
            outer_sender, outer = chanlink.pipe()
            outer_sender.send_nowait(receiver)
            senders.append(outer_sender)
            receiver = outer
        with pytest.raises(EncodeError, match="too deep"):
            await carrier.send(receiver)
        assert client.statistics().channels == 1
        for _ in range(99):
            receiver = receiver.receive_nowait()
