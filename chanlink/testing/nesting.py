"""What a channel promises about ends in its messages (see `check_channel`)."""

from typing import Any

import anyio

from chanlink import ChannelFailed, ChannelMoved, ChannelRefused, EncodeError, EndOfChannel

from .promises import Bench, Promises, a_while, expect, raising

PROMISES = Promises()


@PROMISES.add
async def ends_travel_in_messages(bench: Bench) -> None:
    """A message may hold senders, receivers and byte streams, at any depth, and all of them work where they arrive."""
    async with bench.channel(None) as (sender, receiver):
        reply, replies = bench.pipe()
        orders, ordered = bench.pipe()
        here, there = bench.byte_pipe()
        await sender.send({"reply": reply, "more": [{"orders": ordered}, there]})
        message = bench.keep(await receiver.receive())
        await orders.send("an order")
        expect(
            await message["more"][0]["orders"].receive() == "an order", "a receiver that travelled gave another message"
        )
        async with message["reply"] as answer:
            await answer.send("an answer")
        expect([one async for one in replies] == ["an answer"], "a sender that travelled delivered something else")
        await here.send(b"to there")
        expect(await message["more"][1].receive() == b"to there", "a byte stream that travelled gave other bytes")
        await message["more"][1].send(b"and back")
        expect(await here.receive() == b"and back", "a byte stream that travelled delivered other bytes")


@PROMISES.add
async def sending_an_end_moves_it(bench: Bench) -> None:
    """An end that was sent raises ChannelMoved here, also in tasks that wait on it; closing it does no harm."""
    async with bench.channel(None) as (sender, receiver), anyio.create_task_group() as tasks:
        one, other = bench.pipe()

        async def wait() -> None:
            with raising(ChannelMoved, "receive() in a task that waits on an end that moves"):
                await other.receive()

        tasks.start_soon(wait)
        await a_while()
        await sender.send([other])
        with raising(ChannelMoved, "receive() on an end that moved"):
            await other.receive()
        with raising(ChannelMoved, "sending an end that moved"):
            await sender.send(other)
        other.close()
        [moved] = bench.keep(await receiver.receive())
        await one.send("it went there")
        expect(await moved.receive() == "it went there", "another message came")


@PROMISES.add
async def what_waits_in_an_end_travels_with_it(bench: Bench) -> None:
    """Messages that wait in an end arrive before those sent later, and a reason why it is over arrives after them."""
    async with bench.channel(None) as (sender, receiver):
        one, other = bench.pipe()
        await one.send("first")
        await sender.send(other)
        await one.send("second")
        one.fail("broken", "on purpose")
        there = bench.keep(await receiver.receive())
        expect([await there.receive(), await there.receive()] == ["first", "second"], "other messages came")
        with raising(ChannelFailed, "receive() on an end that travelled") as raised:
            await there.receive()
        raised.carries(code="broken", text="on purpose")


@PROMISES.add
async def an_end_that_is_over_arrives_so(bench: Bench) -> None:
    """An end whose channel is over already may travel, and says the same where it arrives."""
    async with bench.channel(None) as (sender, receiver):
        one, other = bench.pipe()
        one.close()
        late, gone = bench.pipe()
        gone.close("too late")
        await sender.send([other, late])
        ended, refused = bench.keep(await receiver.receive())
        with raising(EndOfChannel, "receive() on an end that arrived over"):
            await ended.receive()
        reason: Any = await refused.wait_closed()
        expect(isinstance(reason, ChannelRefused), f"wait_closed() returned {reason!r}")
        expect(reason.reason == "too late", f"the reason became {reason!r}")


@PROMISES.add
async def an_end_twice_in_a_message_is_refused(bench: Bench) -> None:
    """The same end twice in a message is an EncodeError that names the path; nothing is sent, the end stays ours."""
    async with bench.channel(None) as (sender, receiver):
        one, other = bench.pipe()
        with raising(EncodeError, "sending the same end twice") as raised:
            await sender.send({"args": [one, {"body": one}]})
        raised.carries(path="args[1].body")
        await one.send("still ours")
        expect(await other.receive() == "still ours", "another message came")
        await sender.send("and the channel goes on")
        expect(await receiver.receive() == "and the channel goes on", "something was sent of it")


@PROMISES.add
async def an_end_is_lent_until_its_message_is_accepted(bench: Bench) -> None:
    """While a message waits, its ends still work, and can't be in another one; cancelled, it gives them back."""
    async with bench.channel(1) as (sender, receiver):
        one, other = bench.pipe()
        await sender.send("fills the channel")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.send, one)
            await a_while()
            await one.send("still ours")
            expect(await other.receive() == "still ours", "another message came")
            with raising(anyio.BusyResourceError, "sending an end that is lent"):
                await sender.send(one)
            tasks.cancel_scope.cancel()
        await one.send("ours again")
        expect(await other.receive() == "ours again", "another message came")
        expect(await receiver.receive() == "fills the channel", "another message came")
        await sender.send(one)
        there = bench.keep(await receiver.receive())
        await there.send("now it moved")
        expect(await other.receive() == "now it moved", "another message came")


@PROMISES.add
async def ends_that_nobody_took_are_refused(bench: Bench) -> None:
    """When the receiver closes, the ends in messages that it has not taken are over, with the code not-taken."""
    async with bench.channel(None) as (sender, receiver):
        reply, replies = bench.pipe()
        orders, ordered = bench.pipe()
        await sender.send({"reply": reply, "orders": ordered})
        await a_while()
        receiver.close()
        with raising(ChannelFailed, "receive() from a sender that nobody took") as raised:
            await replies.receive()
        raised.carries(code="not-taken")
        reason: Any = await orders.wait_closed()
        expect(isinstance(reason, ChannelRefused), f"wait_closed() returned {reason!r}")
        expect(reason.code == "not-taken", f"the code became {reason!r}")


@PROMISES.add
async def ends_outlive_the_channel_that_they_travelled_through(bench: Bench) -> None:
    """Closing a channel does not touch the channels that travelled through it."""
    async with bench.channel(None) as (sender, receiver):
        one, other = bench.pipe()
        await sender.send(one)
        there = bench.keep(await receiver.receive())
        sender.close()
        receiver.close()
        await a_while()
        await there.send("still there")
        there.close()
        expect([message async for message in other] == ["still there"], "another message came")
