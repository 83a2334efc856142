"""Byte streams and large messages, over every route."""

import io
import os
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream

import chanlink
from chanlink import (
    ByteStream,
    ChannelClosed,
    ChannelFailed,
    ChannelRefused,
    EncodeError,
    EndOfChannel,
    Limits,
    MessageTooLarge,
)

from .routes import Route, every_route, every_session
from .test_libchan import read_all

pytestmark = pytest.mark.anyio

both_ways = pytest.mark.parametrize("turned", [False, True], ids=["there", "back"])


async def pair(places: Any, turned: bool) -> tuple[ByteStream, ByteStream]:
    near, far = await places.byte_stream()
    return (far, near) if turned else (near, far)


# --- byte streams -----------------------------------------------------------------------------------


@every_route
@both_ways
async def test_a_megabyte_arrives_exactly(route: Route, turned: bool) -> None:
    data = os.urandom(1_000_000)
    async with route() as places, anyio.create_task_group() as tasks:
        writer, reader = await pair(places, turned)

        async def write() -> None:
            await writer.send(data)
            await writer.send_eof()

        tasks.start_soon(write)
        assert await read_all(reader) == data


@every_route
@both_ways
async def test_each_half_ends_by_itself(route: Route, turned: bool) -> None:
    async with route() as places:
        one, other = await pair(places, turned)
        await one.send_eof()
        with pytest.raises(EndOfChannel):
            await other.receive()
        await other.send(b"the other half goes on")
        assert await one.receive() == b"the other half goes on"
        with pytest.raises(ChannelClosed):
            await one.send(b"late")
        await other.send_eof()
        with pytest.raises(EndOfChannel):
            await one.receive()


@every_route
@both_ways
async def test_a_failure_is_never_an_end(route: Route, turned: bool) -> None:
    async with route() as places:
        one, other = await pair(places, turned)
        await one.send(b"a part")
        one.fail("disk-error", "bad sector")
        assert await other.receive() == b"a part"
        with pytest.raises(ChannelFailed) as caught:
            await other.receive()
        assert (caught.value.code, caught.value.text) == ("disk-error", "bad sector")


@every_route
@both_ways
async def test_a_reader_that_stops_tells_its_writer_and_nothing_else_ends(route: Route, turned: bool) -> None:
    async with route() as places:
        one, other = await pair(places, turned)
        other.refuse("enough", "thanks")
        reason = await one.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert (reason.code, reason.reason) == ("enough", "thanks")
        await other.send(b"the other half goes on")
        assert await one.receive() == b"the other half goes on"


@every_route
@both_ways
async def test_backpressure_reaches_the_writer(route: Route, turned: bool) -> None:
    async with route() as places:
        writer, reader = await pair(places, turned)
        accepted = 0
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                nonlocal accepted
                while True:
                    await writer.send(bytes(1_000))
                    accepted += 1_000

            tasks.start_soon(write)
            before = -1
            while before < accepted:
                before = accepted
                await places.settle()
            tasks.cancel_scope.cancel()
        assert accepted < 1_000_000
        received = 0
        while received < accepted:
            received += len(await reader.receive())
        await writer.send(b"there is room again")
        assert await reader.receive() == b"there is room again"


@every_route
async def test_what_was_written_both_ways_before_the_move_arrives(route: Route) -> None:
    async with route() as places:
        near, leaving = places.byte_pipe()
        await near.send(b"before, ")
        await leaving.send(b"the other way")
        far = await places.carry(leaving)
        await near.send(b"after")
        await near.send_eof()
        assert await read_all(far) == b"before, after"
        assert await near.receive() == b"the other way"


SIZED = {"exact": [b"12345", b"67890"], "less": [b"123"], "more": [b"12345", b"678901"]}


@every_route
@pytest.mark.parametrize("case", SIZED)
async def test_a_sized_stream_takes_exactly_its_size(route: Route, case: str) -> None:
    async with route() as places:
        near, leaving = places.byte_pipe(10)
        far = await places.carry(leaving)
        if case == "exact":
            for piece in SIZED[case]:
                await near.send(piece)
            await near.send_eof()
            assert await read_all(far) == b"1234567890"
            return
        with pytest.raises(chanlink.ChanlinkError):
            for piece in SIZED[case]:
                await near.send(piece)
            await near.send_eof()
        with pytest.raises(ChannelFailed):
            await read_all(far)


# --- foreign streams --------------------------------------------------------------------------------


