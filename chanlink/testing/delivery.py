"""What a channel promises about delivery, and about how it is over (see `check_channel`)."""

import datetime
from typing import Any

import anyio

from chanlink import ChannelClosed, ChannelFailed, ChannelRefused, EndOfChannel

from .promises import Bench, Promises, a_while, all_are_woken, eventually, expect, raising

PROMISES = Promises()


@PROMISES.add
async def messages_arrive_in_order_and_then_the_end(bench: Bench) -> None:
    """Messages arrive in the order in which they were sent, each once; then comes the end, and it stays."""
    for capacity in (None, 0, 1, 7):
        async with bench.channel(capacity) as (sender, receiver), anyio.create_task_group() as tasks:

            async def send() -> None:
                async with sender:
                    for n in range(300):
                        await sender.send({"n": n, "text": "x" * n})

            tasks.start_soon(send)
            received = [await receiver.receive() for _ in range(300)]
            expect([one["n"] for one in received] == list(range(300)), "another order, a loss or a double")
            expect(all(one["text"] == "x" * one["n"] for one in received), "a message was changed")
            for _ in range(2):
                with raising(EndOfChannel, "receive() after the last message"):
                    await receiver.receive()


@PROMISES.add
async def data_of_every_kind_arrives_as_it_was_sent(bench: Bench) -> None:
    """Every kind of data arrives equal to what was sent."""
    when = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC)
    messages: list[Any] = [
        *(
            None,
            True,
            False,
            0,
            -(2**63),
            2**64 - 1,
            0.5,
            float("inf"),
            "",
            "žluťoučký \N{SNOWMAN}",
            b"",
            bytes(range(256)),
        ),
        *([], {}, [1, [2, [3, []]]], {"s": 1, -7: [2], b"key": {"deep": None}}, when, ["x"] * 1_000),
    ]
    async with bench.channel(0) as (sender, receiver), anyio.create_task_group() as tasks:

        async def send() -> None:
            for message in messages:
                await sender.send(message)

        tasks.start_soon(send)
        for message in messages:
            arrived = await receiver.receive()
            expect((type(arrived), arrived) == (type(message), message), f"{message!r:.60} became {arrived!r:.60}")


@PROMISES.add
async def a_large_message_arrives_whole(bench: Bench) -> None:
    """A message far larger than any window arrives whole, and so does what comes after it."""
    large = bytes(range(256)) * 4 * 1_024
    async with bench.channel(None) as (sender, receiver), anyio.create_task_group() as tasks:

        async def send() -> None:
            await sender.send(large)
            await sender.send("after")

        tasks.start_soon(send)
        expect(await receiver.receive() == large, "it was changed")
        expect(await receiver.receive() == "after", "what came after it was changed")


@PROMISES.add
async def a_closed_channel_is_drained_before_its_end(bench: Bench) -> None:
    """What was sent before the sender closed is received before the end."""
    async with bench.channel(None) as (sender, receiver):
        for n in range(10):
            await sender.send(n)
        sender.close()
        await a_while()
        expect([n async for n in receiver] == list(range(10)), "not all of it came")


@PROMISES.add
async def a_failure_comes_after_the_messages_before_it(bench: Bench) -> None:
    """After fail(code, text) the receiver gets what was sent before, then ChannelFailed with both, again and again."""
    async with bench.channel(None) as (sender, receiver):
        await sender.send("before")
        sender.fail("disk-full", "no space left")
        expect(await receiver.receive() == "before", "the message before it was changed")
        for _ in range(2):
            with raising(ChannelFailed, "receive() after a failure") as raised:
                await receiver.receive()
            raised.carries(code="disk-full", text="no space left")
        with raising(ChannelFailed, "iterating after a failure"):
            async for _ in receiver:
                pass


@PROMISES.add
async def the_first_reason_stays(bench: Bench) -> None:
    """Of several reasons why a channel is over, the first one is reported."""
    async with bench.channel(None) as (sender, receiver):
        sender.fail("first")
        sender.fail("second")
        sender.close()
        with raising(ChannelFailed, "receive()") as raised:
            await receiver.receive()
        raised.carries(code="first")
    async with bench.channel(None) as (sender, receiver):
        receiver.close("first")
        receiver.close("second")
        raised_reason = await sender.wait_closed()
        expect(getattr(raised_reason, "reason", None) == "first", f"wait_closed() returned {raised_reason!r}")


