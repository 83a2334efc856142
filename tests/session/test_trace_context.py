"""What an opening says of the trace that its channel belongs to: who gets it, who does not, and where it goes on."""

from typing import Any

import pytest

import chanlink
from chanlink import Receiver, Sender, Session
from chanlink.observing import ChannelInfo, Instrument
from chanlink.testing import session_pair
from chanlink.wire.opening import MAX_TRACE, Opening
from tests.observing.recorder import Recorder
from tests.patience import until

pytestmark = pytest.mark.anyio

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Says(Recorder):
    """Says this of each channel that this side opens."""

    def __init__(self, trace: str | None) -> None:
        super().__init__()
        self.trace = trace

    def channel_opened(self, channel: ChannelInfo, read: Any) -> str | None:
        self.told.append(("channel_opened", (channel, read)))
        return self.trace if channel.ours else None


def traces(recorder: Recorder) -> list[str | None]:
    return [channel.trace for channel, _ in recorder.of("channel_opened")]


async def opened(client: Session, server: Session) -> tuple[Sender[Any], Receiver[Any]]:
    return await client.open("service"), (await server.accept()).end


async def test_what_an_instrument_says_arrives_with_the_opening() -> None:
    there = Recorder()
    async with session_pair(instruments=[Says(TRACE)], server_instruments=[there]) as (client, server):
        sender, receiver = await opened(client, server)
        end, other = chanlink.pipe()
        await sender.send(end)
        async with await receiver.receive() as travelled:
            assert travelled.capacity is None
        other.close()
        sender.close()
        receiver.close()
    assert traces(there) == [TRACE, TRACE]


@pytest.mark.parametrize("said", [None, ""])
async def test_where_nothing_is_said_nothing_arrives(said: str | None) -> None:
    there = Recorder()
    async with session_pair(instruments=[Says(said)], server_instruments=[there]) as (client, server):
        for end in await opened(client, server):
            end.close()
    assert traces(there) == [None]


@pytest.mark.parametrize("knows", ["neither", "client", "server"])
async def test_it_travels_only_if_both_sides_know_it(knows: str) -> None:
    """To one of chanlink 0.1 nothing is said, and nothing is heard from who says it unasked."""
    there = Recorder()
    pair = session_pair(instruments=[Says(TRACE)], server_instruments=[there], features=())
    async with pair as (client, server):
        for name, session in (("client", client), ("server", server)):
            session._mux._may_trace = name == knows  # type: ignore[attr-defined]
        for end in await opened(client, server):
            end.close()
    assert traces(there) == [None]


async def test_one_that_is_too_long_is_as_none() -> None:
    there = Recorder()
    async with session_pair(server_instruments=[there]) as (client, server):
        for size in (MAX_TRACE, MAX_TRACE + 1, 3_000):
            stream = client._mux.open(Opening("receiver", "service", trace=b"x" * size))
            (await server.accept()).end.close()
            client._ends.adopt(stream).close()  # type: ignore[attr-defined]
    assert traces(there) == ["x" * MAX_TRACE, None, None]


async def test_what_an_instrument_says_is_cut_to_what_may_travel() -> None:
    there = Recorder()
    async with session_pair(instruments=[Says("é" * 1_000)], server_instruments=[there]) as (client, server):
        for end in await opened(client, server):
            end.close()
    assert traces(there) == ["é" * (MAX_TRACE // 2)]


async def relayed(*middle: Instrument) -> tuple[list[str | None], Recorder]:
    """What the last of three processes hears of a channel of the first one; and what the middle one was told."""
    last, recorder = Recorder(), Recorder()
    async with (
        session_pair(instruments=[Says(TRACE)], server_instruments=[*middle, recorder]) as (client, near),
        session_pair(instruments=[*middle, recorder], server_instruments=[last]) as (far, server),
    ):
        first, first_end = await opened(client, near)
        second, second_end = await opened(far, server)
        sender, receiver = chanlink.pipe()
        await first.send(receiver)
        await second.send(await first_end.receive())
        async with await second_end.receive() as there:
            await sender.send(1)
            assert await there.receive() == 1
            inner, inner_end = chanlink.pipe()
            await sender.send(inner)
            async with await there.receive() as arrived:
                await arrived.send(2)
                assert await inner_end.receive() == 2
        for end in (first, first_end, second, second_end, sender, inner_end):
            end.close()
        await until(lambda: last.all_ended("channel"))
    return traces(last), recorder


async def test_it_goes_on_with_the_end_through_a_process_that_knows_nothing_of_it() -> None:
    heard, _ = await relayed()
    assert heard[1:] == [TRACE, TRACE]


async def test_a_process_on_the_way_may_put_its_own_in_its_place() -> None:
    class Replaces(Instrument):
        def channel_opened(self, channel: ChannelInfo, read: Any) -> str | None:
            return None if channel.trace is None else f"{channel.trace}-{'out' if channel.ours else 'in'}"

    heard, _ = await relayed(Replaces())
    assert heard[1:] == [f"{TRACE}-in-out"] * 2


async def test_what_goes_on_without_one_belongs_to_nothing_that_is_done_in_between() -> None:
    recorder = Recorder()
    async with (
        session_pair() as (client, near),
        session_pair(instruments=[recorder]) as (far, server),
    ):
        first, first_end = await opened(client, near)
        second, second_end = await opened(far, server)
        sender, receiver = chanlink.pipe()
        await first.send(receiver)
        await second.send(await first_end.receive())
        (await second_end.receive()).close()
        for end in (first, first_end, second, second_end, sender):
            end.close()
    assert traces(recorder) == [None, ""]
