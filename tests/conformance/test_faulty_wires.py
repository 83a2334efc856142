"""Sessions over byte streams with faults: in pieces, slow, with tasks in another order, cut at every byte."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ByteStream, ChanlinkError, EndOfChannel, SessionLost
from chanlink.testing import FaultyStream, check_byte_stream, check_channel, session_pair
from tests.patience import PATIENCE

from .routes import Channel, Joined, PlacesApart, Route, chain, every_direct_session

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FAULTS: dict[str, dict[str, Any]] = {
    "one byte at a time": {"piece": 1},
    "pieces of 1,000": {"piece": 1_000, "seed": 1},
    "another order": {"seed": 2},
    "yet another order": {"seed": 3, "steps": 40},
}
FAULTS_MARKS = {"yet another order": pytest.mark.everything}
SLOW = {"a_large_message_arrives_whole", "bytes_arrive_exactly_and_then_the_end", "both_directions_flow_at_once"}
"""Much data, of which each byte would cost a turn."""


def joined_by(**faults: Any) -> Any:
    @asynccontextmanager
    async def join(limits: Any) -> AsyncIterator[Joined]:
        async with session_pair(limits, wire=lambda stream: FaultyStream(stream, **faults)) as (client, server):
            yield Joined(client, server, client.abort)

    return join


@pytest.mark.without_sockets
@pytest.mark.parametrize(
    ("name", "hops"),
    [*(pytest.param(name, 1, marks=FAULTS_MARKS.get(name, ())) for name in FAULTS), ("another order", 2)],
)
async def test_every_promise_is_kept_over_a_faulty_wire(name: str, hops: int) -> None:
    faults = FAULTS[name]

    @asynccontextmanager
    async def channel(capacity: int | None) -> AsyncIterator[Channel]:
        async with chain(joined_by(**faults), hops) as places:
            yield await places.channel(capacity)

    @asynccontextmanager
    async def byte_stream() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with chain(joined_by(**faults), hops) as places:
            yield await places.byte_stream()

    left_out = SLOW if faults.get("piece") == 1 else set()
    for names, check, factory in (
        (chanlink.testing.CHANNEL_PROMISES, check_channel, channel),
        (chanlink.testing.BYTE_STREAM_PROMISES, check_byte_stream, byte_stream),
    ):
        only = [one for one in names if one not in left_out]
        await check(factory, only=only, patience=PATIENCE)  # type: ignore[operator]


def cut_at(n: int, hops: int) -> Any:
    """The connection of the last hop breaks after this many bytes in either direction."""
    made = []

    @asynccontextmanager
    async def join(limits: Any) -> AsyncIterator[Joined]:
        made.append(1)
        faults = {"cut_after": n} if len(made) == hops else {}
        async with session_pair(limits, wire=lambda stream: FaultyStream(stream, **faults)) as (client, server):
            yield Joined(client, server, client.abort)

    return join


async def use(places: PlacesApart, log: dict[str, Any]) -> None:
    """A channel each way, an end in a message, a byte stream; all that happens is noted."""
    sender, receiver = await places.channel()
    reply, replies = places.pipe()

    async def far() -> None:
        try:
            async for message in receiver:
                log["received"].append(message["n"])
                if "reply" in message:
                    await places.keep(message)["reply"].send(message["n"])
            log["ended"] = True
        except ChanlinkError as exc:
            log["far"] = exc

    async def near() -> None:
        try:
            await sender.send({"n": 0, "reply": reply})
            log["accepted"].append(0)
            log["replies"].append(await replies.receive())
            for n in range(1, 5):
                await sender.send({"n": n})
                log["accepted"].append(n)
            await sender.flush()
            log["flushed"] = True
            sender.close()
        except ChanlinkError as exc:
            log["near"] = exc

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(far)
        tasks.start_soon(near)


@pytest.mark.without_sockets
@pytest.mark.parametrize("hops", [1, 2], ids=["session", "one_relay"])
async def test_a_connection_that_is_cut_at_any_byte_loses_no_promise(hops: int) -> None:
    """What was received is a beginning of what was sent; nobody waits for ever; a cut is never an end."""
    cuts = 0
    for n in range(0, 2_000, 11 if hops == 1 else 17):
        log: dict[str, Any] = {"received": [], "accepted": [], "replies": []}
        try:
            async with chain(cut_at(n, hops), hops) as places:
                await use(places, log)
        except ChanlinkError:
            cuts += 1
            continue  # before there was a channel
        assert log["received"] == list(range(len(log["received"])))
        if "near" in log:
            cuts += 1
            assert isinstance(log["near"], SessionLost)
            assert "ended" not in log
            assert not isinstance(log["far"], EndOfChannel)
        else:
            assert log["flushed"]
            assert log["received"] == log["accepted"] == list(range(5))
    assert cuts > 10


@every_direct_session
async def test_a_session_that_is_left_by_an_exception_is_no_end_on_the_other_side(route: Route) -> None:
    with pytest.raises(LookupError):
        async with route() as places:
            sender, receiver = await places.channel()
            _, back_receiver = back = await places.channel_back()
            for end in (sender, receiver, *back):
                places.forget(end)  # it would be closed first
            raise LookupError
    for one in (receiver, back_receiver):
        with pytest.raises(chanlink.ChannelBroken):
            await one.receive()


async def test_a_session_that_is_left_by_an_exception_is_no_end_on_this_side_either() -> None:
    """Tasks in another order each time: the peer's answers may come before the session is over, or not."""
    for seed in range(40):
        with pytest.raises(LookupError):
            async with session_pair(wire=lambda stream: FaultyStream(stream, seed=seed, steps=30)) as (near, far):  # noqa: B023
                sender = await near.open("there")
                far_end = (await far.accept()).end
                far_sender = await far.open("back")
                receiver = (await near.accept()).end
                await far_sender.send("may arrive")
                raise LookupError
        with pytest.raises(SessionLost):
            while True:
                assert await receiver.receive() == "may arrive"
        with pytest.raises(SessionLost):
            await sender.send(1)
        for end in (far_end, far_sender, receiver, sender):
            end.close()