@PROMISES.add
async def leaving_the_block_ends_the_channel(bench: Bench) -> None:
    """Leaving the sender's block ends the channel; by an exception it fails with its class only, or as cancelled."""
    async with bench.channel(None) as (sender, receiver):
        async with sender:
            await sender.send(1)
        expect([n async for n in receiver] == [1], "it did not end in order")
    async with bench.channel(None) as (sender, receiver):
        with raising(LookupError, "the sender's block"):
            async with sender:
                raise LookupError("internal details")
        with raising(ChannelFailed, "receive() after an exception") as raised:
            await receiver.receive()
        raised.carries(code="lookup-error", text="")
    async with bench.channel(None) as (sender, receiver):
        with anyio.CancelScope() as scope:
            async with sender:
                scope.cancel()
                await anyio.sleep_forever()
        with raising(ChannelFailed, "receive() after a cancellation") as raised:
            await receiver.receive()
        raised.carries(code="cancelled")


@PROMISES.add
async def closing_twice_is_harmless(bench: Bench) -> None:
    """An end can be closed twice; using a closed end raises ChannelClosed."""
    async with bench.channel(None) as (sender, receiver):
        sender.close()
        sender.close()
        await sender.aclose()
        with raising(ChannelClosed, "send() on a closed sender"):
            await sender.send(1)
        with raising(ChannelClosed, "send_nowait() on a closed sender"):
            sender.send_nowait(1)
        receiver.close()
        receiver.close()
        await receiver.aclose()
        with raising(ChannelClosed, "receive() on a closed receiver"):
            await receiver.receive()
        with raising(ChannelClosed, "receive_nowait() on a closed receiver"):
            receiver.receive_nowait()


@PROMISES.add
async def closing_wakes_every_task_that_waits(bench: Bench) -> None:
    """The end, and closing the receiver, are seen by every task that waits in receive()."""
    for close_sender, kind in ((True, EndOfChannel), (False, ChannelClosed)):
        async with bench.channel(None) as (sender, receiver):
            await all_are_woken(receiver.receive, kind, (sender if close_sender else receiver).close)


# --- refusal --------------------------------------------------------------------------------------


@PROMISES.add
async def an_idle_sender_learns_of_a_refusal(bench: Bench) -> None:
    """When the receiver closes, wait_closed() returns why though nothing is sent, and later calls raise it."""
    async with bench.channel(None) as (sender, receiver), anyio.create_task_group() as tasks:
        reasons: list[Any] = []

        async def wait() -> None:
            reasons.append(await sender.wait_closed())

        tasks.start_soon(wait)
        await a_while()
        expect(not reasons, "wait_closed() returned while the receiver was there")
        receiver.close("enough")
        await eventually(lambda: reasons)
        expect(isinstance(reasons[0], ChannelRefused), f"wait_closed() returned {reasons[0]!r}")
        expect((reasons[0].code, reasons[0].reason) == ("closed", "enough"), f"the reason became {reasons[0]!r}")
        for _ in range(2):
            with raising(ChannelRefused, "send() after a refusal") as raised:
                await sender.send(1)
            raised.carries(code="closed", reason="enough")
        with raising(ChannelRefused, "send_nowait() after a refusal"):
            sender.send_nowait(1)


@PROMISES.add
async def a_blocked_sender_learns_of_a_refusal(bench: Bench) -> None:
    """When the receiver closes, every task that waits in send() gets the code and the reason."""
    for capacity in (0, 1):
        async with bench.channel(capacity) as (sender, receiver), anyio.create_task_group() as tasks:

            async def send() -> None:
                with raising(ChannelRefused, "send() in a task that waits") as raised:
                    await sender.send(2)
                raised.carries(code="closed", reason="enough")

            if capacity:
                await sender.send(1)
            for _ in range(3):
                tasks.start_soon(send)
            await a_while()
            receiver.close("enough")


@PROMISES.add
async def flush_says_when_messages_were_left_behind(bench: Bench) -> None:
    """flush() raises the refusal if something was not taken, and `taken` counts what was."""
    async with bench.channel(3) as (sender, receiver):
        await sender.send(1)
        await sender.send(2)
        expect(await receiver.receive() == 1, "another message came")
        await eventually(lambda: sender.taken == 1)
        receiver.close()
        with raising(ChannelRefused, "flush() after a refusal"):
            await sender.flush()
        expect(sender.taken == 1, f"taken is {sender.taken}, not 1")
