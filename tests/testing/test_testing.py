"""The public kit: it finds the faults that it is there for, and none where there are none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConnectionLost, Limits, SessionLost
from chanlink.testing import (
    BYTE_STREAM_PROMISES,
    CHANNEL_PROMISES,
    FaultyStream,
    check_byte_stream,
    check_channel,
    session_pair,
)
from tests.channels.pairs import CHANNELS, MakeChannel
from tests.patience import PATIENCE

from .faults import BYTE_STREAM_FAULTS, CHANNEL_FAULTS, Fault, Proxy

pytestmark = pytest.mark.anyio

IMPATIENCE = 0.3
"""Seconds; for faults that are seen by nothing happening.  When all is slow, they are seen all the same."""


# --- the checks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_channel", CHANNELS, ids=lambda f: f.__name__)
async def test_a_channel_that_keeps_its_promises_passes(make_channel: MakeChannel) -> None:
    await check_channel(make_channel, patience=PATIENCE)


async def test_a_byte_stream_that_keeps_its_promises_passes() -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[Any]:
        yield chanlink.byte_pipe()

    await check_byte_stream(factory, patience=PATIENCE)


async def test_byte_streams_that_are_not_ours_are_checked_for_what_all_can_do() -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[Any]:
        one, other = chanlink.byte_pipe()
        yield FaultyStream(one), FaultyStream(other)

    await check_byte_stream(factory, patience=PATIENCE)


@pytest.mark.parametrize(
    ("promise", "fault"), CHANNEL_FAULTS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_channel_that_breaks_a_promise_is_found_out(promise: str, fault: Fault) -> None:
    proxies: list[Proxy] = []

    @asynccontextmanager
    async def factory(capacity: int | None) -> AsyncIterator[Any]:
        ends = chanlink.pipe(capacity)
        proxies.extend(Proxy(end, **replaced) for end, replaced in zip(ends, fault, strict=True))
        try:
            yield proxies[-2], proxies[-1]
        finally:
            close(proxies)

    with pytest.raises(AssertionError) as caught:
        await check_channel(factory, only=[promise], patience=IMPATIENCE)
    assert f"this channel does not keep the promise {promise!r} (" in str(caught.value)


@pytest.mark.parametrize(
    ("promise", "replaced"), BYTE_STREAM_FAULTS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_byte_stream_that_breaks_a_promise_is_found_out(promise: str, replaced: Any) -> None:
    proxies: list[Proxy] = []

    @asynccontextmanager
    async def factory() -> AsyncIterator[Any]:
        proxies.extend(Proxy(end, **replaced) for end in chanlink.byte_pipe())
        try:
            yield proxies[-2], proxies[-1]
        finally:
            close(proxies)

    with pytest.raises(AssertionError) as caught:
        await check_byte_stream(factory, only=[promise], patience=IMPATIENCE)
    assert f"this byte stream does not keep the promise {promise!r} (" in str(caught.value)


def close(proxies: list[Proxy]) -> None:
    for proxy in proxies:
        proxy.inner.close()
        for one in proxy.seen:
            if isinstance(one, chanlink.Sender | chanlink.Receiver | chanlink.ByteStream):
                one.close()


def test_every_promise_has_a_fault_that_breaks_it() -> None:
    assert {name for name, _ in CHANNEL_FAULTS} == set(CHANNEL_PROMISES)
    assert {name for name, _ in BYTE_STREAM_FAULTS} == set(BYTE_STREAM_PROMISES)


async def test_a_check_of_all_promises_finds_a_fault_too() -> None:
    @asynccontextmanager
    async def factory(capacity: int | None) -> AsyncIterator[Any]:
        sender, receiver = chanlink.pipe(capacity)
        yield sender, Proxy(receiver, **CHANNEL_FAULTS[0][1][1])

    with pytest.raises(AssertionError, match=r"messages_arrive_in_order.*EndOfChannel was raised"):
        await check_channel(factory, patience=IMPATIENCE)


async def test_a_promise_that_is_not_there_is_not_checked_silently() -> None:
    with pytest.raises(ValueError, match="no such promise: spelled_wrong"):
        await check_channel(CHANNELS[0], only=["spelled_wrong"])


# --- faulty streams ---------------------------------------------------------------------------------


async def exchange(wire: Any, messages: int = 50) -> list[int]:
    """What arrives of some messages over two sessions that are joined by such a stream."""
    received: list[int] = []
    async with session_pair(wire=wire) as (client, server), anyio.create_task_group() as tasks:

        async def send() -> None:
            async with await client.open("service") as sender:
                for n in range(messages):
                    await sender.send([n, "x" * n])

        tasks.start_soon(send)
        incoming = await server.accept()
        async for message in incoming.end:
            received.append(message[0])
        incoming.end.close()
    return received


async def test_a_session_bears_one_byte_at_a_time_delays_and_tasks_in_another_order() -> None:
    assert await exchange(lambda stream: FaultyStream(stream, piece=1), 10) == list(range(10))
    assert await exchange(lambda stream: FaultyStream(stream, delay=0.001)) == list(range(50))
    for seed in range(5):
        assert await exchange(lambda stream: FaultyStream(stream, piece=100, seed=seed)) == list(range(50))  # noqa: B023


@pytest.mark.parametrize("n", [0, 1, 24, 100, 333])
async def test_a_connection_that_is_cut_is_lost_on_both_sides_and_what_came_before_is_delivered(n: int) -> None:
    wires: list[FaultyStream] = []

    def wire(stream: Any) -> FaultyStream:
        wires.append(FaultyStream(stream, cut_after=n if not wires else None))
        return wires[-1]

    async with session_pair(wire=wire) as (client, server), anyio.create_task_group() as tasks:
        sender = await client.open("service")

        async def send() -> None:
            with pytest.raises(SessionLost):
                while True:
                    await sender.send("some message")

        tasks.start_soon(send)
        assert isinstance(await client.wait_closed(), ConnectionLost)
        assert isinstance(await server.wait_closed(), ConnectionLost)
    assert wires[0].sent == n or wires[0].received == n
    assert wires[1].received == wires[0].sent


async def test_a_faulty_stream_passes_on_what_it_has_no_fault_for() -> None:
    one, other = chanlink.byte_pipe()
    async with FaultyStream(one) as faulty:
        await faulty.send(b"x" * 1_000)
        await faulty.send_eof()
        assert await other.receive() == b"x" * 1_000
        await other.send(b"y")
        assert await faulty.receive() == b"y"
        assert (faulty.sent, faulty.received) == (1_000, 1)
        with pytest.raises(anyio.EndOfStream):
            await other.receive()
    other.close()
    with pytest.raises(ValueError, match="piece"):
        FaultyStream(one, piece=0)


async def test_a_stream_that_is_cut_wakes_its_reader_and_is_never_an_end() -> None:
    one, other = chanlink.byte_pipe()
    faulty = FaultyStream(one)

    async def read() -> None:
        with pytest.raises(anyio.BrokenResourceError):
            await faulty.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.lowlevel.checkpoint()
        await faulty.cut()
        await faulty.cut()
    with pytest.raises(anyio.BrokenResourceError):
        await other.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await faulty.send(b"x")
    other.close()


async def test_tasks_run_in_the_same_order_with_the_same_seed() -> None:
    async def run(seed: int) -> list[str]:
        log: list[str] = []

        async def write(name: str, number: int) -> None:
            one, other = chanlink.byte_pipe()
            faulty = FaultyStream(one, piece=1, seed=seed + number)
            for _ in range(5):
                await faulty.send(b"x")
                log.append(name)
            await faulty.aclose()
            other.close()

        async with anyio.create_task_group() as tasks:
            for number, name in enumerate("abc"):
                tasks.start_soon(write, name, number)
        return log

    assert [await run(seed) for seed in range(5)] != [await run(0)] * 5


# --- a pair of sessions -----------------------------------------------------------------------------


async def test_both_sides_of_a_pair_may_serve() -> None:
    async def echo(receiver: Any, peer: chanlink.Peer) -> None:
        async for message in receiver:
            async with message["reply"] as reply:
                await reply.send(message["text"])

    async with session_pair(services={"echo": echo}, client_services={"echo": echo}) as pair:
        for session in pair:
            async with await session.open("echo") as sender:
                reply, replies = chanlink.pipe()
                await sender.send({"text": "hello", "reply": reply})
                assert [answer async for answer in replies] == ["hello"]


async def test_each_side_of_a_pair_has_its_own_limits() -> None:
    async with session_pair(Limits(message_size=10), Limits(message_size=1_000)) as (client, server):
        async with await client.open("service") as sender:
            await sender.send(bytes(900))
            with pytest.raises(chanlink.MessageTooLarge):
                await sender.send(bytes(1_100))
        (await server.accept()).end.close()
        async with await server.open("service") as sender:
            with pytest.raises(chanlink.MessageTooLarge):
                await sender.send(bytes(11))
        (await client.accept()).end.close()


async def test_an_exception_leaves_the_block_of_a_pair_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with session_pair():
            raise LookupError("mine")