class Source(ByteReceiveStream):
    """Has this many pieces, and then ends or breaks."""

    def __init__(self, pieces: int, error: Exception | None = None) -> None:
        self.left = pieces
        self.error = error
        self.closed = False

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self.left:
            raise self.error or anyio.EndOfStream
        self.left -= 1
        return bytes(1_000)

    async def aclose(self) -> None:
        self.closed = True


@every_session
async def test_a_source_that_breaks_is_a_failure_and_never_an_end(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        await sender.send(Source(3, OSError("on disk")))
        body = places.keep(await receiver.receive())
        received = 0
        with pytest.raises(ChannelFailed) as caught:
            while True:
                received += len(await body.receive())
        assert received == 3_000
        assert (caught.value.code, caught.value.text) == ("read-failed", "OSError")


@every_session
async def test_a_source_is_read_no_faster_than_it_is_taken(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        source = Source(1_000_000)
        await sender.send(source)
        body = places.keep(await receiver.receive())
        before = -1
        while before != source.left:
            before = source.left
            await places.settle()
        assert 1_000_000 - source.left < 1_000
        body.close()
        while not source.closed:
            await places.settle()


@every_session
async def test_a_text_file_in_a_message_is_named_by_its_path(route: Route) -> None:
    async with route() as places:
        sender, _receiver = await places.channel()
        with pytest.raises(EncodeError) as caught:
            await sender.send({"args": [0, 1, {"body": io.StringIO("text")}]})
        assert caught.value.path == "args[2].body"


# --- large messages ---------------------------------------------------------------------------------


@every_route
async def test_a_large_message_goes_between_the_messages_of_other_channels(route: Route) -> None:
    async with route() as places:
        big, big_there = await places.channel()
        small, small_there = await places.channel()
        message = os.urandom(2_000_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(big.send, message)
            for n in range(30):
                await small.send(n)
                assert await small_there.receive() == n
            assert await big_there.receive() == message


@every_route
@pytest.mark.parametrize("size", [65_536, 131_060, 700_000])
async def test_long_bins_arrive_beside_ends_and_other_values(route: Route, size: int) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        data, other = os.urandom(size), os.urandom(size)
        text = other.hex()[:size]
        async with anyio.create_task_group() as tasks:
            for message in (
                {"n": 1, "body": data},
                [data, {"text": text, "deep": [other]}],
                data,
                {data: [None, other]},
            ):
                tasks.start_soon(sender.send, message)
                assert await receiver.receive() == message
            here, there = places.pipe()
            tasks.start_soon(sender.send, {"first": data, "reply": here, "text": text, "second": other})
            got = await receiver.receive()
            assert (got["first"], got["text"], got["second"]) == (data, text, other)
            await got["reply"].send(got["second"])
            assert await there.receive() == other


@every_session
async def test_what_becomes_of_a_buffer_after_it_was_sent_is_the_callers_business(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        first, second = bytearray(200_000), bytearray(200_000)
        await sender.send({"first": first})
        first[:] = second[:] = b"x" * 200_000
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                await sender.send([memoryview(second), second])
                second[:] = bytes(200_000)

            tasks.start_soon(send)
            assert await receiver.receive() == {"first": bytes(200_000)}
            assert await receiver.receive() == [b"x" * 200_000] * 2


@every_session
async def test_a_message_over_the_limit_is_refused_whole_by_its_sender(route: Route) -> None:
    async with route(Limits(message_size=50_000)) as places:
        sender, receiver = await places.channel()
        one, other = places.pipe()
        with pytest.raises(MessageTooLarge):
            await sender.send({"data": bytes(50_000), "end": one})
        await one.send("still ours")
        assert await other.receive() == "still ours"
        await sender.send(bytes(49_000))
        assert await receiver.receive() == bytes(49_000)


@every_route
async def test_a_receiver_never_sees_a_part_of_a_message(route: Route) -> None:
    """Large messages whose send is cancelled at many moments: each arrives whole or not at all."""
    async with route() as places:
        sender, receiver = await places.channel()
        received: list[bytes] = []

        async def receive() -> None:
            async for message in receiver:
                received.append(message)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for n in range(40):
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as sending:
                        sending.start_soon(sender.send, bytes([n]) * 40_000)
                        for _ in range(n % 9):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()
            sender.close()
        assert all(message == message[:1] * 40_000 for message in received)
        numbers = [message[0] for message in received]
        assert numbers == sorted(set(numbers))
