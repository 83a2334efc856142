"""What a channel promises about flow and cancellation (see `check_channel`)."""

from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from chanlink import EndOfChannel, Sender

from .promises import Bench, Promises, a_while, eventually, expect, raising, received_though_cancelled

PROMISES = Promises()


async def _fill(sender: Sender[Any], message: Any, most: int) -> int:
    """Send without waiting until there is no more room, also not after a while; return how many were accepted."""
    count = 0
    while count < most:
        try:
            sender.send_nowait(message)
            count += 1
        except anyio.WouldBlock:
            await a_while()
            try:
                sender.send_nowait(message)
                count += 1
            except anyio.WouldBlock:
                return count
    return count


async def _send_now(sender: Sender[Any], message: Any) -> None:
    """Send as soon as that needs no waiting."""

    def accepted() -> bool:
        try:
            sender.send_nowait(message)
        except anyio.WouldBlock:
            return False
        return True

    await eventually(accepted)


@PROMISES.add
async def capacity_bounds_what_is_sent_and_not_taken(bench: Bench) -> None:
    """With a capacity of n, n messages are accepted and no more, until one is taken."""
    for capacity in (1, 3):
        async with bench.channel(capacity) as (sender, receiver):
            for n in range(capacity):
                sender.send_nowait(n)
            for turn in range(3):
                accepted = await _fill(sender, "one too many", 1)
                expect(accepted == 0, f"message {capacity + 1} of a channel for {capacity} was accepted")
                expect(await receiver.receive() == turn, "another message came")
                await _send_now(sender, capacity + turn)


@PROMISES.add
async def nothing_is_queued_without_a_bound(bench: Bench) -> None:
    """A channel that nobody reads stops its sender, and all that was accepted is delivered."""
    async with bench.channel(None) as (sender, receiver):
        accepted = await _fill(sender, bytes(1_000), 20_000)
        expect(accepted < 20_000, "20 MB were accepted though nobody reads")
        for _ in range(accepted):
            await receiver.receive()
        await _send_now(sender, "there is room again")
        expect(await receiver.receive() == "there is room again", "more came than was accepted")


@PROMISES.add
async def a_rendezvous_returns_when_the_message_was_taken(bench: Bench) -> None:
    """With capacity 0, send() returns when the message was taken, and not before."""
    async with bench.channel(0) as (sender, receiver), anyio.create_task_group() as tasks:
        sent: list[int] = []

        async def send() -> None:
            for n in range(3):
                await sender.send(n)
                sent.append(n)

        tasks.start_soon(send)
        for n in range(3):
            await eventually(lambda: len(sent) >= n)  # noqa: B023
            await a_while()
            expect(len(sent) == n, f"{len(sent)} sends returned, and {n} messages were taken")
            expect(await receiver.receive() == n, "another message came")
        await eventually(lambda: len(sent) == 3)


@PROMISES.add
async def flush_returns_when_everything_was_taken(bench: Bench) -> None:
    """flush() returns when all was taken and not before, also after close(); `taken` has counted it then."""
    for closed in (False, True):
        async with bench.channel(None) as (sender, receiver), anyio.create_task_group() as tasks:
            flushed: list[bool] = []

            async def flush() -> None:
                await sender.flush()
                flushed.append(True)  # noqa: B023

            for n in range(5):
                await sender.send(n)
            if closed:
                sender.close()
            tasks.start_soon(flush)
            for n in range(5):
                await a_while()
                expect(not flushed, f"it returned when {n} of 5 were taken")
                await receiver.receive()
            await eventually(lambda: flushed)  # noqa: B023
            expect(sender.taken == 5, f"taken is {sender.taken}, not 5")


@PROMISES.add
async def receive_many_takes_what_is_there(bench: Bench) -> None:
    """receive_many(limit) returns at least one message and at most that many, in order; then it raises the reason."""
    async with bench.channel(None) as (sender, receiver):
        for n in range(10):
            await sender.send(n)
        sender.close()
        await a_while()
        received: list[int] = []
        while len(received) < 10:
            some = await receiver.receive_many(4)
            expect(1 <= len(some) <= 4, f"receive_many(4) returned {len(some)} messages")
            received += some
        expect(received == list(range(10)), f"{received} came")
        with raising(EndOfChannel, "receive_many() after the last message"):
            await receiver.receive_many()


@PROMISES.add
async def nowait_never_waits(bench: Bench) -> None:
    """receive_nowait() raises WouldBlock while there is nothing, then returns what came, then raises the reason."""
    async with bench.channel(None) as (sender, receiver):
        with raising(anyio.WouldBlock, "receive_nowait() on an empty channel"):
            receiver.receive_nowait()
        sender.send_nowait(1)
        received: list[int] = []

        def look() -> bool:
            try:
                received.append(receiver.receive_nowait())
            except anyio.WouldBlock:
                return False
            return True

        await eventually(look)
        expect(received == [1], f"{received} came")
        sender.close()
        with raising(EndOfChannel, "receive_nowait() after the end"):
            await eventually(look)


@PROMISES.add
async def many_tasks_share_a_channel(bench: Bench) -> None:
    """Many tasks may send and many may receive: each message goes to one of them, none is lost or doubled."""
    for capacity in (None, 0, 2):
        async with bench.channel(capacity) as (sender, receiver):
            received: list[int] = []

            async def send(start: int) -> None:
                for n in range(start, start + 50):
                    await sender.send(n)

            async def receive() -> None:
                async for n in receiver:
                    received.append(n)  # noqa: B023

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(receive)
                async with anyio.create_task_group() as senders:
                    for n in range(5):
                        senders.start_soon(send, n * 50)
                sender.close()
            expect(len(received) == 250, f"{len(received)} of 250 messages came")
            expect(set(received) == set(range(250)), "some came twice")


# --- cancellation ---------------------------------------------------------------------------------


@PROMISES.add
async def a_cancelled_receive_loses_nothing(bench: Bench) -> None:
    """A receive() that is cancelled, at whatever moment, takes no message with it."""
    async with bench.channel(None) as (sender, receiver):

        async def send(n: int) -> None:
            sender.send_nowait(n)

        received = await received_though_cancelled(receiver.receive, send)
        sender.close()
        received += [n async for n in receiver]
        expect(sorted(received) == list(range(60)), f"{60 - len(set(received))} of 60 messages were lost")


@PROMISES.add
async def a_cancelled_send_is_whole_or_nothing(bench: Bench) -> None:
    """A send() that is cancelled was accepted whole or not at all, and the channel goes on."""
    async with bench.channel(1) as (sender, receiver):
        accepted: list[int] = []
        tried: list[int] = []

        async def send(n: int, scope: anyio.CancelScope) -> None:
            with scope:
                tried.append(n)
                await sender.send(n)
                accepted.append(n)

        received: list[Any] = []
        for n in range(60):
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, n, scope)
                for _ in range(n % 5):
                    await checkpoint()
                if n % 3 == 0 and len(accepted) > len(received):
                    received.append(await receiver.receive())
                scope.cancel()
        async with anyio.create_task_group() as tasks:

            async def finish() -> None:
                async with sender:
                    await sender.send("the last")

            tasks.start_soon(finish)
            received += [n async for n in receiver]
        expect(received[-1:] == ["the last"], "the channel did not go on")
        del received[-1]
        expect(received == sorted(set(received)), "another order, or a double")
        expect(set(accepted) <= set(received), "an accepted message was lost")
