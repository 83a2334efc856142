"""Byte streams, made in every way."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteReceiveStream

import chanlink
from chanlink import (
    ByteStream,
    ChannelClosed,
    ChannelFailed,
    ChannelMoved,
    ChannelRefused,
    EndOfChannel,
    SessionLost,
)

from .pairs import session_pair, settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

Pair = tuple[ByteStream, ByteStream]
MakePair = Callable[[], AbstractAsyncContextManager[Pair]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Pair]:
    yield chanlink.byte_pipe()


@asynccontextmanager
async def opened() -> AsyncIterator[Pair]:
    async with session_pair() as (client, server):
        yield await client.open_stream("service"), (await server.accept()).end


@asynccontextmanager
async def sent() -> AsyncIterator[Pair]:
    async with session_pair() as (client, server):
        carrier = await server.open("service")
        here, there = chanlink.byte_pipe()
        await carrier.send({"body": there})
        yield here, (await (await client.accept()).end.receive())["body"]


every_pair = pytest.mark.parametrize("make_pair", [in_memory, opened, sent], ids=lambda f: f.__name__)
both_directions = pytest.mark.parametrize("turned", [False, True], ids=["there", "back"])


async def read_all(stream: ByteReceiveStream) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.receive()
    except anyio.EndOfStream:
        return data


@every_pair
@both_directions
async def test_bytes_arrive_exactly_and_then_the_end(make_pair: MakePair, turned: bool) -> None:
    async with make_pair() as pair, anyio.create_task_group() as tasks:
        writer, reader = reversed(pair) if turned else pair
        data = os.urandom(3_000_000)

        async def write() -> None:
            view = memoryview(data)
            size = 1
            while view:
                await writer.send(bytes(view[:size]))
                view = view[size:]
                size = size * 3 % 200_000 + 1
            await writer.send_eof()

        tasks.start_soon(write)
        assert await read_all(reader) == data
        with pytest.raises(EndOfChannel):
            await reader.receive()


@every_pair
async def test_each_half_ends_by_itself(make_pair: MakePair) -> None:
    async with make_pair() as (one, other):
        await one.send(b"question")
        await one.send_eof()
        assert await read_all(other) == b"question"
        await other.send(b"answer")
        await other.send_eof()
        assert await read_all(one) == b"answer"


@every_pair
async def test_sending_after_eof_is_refused_here(make_pair: MakePair) -> None:
    async with make_pair() as (one, _other):
        await one.send_eof()
        with pytest.raises(ChannelClosed):
            await one.send(b"late")


@every_pair
async def test_receive_returns_no_more_than_asked_and_loses_nothing(make_pair: MakePair) -> None:
    async with make_pair() as (one, other):
        await one.send(b"hello world")
        await one.send_eof()
        pieces = []
        try:
            while True:
                pieces.append(await other.receive(3))
        except EndOfChannel:
            pass
        assert b"".join(pieces) == b"hello world"
        assert max(map(len, pieces)) <= 3


@every_pair
async def test_a_failure_is_no_end(make_pair: MakePair) -> None:
    async with make_pair() as (one, other):
        await one.send(b"a part")
        one.fail("disk-error", "bad sector")
        assert await other.receive() == b"a part"
        with pytest.raises(ChannelFailed) as caught:
            await other.receive()
        assert (caught.value.code, caught.value.text) == ("disk-error", "bad sector")


@every_pair
async def test_leaving_the_block_by_an_exception_fails_what_it_sends(make_pair: MakePair) -> None:
    async with make_pair() as (one, other):
        with pytest.raises(LookupError):
            async with one:
                raise LookupError("internal details")
        with pytest.raises(ChannelFailed) as failed:
            await other.receive()
        assert (failed.value.code, failed.value.text) == ("lookup-error", "")
        await settle()
        with pytest.raises(ChannelRefused):
            await other.send(b"x")


@every_pair
@both_directions
async def test_a_reader_that_closes_stops_the_writer(make_pair: MakePair, turned: bool) -> None:
    async with make_pair() as pair, anyio.create_task_group() as tasks:
        writer, reader = reversed(pair) if turned else pair
        refused = False

        async def write() -> None:
            nonlocal refused
            with pytest.raises(ChannelRefused):
                while True:
                    await writer.send(b"y\n" * 1_000)
            refused = True

        tasks.start_soon(write)
        assert (await reader.receive()).startswith(b"y\n")
        reader.close()
        await settle()
        assert refused


@every_pair
async def test_a_reader_that_closes_after_its_own_eof_stops_the_writer(make_pair: MakePair) -> None:
    async with make_pair() as (one, other):
        await one.send_eof()
        await settle()
        one.close()
        assert isinstance(await other.wait_closed(), ChannelRefused)


@every_pair
async def test_backpressure_reaches_the_writer(make_pair: MakePair) -> None:
    async with make_pair() as (one, other):
        accepted = 0
        with anyio.move_on_after(0.05):
            while True:
                await one.send(bytes(1_000))
                accepted += 1_000
        assert accepted <= 65_536 + 1_000
        data = b""
        while len(data) < accepted:
            data += await other.receive()
        await one.send(b"there is room again")
        assert await other.receive() == b"there is room again"


@every_pair
async def test_closing_twice_is_harmless(make_pair: MakePair) -> None:
    async with make_pair() as (one, _other):
        await one.aclose()
        await one.aclose()
        one.close()
        with pytest.raises(ChannelClosed):
            await one.send(b"x")
        with pytest.raises(ChannelClosed):
            await one.receive()


@every_pair
async def test_bytes_are_never_accepted_after_the_end(make_pair: MakePair) -> None:
    async with make_pair() as (one, other):
        outcome: list[type[Exception]] = []

        async def fill() -> None:
            try:
                while True:
                    await one.send(bytes(10_000))
            except ChannelClosed as exc:
                outcome.append(type(exc))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fill)
            await settle()
            await one.send_eof()
            size = len(await read_all(other))
        assert outcome == [ChannelClosed]
        assert size % 10_000 == 0


async def test_a_half_that_is_over_stays_so_when_it_moves_in_memory() -> None:
    one, other = chanlink.byte_pipe()
    sender, receiver = chanlink.pipe()
    await one.send(b"all")
    await one.send_eof()
    await sender.send(one)
    moved = await receiver.receive()
    with pytest.raises(ChannelClosed):
        await moved.send(b"more")
    assert await read_all(other) == b"all"


async def test_a_refusal_is_not_forgotten_when_the_refusing_end_moves() -> None:
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        one, other = chanlink.byte_pipe()
        one.refuse("nope")
        await carrier.send(one)
        there = await (await server.accept()).end.receive()
        with pytest.raises(ChannelRefused) as caught:
            await other.send(b"x")
        assert caught.value.code == "nope"
        await there.send(b"the other way goes on")
        assert await other.receive() == b"the other way goes on"


async def test_waiting_for_a_reader_ends_with_the_session_also_after_eof() -> None:
    async with session_pair() as (client, _server):
        one = await client.open_stream("service")
        await one.send_eof()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.wait_closed)
            await settle()
            client.abort()


async def test_what_was_written_before_the_message_arrives_first() -> None:
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        here, there = chanlink.byte_pipe()
        await here.send(b"before, ")
        await there.send(b"the other way")
        await carrier.send(there)
        await here.send(b"after")
        await here.send_eof()
        arrived = await (await server.accept()).end.receive()
        assert await read_all(arrived) == b"before, after"
        assert await here.receive() == b"the other way"
        with pytest.raises(ChannelMoved):
            await there.send(b"x")


async def test_a_session_that_is_lost_is_never_an_end() -> None:
    async with session_pair() as (client, server):
        one = await client.open_stream("service")
        other = (await server.accept()).end
        await one.send(b"a part")
        await settle()
        client.abort()
        await settle()
        assert await other.receive() == b"a part"
        with pytest.raises(SessionLost):
            await other.receive()
        with pytest.raises(SessionLost):
            await one.send(b"x")


async def test_many_byte_streams_leave_every_table_empty() -> None:
    async with session_pair() as (client, server):
        for n in range(300):
            one = await client.open_stream("service")
            other = (await server.accept()).end
            await one.send(b"x")
            if n % 3 == 0:
                one.close()
                other.close()
            elif n % 3 == 1:
                other.close()
                one.fail("code")
            else:
                await one.send_eof()
                await other.send_eof()
        await settle()
        assert client.statistics().channels == server.statistics().channels == 0
        assert client.statistics().budget == server.statistics().budget == chanlink.Limits().session_budget


async def test_wait_closed_returns_when_both_directions_are_over() -> None:
    async with session_pair() as (client, server):
        near = await client.open_stream("service")
        far = (await server.accept()).end
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(near.wait_closed)
            await near.send(b"all")
            await near.send_eof()
            assert [piece async for piece in far] == [b"all"]
            await far.aclose()


async def test_the_size_is_known_to_who_receives_and_does_not_shrink() -> None:
    left, right = chanlink.byte_pipe(10)
    async with left, right:
        assert (left.size, right.size) == (None, 10)
        await left.send(b"12345")
        assert await right.receive() == b"12345"
        assert right.size == 10
        await left.send(b"67890")
        await left.send_eof()
        assert await right.receive() == b"67890"
        with pytest.raises(chanlink.EndOfChannel):
            await right.receive()
        assert right.size == 10


async def test_a_stream_of_no_bytes_has_a_size_too() -> None:
    left, right = chanlink.byte_pipe(0)
    async with left, right:
        assert right.size == 0
