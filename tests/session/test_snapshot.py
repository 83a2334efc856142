"""What a snapshot says of sessions that work and wait."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Limits, Session
from chanlink.session.snapshot import MOST_CHANNELS, ChannelState, snapshot
from chanlink.testing import session_over
from tests.channels.pairs import session_pair, settle

pytestmark = pytest.mark.anyio


def only(session: Session) -> ChannelState:
    (channel,) = snapshot(session).channels
    return channel


@asynccontextmanager
async def background(function: Any, *args: Any) -> AsyncIterator[None]:
    """A task that waits while the block runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function, *args)
        await settle()
        yield
        tasks.cancel_scope.cancel()


async def fill(sender: Any, item: Any) -> None:
    while True:
        await sender.send(item)


async def test_an_idle_session_says_who_and_how_old_and_nothing_else() -> None:
    async with session_pair() as (client, _):
        state = snapshot(client)
        assert (state.peer, state.key, state.address) == ("the other side", "", "memory")
        assert (state.channels, state.left_out, state.unaccepted) == ((), 0, 0)
        assert 0 <= state.age < 60
        assert state.budget == Limits().session_budget


async def test_a_sender_that_waits_for_credit_and_the_peer_that_waits_for_us() -> None:
    async with (
        session_pair() as (client, server),
        await client.open("bulk") as sender,
        background(fill, sender, b"x" * 1000),
    ):
        here, there = only(client), only(server)
        assert (here.service, here.end, here.ours, here.sending) == ("bulk", "sender", True, 1)
        assert here.waits == ("credit",)
        assert here.sent == here.untaken > 0
        assert (there.end, there.ours, there.receiving, there.waits) == ("receiver", False, 0, ("we-take",))
        assert there.arrived > Limits().stream_window - 2000
        end = (await server.accept()).end
        await end.receive()
        assert only(server).taken == 1
        end.close()


@pytest.mark.parametrize("capacity", [0, 1, 3])
async def test_a_sender_that_waits_for_a_place(capacity: int) -> None:
    async with (
        session_pair() as (client, server),
        await client.open("few", capacity=capacity) as sender,
        background(fill, sender, 1),
    ):
        assert only(client).waits == ("capacity",)
        assert only(client).untaken == max(capacity, 1)
        assert only(server).waits == (("we-take",) if capacity < 2 else ())
        (await server.accept()).end.close()


async def test_a_receiver_that_waits_for_the_peer() -> None:
    async with session_pair() as (client, server), await client.open("quiet") as sender:
        async with (await server.accept()).end as receiver, background(receiver.receive):
            assert only(server).waits == ("peer-sends",)
            assert only(server).receiving == 1
        assert only(client).waits == ()
        assert sender.statistics().sent == 0


async def test_byte_streams_count_bytes() -> None:
    async with session_pair() as (client, server), await client.open_stream("bytes") as stream:
        await stream.send(b"hello")
        await settle()
        async with (await server.accept()).end as end:
            assert await end.receive(3) == b"hel"
            state = only(server)
            assert (state.end, state.taken, state.arrived) == ("bytes", 3, 2)
            assert (only(client).sent, only(client).untaken) == (5, 0)


async def test_nested_channels_name_their_parent_and_relays_are_told_apart() -> None:
    async with (
        session_pair() as (client, server),
        session_pair() as (onward, beyond),
        await client.open("carrier") as carrier,
        (await server.accept()).end as carried,
    ):
        sender, receiver = chanlink.pipe()
        await carrier.send(receiver)
        travelled = await carried.receive()
        parent, child = snapshot(server).channels
        assert (child.service, child.parent, child.relayed) == (None, parent.id, False)
        async with await onward.open("further") as further, (await beyond.accept()).end as arrived:
            await further.send(travelled)
            await settle()
            assert [one.relayed for one in snapshot(server).channels] == [False, True]
            async with await arrived.receive() as last, sender:
                await sender.send(1)
                assert await last.receive() == 1


async def test_a_report_has_a_bound() -> None:
    async with session_pair(server_limits=Limits(unaccepted=2_000)) as (client, _):
        senders = [await client.open("one") for _ in range(MOST_CHANNELS + 5)]
        state = snapshot(client)
        assert (len(state.channels), state.left_out) == (MOST_CHANNELS, 5)
        for sender in senders:
            sender.close()


async def test_a_session_in_the_clear_has_no_suite() -> None:
    near, far = chanlink.byte_pipe()
    async with session_over(near, client_side=True) as session:
        assert (session.suite, session.statistics().volume) == ("", 0)
        session.abort()
    await far.aclose()
