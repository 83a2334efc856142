"""Every way of making a channel keeps the same promises."""

import asyncio

import anyio
import pytest

import chanlink
from chanlink import (
    ChannelClosed,
    ChannelFailed,
    ChannelMoved,
    ChannelRefused,
    EndOfChannel,
    LimitReached,
    Limits,
    MessageTooLarge,
    SessionClosed,
    SessionLost,
)
from tests.patience import PATIENCE

from .pairs import CHANNELS, REMOTE, MakeChannel, session_pair, settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

every_channel = pytest.mark.parametrize("make_channel", CHANNELS, ids=lambda f: f.__name__)
every_remote_channel = pytest.mark.parametrize("make_channel", REMOTE, ids=lambda f: f.__name__)


# --- delivery ---------------------------------------------------------------------------------------


@every_channel
async def test_messages_arrive_in_order_and_then_the_end(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver), anyio.create_task_group() as tasks:

        async def send() -> None:
            async with sender:
                for n in range(1_000):
                    await sender.send({"n": n, "text": "x" * (n % 300)})

        tasks.start_soon(send)
        received = [message["n"] async for message in receiver]
        assert received == list(range(1_000))
        with pytest.raises(EndOfChannel):  # the reason is sticky
            await receiver.receive()


@every_channel
async def test_a_closed_channel_is_drained_before_its_end_is_seen(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        for n in range(10):
            await sender.send(n)
        sender.close()
        await settle()
        assert [n async for n in receiver] == list(range(10))


@every_channel
async def test_a_failure_comes_after_the_messages_before_it(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        await sender.send("before")
        sender.fail("disk-full", "no space left")
        assert await receiver.receive() == "before"
        for _ in range(2):
            with pytest.raises(ChannelFailed) as caught:
                await receiver.receive()
            assert (caught.value.code, caught.value.text) == ("disk-full", "no space left")


@every_channel
async def test_leaving_the_block_by_an_exception_fails_the_channel_with_its_class_only(
    make_channel: MakeChannel,
) -> None:
    async with make_channel(None) as (sender, receiver):
        with pytest.raises(LookupError):
            async with sender:
                raise LookupError("internal details")
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert (caught.value.code, caught.value.text) == ("lookup-error", "")


@every_channel
async def test_leaving_the_block_by_cancellation_fails_the_channel_as_cancelled(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        with anyio.CancelScope() as scope:
            async with sender:
                scope.cancel()
                await anyio.sleep_forever()
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert caught.value.code == "cancelled"


@every_channel
async def test_a_refused_sender_is_told_while_it_is_idle(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver), anyio.create_task_group() as tasks:
        reasons: list[Exception] = []

        async def wait() -> None:
            reasons.append(await sender.wait_closed())

        tasks.start_soon(wait)
        await settle()
        receiver.close("enough")
        await settle()
        (reason,) = reasons
        assert isinstance(reason, ChannelRefused)
        assert (reason.code, reason.reason) == ("closed", "enough")
        with pytest.raises(ChannelRefused):
            await sender.send(1)


@every_channel
async def test_a_refused_sender_is_told_while_it_waits_for_room(make_channel: MakeChannel) -> None:
    async with make_channel(1) as (sender, receiver):
        await sender.send(1)
        refused = False

        async def send() -> None:
            nonlocal refused
            with pytest.raises(ChannelRefused):
                await sender.send(2)
            refused = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await settle()
            receiver.close()
        assert refused


@every_channel
async def test_closing_twice_is_harmless_and_using_a_closed_end_says_so(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        sender.close()
        sender.close()
        await sender.aclose()
        with pytest.raises(ChannelClosed):
            await sender.send(1)
        with pytest.raises(ChannelClosed):
            sender.send_nowait(1)
        receiver.close()
        await receiver.aclose()
        with pytest.raises(ChannelClosed):
            await receiver.receive()


@every_channel
async def test_closing_wakes_tasks_that_wait_on_the_same_end(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (_sender, receiver):
        errors: list[type[Exception]] = []

        async def receive() -> None:
            try:
                await receiver.receive()
            except ChannelClosed as exc:
                errors.append(type(exc))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(receive)
            await settle()
            receiver.close()
        assert errors == [ChannelClosed] * 3


@every_channel
async def test_the_end_wakes_every_task_that_waits(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        ends = 0

        async def receive() -> None:
            nonlocal ends
            try:
                await receiver.receive()
            except EndOfChannel:
                ends += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(receive)
            await settle()
            sender.close()
        assert ends == 5


@every_channel
async def test_many_senders_and_receivers_share_a_channel_without_loss(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        received: list[int] = []

        async def send(start: int) -> None:
            for n in range(start, start + 200):
                await sender.send(n)

        async def receive() -> None:
            async for n in receiver:
                received.append(n)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(receive)
            async with anyio.create_task_group() as senders:
                for n in range(5):
                    senders.start_soon(send, n * 200)
            sender.close()
        assert sorted(received) == list(range(1_000))


# --- flow -------------------------------------------------------------------------------------------


@every_channel
@pytest.mark.parametrize("capacity", [1, 3])
async def test_capacity_bounds_what_is_sent_and_not_taken(make_channel: MakeChannel, capacity: int) -> None:
    async with make_channel(capacity) as (sender, receiver):
        for n in range(capacity):
            sender.send_nowait(n)
        await settle()
        with pytest.raises(anyio.WouldBlock):
            sender.send_nowait("one too many")
        assert await receiver.receive() == 0
        await settle()
        sender.send_nowait("now there is room")
        with pytest.raises(anyio.WouldBlock):
            sender.send_nowait("one too many")


@every_channel
async def test_a_rendezvous_send_returns_when_the_message_was_taken(make_channel: MakeChannel) -> None:
    async with make_channel(0) as (sender, receiver), anyio.create_task_group() as tasks:
        sent: list[int] = []

        async def send() -> None:
            for n in range(3):
                await sender.send(n)
                sent.append(n)

        tasks.start_soon(send)
        for n in range(3):
            await settle()
            assert sent == list(range(n))
            assert await receiver.receive() == n
        await settle()
        assert sent == [0, 1, 2]


@every_channel
async def test_flush_returns_when_everything_was_taken(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        flushed = False

        async def flush() -> None:
            nonlocal flushed
            await sender.flush()
            flushed = True

        for n in range(10):
            await sender.send(n)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flush)
            for n in range(10):
                await settle()
                assert not flushed
                assert await receiver.receive() == n
        assert flushed
        assert sender.taken == 10


@every_channel
async def test_flush_after_close_waits_for_the_last_message(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        await sender.send(1)
        sender.close()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.flush)
            await settle()
            assert await receiver.receive() == 1
        assert sender.taken == 1


@every_channel
async def test_flush_raises_when_the_receiver_left_messages_behind(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        await sender.send(1)
        await sender.send(2)
        sender.close()
        assert await receiver.receive() == 1
        await settle()
        receiver.close()
        with pytest.raises(ChannelRefused):
            await sender.flush()
        assert sender.taken == 1


@every_remote_channel
async def test_a_channel_that_nobody_reads_blocks_its_sender_and_no_other(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        count = 0
        with pytest.raises(anyio.WouldBlock):
            while True:
                sender.send_nowait(b"x" * 1_000)
                count += 1
        assert 16 <= count <= 17  # one message may overdraw the window of 16 KiB
        for _ in range(count):
            assert await receiver.receive() == b"x" * 1_000
        await settle()
        sender.send_nowait(b"there is room again")


@every_channel
async def test_receive_many_takes_what_is_there(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        for n in range(10):
            await sender.send(n)
        await settle()
        assert await receiver.receive_many(4) == [0, 1, 2, 3]
        assert await receiver.receive_many() == [4, 5, 6, 7, 8, 9]
        sender.close()
        with pytest.raises(EndOfChannel):
            await receiver.receive_many()


@every_channel
async def test_receive_nowait_never_waits(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        with pytest.raises(anyio.WouldBlock):
            receiver.receive_nowait()
        await sender.send(1)
        await settle()
        assert receiver.receive_nowait() == 1
        sender.close()
        await settle()
        with pytest.raises(EndOfChannel):
            receiver.receive_nowait()


# --- cancellation -----------------------------------------------------------------------------------


@every_channel
async def test_a_cancelled_receive_loses_no_message(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver):
        received: list[int] = []

        async def receive(scope: anyio.CancelScope) -> None:
            with scope:
                received.append(await receiver.receive())

        for n in range(100):
            # The message and the cancellation come in the same turn, in both orders.
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, scope)
                await settle()
                if n % 2:
                    scope.cancel()
                    sender.send_nowait(n)
                else:
                    sender.send_nowait(n)
                    scope.cancel()
        sender.close()
        received += [n async for n in receiver]
        assert sorted(received) == list(range(100))


@every_channel
async def test_a_cancelled_receiver_passes_its_wake_up_on(make_channel: MakeChannel) -> None:
    async with make_channel(None) as (sender, receiver), anyio.create_task_group() as tasks:
        received: list[int] = []

        async def receive(scope: anyio.CancelScope) -> None:
            with scope:
                received.append(await receiver.receive())

        scopes = [anyio.CancelScope() for _ in range(2)]
        for scope in scopes:
            tasks.start_soon(receive, scope)
            await settle()
        await sender.send(1)
        if make_channel.__name__ == "in_memory":
            scopes[0].cancel()  # in the turn in which it was woken
        await settle()
        assert received == [1]
        tasks.cancel_scope.cancel()


@every_channel
async def test_a_cancelled_send_is_whole_or_nothing_and_the_channel_goes_on(make_channel: MakeChannel) -> None:
    async with make_channel(1) as (sender, receiver):
        await sender.send("first")
        with anyio.move_on_after(0.01) as scope:
            await sender.send("second")
        assert scope.cancelled_caught
        assert await receiver.receive() == "first"
        await sender.send("third")
        sender.close()
        assert [message async for message in receiver] == ["third"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_after_its_wake_up_wakes_the_next_one() -> None:
    """By asyncio's own `Task.cancel`: it also reaches a task that was woken and has not run yet."""
    sender, receiver = chanlink.pipe()
    first, second = (asyncio.ensure_future(receiver.receive()) for _ in range(2))
    await settle()
    sender.send_nowait("the only one")  # wakes the first
    first.cancel()
    with anyio.fail_after(PATIENCE):
        assert await second == "the only one"
    assert first.cancelled()


async def test_what_was_taken_before_a_move_still_counts_after_it() -> None:
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        sender, receiver = chanlink.pipe()
        for n in range(3):
            await sender.send(n)
        assert await receiver.receive() == 0
        await carrier.send(receiver)
        there = await (await server.accept()).end.receive()
        assert sender.taken == 1
        assert [await there.receive(), await there.receive()] == [1, 2]
        await sender.flush()
        assert sender.taken == 3
        assert sender.statistics().sent == 3


# --- rendezvous, and other corners -------------------------------------------------------------------


@pytest.mark.parametrize("after", ["refused", "moved", "closed"])
async def test_a_rendezvous_that_was_taken_was_sent_whatever_comes_after(after: str) -> None:
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        arrived = (await server.accept()).end
        sender, receiver = chanlink.pipe(0)
        sent = False

        async def send() -> None:
            nonlocal sent
            await sender.send(1)
            sent = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await settle()
            assert receiver.receive_nowait() == 1  # and before its sender's task has run:
            if after == "refused":
                receiver.close()
            elif after == "moved":
                carrier.send_nowait(receiver)
            else:
                sender.close()
        assert sent
        if after == "moved":
            there = await arrived.receive()
            sender.close()
            assert [message async for message in there] == []


async def test_a_rendezvous_whose_sender_was_closed_offers_nothing() -> None:
    sender, receiver = chanlink.pipe(0)

    async def send() -> None:
        with pytest.raises(ChannelClosed):
            await sender.send(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await settle()
        sender.close()
        with pytest.raises(EndOfChannel):
            receiver.receive_nowait()


async def test_receive_many_gives_what_came_before_a_message_that_is_none() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        await sender.send(1)
        await sender.send(2)
        sender._send_core.outlet.stream.outgoing.write(b"\0\0\0\1\xc1")  # 0xc1 is never used in msgpack
        await settle()
        assert await receiver.receive_many() == [1, 2]
        with pytest.raises(ChannelFailed):
            await receiver.receive_many()


async def test_flush_says_that_its_sender_moved() -> None:
    async with session_pair() as (client, _server):
        carrier = await client.open("service")
        one, _other = chanlink.pipe()
        await one.send("not taken yet")
        async with anyio.create_task_group() as tasks:

            async def flush() -> None:
                with pytest.raises(ChannelMoved):
                    await one.flush()

            tasks.start_soon(flush)
            await settle()
            await carrier.send(one)


# --- limits -----------------------------------------------------------------------------------------


async def test_the_largest_message_passes_and_a_larger_one_is_refused_by_its_sender() -> None:
    async with session_pair(Limits(message_size=100_000)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        largest = bytes(100_000 - 5)  # a bin of that length has a header of 5 bytes
        await sender.send(largest)
        assert await receiver.receive() == largest
        with pytest.raises(MessageTooLarge):
            await sender.send(bytes(100_000 - 4))
        await sender.send("the channel goes on")
        assert await receiver.receive() == "the channel goes on"


async def test_a_message_of_four_mebibytes_arrives_whole_between_small_ones_of_another_channel() -> None:
    async with session_pair() as (client, server):
        big, small = await client.open("big"), await client.open("small")
        big_there, small_there = (await server.accept()).end, (await server.accept()).end
        message = bytes(range(256)) * (4 * 1024 * 4 - 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(big.send, message)
            for n in range(100):
                await small.send(n)
                assert await small_there.receive() == n
            assert await big_there.receive() == message


async def test_a_message_with_more_ends_than_the_peer_takes_sends_nothing() -> None:
    async with session_pair(Limits(message_ends=3)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        ends = [chanlink.pipe() for _ in range(4)]
        with pytest.raises(LimitReached) as caught:
            await sender.send([one for one, _ in ends])
        assert caught.value.limit == "message_ends"
        await sender.send([one for one, _ in ends[:3]])
        assert len(await receiver.receive()) == 3


async def test_ends_beyond_the_open_channels_raise_and_stay_ours() -> None:
    async with session_pair(Limits(open_channels=3)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        ends = [chanlink.pipe() for _ in range(3)]
        with pytest.raises(LimitReached) as caught:
            await sender.send([one for one, _ in ends])
        assert caught.value.limit == "open_channels"
        for one, other in ends:
            await one.send("ours")
            assert await other.receive() == "ours"
        await sender.send([one for one, _ in ends[:2]])
        for there in await receiver.receive():
            there.close()
        await settle()
        await sender.send(ends[2][0])  # there is room again


# --- the session's end --------------------------------------------------------------------------------


async def test_what_arrived_before_the_session_was_lost_is_delivered_first() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service", capacity=8)  # with a capacity, each take is reported at once
        receiver = (await server.accept()).end
        await sender.send(1)
        await sender.send(2)
        await settle()
        assert await receiver.receive() == 1
        await settle()
        client.abort()
        await settle()
        assert await receiver.receive() == 2
        with pytest.raises(SessionLost) as caught:
            await receiver.receive()
        assert caught.value.taken == 2
        with pytest.raises(SessionLost) as caught:
            await sender.send(3)
        assert caught.value.taken == 1


async def test_everything_accepted_is_delivered_when_the_session_closes_at_once_after() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        for n in range(100):
            await sender.send(n)
        sender.close()
        await client.aclose()
        assert [n async for n in receiver] == list(range(100))


async def test_operations_on_a_session_that_is_over_raise_its_cause() -> None:
    async with session_pair() as (client, server):
        await client.aclose()
        for call in (client.open("service"), client.open_stream("service"), client.accept(), client.ping()):
            with pytest.raises(SessionClosed):
                await call
        assert isinstance(await server.wait_closed(), SessionClosed)


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # `tests/soak` has the others
async def test_ten_thousand_channels_leave_every_table_empty() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        for _ in range(100):
            ends = [chanlink.pipe() for _ in range(100)]
            await sender.send([one for one, _ in ends])
            for there in await receiver.receive():
                there.close()
        await settle()
        assert client.statistics().channels == server.statistics().channels == 1
        assert client.statistics().budget == server.statistics().budget == Limits().session_budget


NAMES = {
    "TimeoutError": "timeout-error",
    "EndOfChannel": "end-of-channel",
    "OSError": "os-error",
    "HTTPSError": "https-error",
    "Http2Error": "http-2-error",
    "_Private_Thing": "private-thing",
    "X" * 70: "x" * 64,
    "\u0424": "exception",
}


@pytest.mark.parametrize("name", NAMES)
async def test_the_name_of_an_exception_travels_as_a_code(name: str) -> None:
    """Codes are lower-case words with hyphens, at most 64 bytes (protocol section 6)."""
    sender, receiver = chanlink.pipe()
    error: type[Exception] = type(name, (Exception,), {})
    with pytest.raises(error):
        async with sender:
            raise error
    with pytest.raises(ChannelFailed) as caught:
        await receiver.receive()
    assert caught.value.code == NAMES[name]
