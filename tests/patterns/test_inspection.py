"""What `Inspection` says of sessions that work, wait, and end."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Identity, Inspection, Limits, Peer, Session, Trust
from chanlink.patterns.inspection import MOST_CHANNELS, ChannelState, snapshot
from tests.channels.pairs import session_pair, settle
from tests.patience import PATIENCE

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


async def ask(session: Session) -> list[dict[str, Any]]:
    sender, receiver = chanlink.pipe()
    async with await session.open(Inspection.SERVICE) as requests:
        await requests.send(sender)
        return [state async for state in receiver]


async def test_the_service_tells_of_every_session_of_a_listener() -> None:
    server, alice, bob = (Identity.generate(name) for name in ("server", "alice", "bob"))
    inspection = Inspection()
    trust = Trust.of(alice.public_key, bob.public_key)
    services = {Inspection.SERVICE: inspection}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=server, trust=trust, services=services) as listener:
        inspection.watch(listener)
        address, key = listener.addresses[0], server.public_key
        async with chanlink.connect(address, identity=alice, peer=key) as first:
            async with chanlink.connect(address, identity=bob, peer=key) as second:
                states = await ask(first)
                assert [state["peer"] for state in states] == ["alice", "bob"]
                assert [state["key"] for state in states] == [alice.public_key.fingerprint, bob.public_key.fingerprint]
                assert states[0]["suite"] == first.suite in ("aegis256", "chachapoly")
                assert states[0]["volume"] > 200
                assert {one["service"] for one in states[0]["channels"]} == {Inspection.SERVICE, None}
                assert len(listener.sessions) == 2
                assert first.statistics().volume > 200
                assert not second.closed
            with anyio.fail_after(PATIENCE):
                while len(await ask(first)) > 1:
                    await anyio.sleep(0.01)


async def test_the_service_refuses_what_is_no_sender_and_outlives_who_went_away() -> None:
    inspection = Inspection()
    async with session_pair(services={Inspection.SERVICE: inspection}) as (client, server):
        inspection.watch(server)
        async with await client.open(Inspection.SERVICE) as requests:
            sender, receiver = chanlink.pipe()
            receiver.close()
            await requests.send(sender)
            await settle()
            assert len(await ask(client)) == 1
            await requests.send("what?")
            reason = await requests.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert reason.code == "bad-request"


async def test_what_is_watched_is_not_kept_alive() -> None:
    inspection = Inspection()
    async with session_pair() as (client, _):
        inspection.watch(client)
        assert [one.peer for one in inspection.snapshot()] == ["the other side"]
    assert inspection.snapshot() == []  # it is over
    del client
    gc.collect()
    assert inspection.sessions() == []


async def test_a_session_over_a_stream_of_ones_own_has_no_suite() -> None:
    near, far = chanlink.byte_pipe()
    async with Session(near, client_side=True, peer=Peer(None, "far", "memory")) as session:
        assert (session.suite, session.statistics().volume) == ("", 0)
        session.abort()
    await far.aclose()
