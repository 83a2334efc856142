"""A pusher: sends when there is room, in order, each message once; and lets go of its sender in every way."""

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import ChannelFailed, ChannelMoved, EndOfChannel, Limits, Sender
from chanlink.channels.pushing import Pusher
from chanlink.errors import END, Reason
from chanlink.testing import session_pair
from tests.patience import PATIENCE

from .pairs import CHANNELS, settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

each_way = pytest.mark.parametrize("channel", CHANNELS, ids=lambda one: one.__name__)


class Numbers:
    """The numbers from 1 to `last`; how often a pusher was served."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.served_count = 0

    def after(self, position: int) -> tuple[object, int] | None:
        return (position + 1, position + 1) if position < self.last else None

    def served(self, pusher: Pusher) -> None:
        self.served_count += 1


@each_way
@pytest.mark.parametrize("capacity", [None, 1, 3])
async def test_all_is_sent_in_order_and_then_the_end(channel: Any, capacity: int | None) -> None:
    async with channel(capacity) as (sender, receiver):
        pusher = Pusher(sender, Numbers(3_000), 0)
        pusher.push()
        assert pusher.waits
        pusher.end(END)
        assert not pusher.over
        with anyio.fail_after(PATIENCE):
            assert [n async for n in receiver] == list(range(1, 3_001))
        assert pusher.over
        assert pusher.position == 3_000


@each_way
async def test_what_comes_later_is_sent_when_it_is_pushed(channel: Any) -> None:
    async with channel() as (sender, receiver):
        numbers = Numbers(0)
        pusher = Pusher(sender, numbers, 0)
        pusher.push()
        with anyio.fail_after(PATIENCE):
            for n in range(1, 10):
                numbers.last = n
                pusher.push()
                assert await receiver.receive() == n
        pusher.end(Reason("failed", "why", "so"))
        with pytest.raises(ChannelFailed, match="why: so"):
            await receiver.receive()


@each_way
async def test_cutting_leaves_what_was_sent(channel: Any) -> None:
    async with channel(2) as (sender, receiver):
        pusher = Pusher(sender, Numbers(100), 0)
        pusher.push()
        pusher.cut(Reason("failed", "cut"))
        pusher.cut(Reason("failed", "twice"))
        assert pusher.over
        assert [await receiver.receive(), await receiver.receive()] == [1, 2]
        with pytest.raises(ChannelFailed, match="cut"):
            await receiver.receive()


@each_way
@pytest.mark.parametrize("last", [0, 100], ids=["idle", "waiting"])
async def test_a_receiver_that_goes_is_noticed_though_nothing_is_pushed(channel: Any, last: int) -> None:
    async with channel(1) as (sender, receiver):
        numbers = Numbers(last)
        pusher = Pusher(sender, numbers, 0)
        pusher.push()
        assert pusher.waits is bool(last)
        receiver.close()
        with anyio.fail_after(PATIENCE):
            while not pusher.over:
                await checkpoint()
        assert numbers.served_count
        pusher.push()
        pusher.end(END)


@pytest.mark.parametrize("last", [0, 100], ids=["idle", "waiting"])
async def test_a_receiver_that_is_forgotten_is_noticed(last: int) -> None:
    sender, receiver = chanlink.pipe(1)
    pusher = Pusher(sender, Numbers(last), 0)
    pusher.push()
    with pytest.warns(ResourceWarning, match="forgotten"):
        del receiver
    with anyio.fail_after(PATIENCE):
        while not pusher.over:
            await checkpoint()


@pytest.mark.parametrize("last", [0, 100], ids=["idle", "waiting"])
async def test_a_session_that_dies_is_noticed(last: int) -> None:
    async with session_pair() as (client, server):
        pusher = Pusher(await client.open("x", capacity=1), Numbers(last), 0)
        pusher.push()
        receiver = (await server.accept()).end
        client.abort()
        with anyio.fail_after(PATIENCE):
            await client.wait_closed()
        assert pusher.over
        receiver.close()


@each_way
async def test_the_sender_moves_to_it(channel: Any) -> None:
    async with channel() as (sender, receiver):
        pusher = Pusher(sender, Numbers(1), 0)
        with pytest.raises(ChannelMoved):
            await sender.send(1)
        with pytest.raises(ChannelMoved):
            Pusher(sender, Numbers(1), 0)
        pusher.push()
        assert await receiver.receive() == 1
        pusher.end(END)
        with pytest.raises(EndOfChannel):
            await receiver.receive()


async def test_a_receiver_may_leave_while_something_waits_for_room() -> None:
    async with session_pair() as (client, server):
        sender, receiver = chanlink.pipe(2)
        pusher = Pusher(sender, Numbers(500), 0)
        pusher.push()
        pusher.end(END)
        async with await client.open("x") as carrier:
            await carrier.send(receiver)
        with anyio.fail_after(PATIENCE):
            async with (await server.accept()).end as carried, await carried.receive() as there:
                assert [n async for n in there] == list(range(1, 501))
        assert pusher.over


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(message_size=20), "too-large"),
        (Limits(message_values=4_096), "limit-reached"),
        (Limits(message_depth=1), "not-sent"),
    ],
    ids=["size", "values", "depth"],
)
async def test_what_the_peer_does_not_take_fails_the_channel(limits: Limits, code: str) -> None:
    class Long(Numbers):
        def after(self, position: int) -> tuple[object, int] | None:
            return ([[1]] * 5_000, 2) if position == 1 else super().after(position)

    async with session_pair(limits) as (client, server):
        pusher = Pusher(await client.open("x"), Long(5), 0)
        pusher.push()
        assert pusher.over
        with anyio.fail_after(PATIENCE):
            receiver = (await server.accept()).end
            assert await receiver.receive() == 1
            with pytest.raises(ChannelFailed) as caught:
                await receiver.receive()
        assert caught.value.code == code


@each_way
async def test_a_clone_that_waits_behind_it_gets_its_turn(channel: Any) -> None:
    async with channel(1) as (sender, receiver), anyio.create_task_group() as tasks:
        clone: Sender[Any] = sender.clone()
        numbers = Numbers(2)
        pusher = Pusher(sender, numbers, 0)
        pusher.push()
        tasks.start_soon(clone.send, "clone")
        await settle()
        with anyio.fail_after(PATIENCE):
            got = [await receiver.receive() for _ in range(3)]
        assert sorted(got, key=str) == [1, 2, "clone"]
        assert [n for n in got if n != "clone"] == [1, 2]
        pusher.end(END)
        clone.close()
        with pytest.raises(EndOfChannel):
            await receiver.receive()


async def test_what_is_of_another_type_than_the_channel_fails_it() -> None:
    class Wrong(Numbers):
        def after(self, position: int) -> tuple[object, int] | None:
            return (chanlink.encode("x"), 2) if position == 1 else super().after(position)

    sender, receiver = chanlink.pipe(item_type=int)
    pusher = Pusher(sender, Wrong(5), 0)
    pusher.push()
    assert pusher.over
    async with receiver:
        assert await receiver.receive() == 1
        with pytest.raises(ChannelFailed, match="not-sent"):
            await receiver.receive()
