"""The seventeen behaviours that libchan's tests fix, over every route."""

import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream

import chanlink
from chanlink import ByteStream, Receiver, Sender

from .routes import Places, Route, every_route, every_session

pytestmark = pytest.mark.anyio


async def read_all(stream: ByteReceiveStream) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.receive()
    except anyio.EndOfStream:
        return data


async def copy(receiver: Receiver[Any], sender: Sender[Any]) -> None:
    """What a program in the middle does: every message of one channel goes into another, until the end."""
    async with sender, receiver:
        async for message in receiver:
            await sender.send(message)


async def copy_bytes(source: ByteStream, target: ByteStream) -> None:
    async with anyio.create_task_group() as tasks:

        async def one_way(source: ByteStream, target: ByteStream) -> None:
            try:
                while True:
                    await target.send(await source.receive())
            except anyio.EndOfStream:
                await target.send_eof()

        tasks.start_soon(one_way, source, target)
        tasks.start_soon(one_way, target, source)


@every_route
async def test_01_a_simple_message_arrives(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        async with sender:
            await sender.send({"hello": "world"})
        assert [message async for message in receiver] == [{"hello": "world"}]


@every_route
async def test_02_a_sender_in_a_message_returns_what_it_is_sent(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        there, here = places.pipe()
        await sender.send(there)
        back = places.keep(await receiver.receive())
        async with back:
            await back.send("from the other side")
        assert [message async for message in here] == ["from the other side"]


@every_route
async def test_03_a_request_gets_its_reply(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel()

        async def serve() -> None:
            async for request in receiver:
                async with request["reply"] as reply:
                    await reply.send({"sum": sum(request["add"])})

        tasks.start_soon(serve)
        for n in range(10):
            reply, replies = places.pipe()
            await sender.send({"add": [n, n, 1], "reply": reply})
            assert [answer async for answer in replies] == [{"sum": 2 * n + 1}]
        sender.close()


@every_session
async def test_04_an_open_file_in_a_message_is_read_on_the_other_side(route: Route, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"the content" * 10_000)
    async with route() as places:
        sender, receiver = await places.channel()
        with (tmp_path / "file").open("rb") as file:
            await sender.send({"name": "file", "body": file})
            body = places.keep(await receiver.receive())["body"]
            assert isinstance(body, ByteStream)
            assert await read_all(body) == b"the content" * 10_000


@every_route
async def test_05_a_message_with_a_sender_a_receiver_and_a_byte_stream_at_once(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        up, up_there = places.pipe()
        down_there, down = places.pipe()
        body, body_there = places.byte_pipe()
        await sender.send({"ends": [down_there, up_there], "more": {"body": body_there}})
        message = places.keep(await receiver.receive())
        there_down, there_up = message["ends"]
        there_body = message["more"]["body"]
        for n in range(3):
            await up.send(n)
            await there_down.send(await there_up.receive())
            assert await down.receive() == n
            await body.send(b"ping")
            assert await there_body.receive() == b"ping"
            await there_body.send(b"pong")
            assert await body.receive() == b"pong"


async def ask_four(places: Places, sender: Sender[Any], receiver: Receiver[Any]) -> None:
    """Four messages that each carry a reply sender go in; they are acknowledged in order."""
    async with anyio.create_task_group() as tasks:

        async def acknowledge() -> None:
            async for message in receiver:
                async with message["reply"] as reply:
                    await reply.send({"acknowledged": message["n"]})

        tasks.start_soon(acknowledge)
        waiting = []
        for n in range(4):
            reply, replies = places.pipe()
            await sender.send({"n": n, "reply": reply})
            waiting.append(replies)
        sender.close()
        for n, replies in enumerate(waiting):
            assert [answer async for answer in replies] == [{"acknowledged": n}]


@every_route
async def test_06_a_channel_is_copied_with_the_reply_senders_in_it(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        source, middle = places.pipe()
        sender, receiver = await places.channel()
        tasks.start_soon(copy, middle, sender)
        await ask_four(places, source, receiver)


@every_route
async def test_07_a_byte_stream_goes_through_a_copy(route: Route) -> None:
    data = os.urandom(100_000)
    async with route() as places, anyio.create_task_group() as tasks:
        here, middle = places.byte_pipe()
        near, far = await places.byte_stream()
        tasks.start_soon(copy_bytes, middle, near)

        async def echo() -> None:
            await far.send(await read_all(far))
            await far.send_eof()

        tasks.start_soon(echo)

        async def write() -> None:
            await here.send(data)
            await here.send_eof()

        tasks.start_soon(write)
        assert await read_all(here) == data


@every_route
async def test_08_ends_made_in_memory_travel_with_what_is_in_them(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe()
        for n in range(5):
            await one.send(n)
        one.close()
        await sender.send({"numbers": other})
        numbers = places.keep(await receiver.receive())["numbers"]
        assert [n async for n in numbers] == list(range(5))


@every_route
async def test_09_an_end_where_none_was_expected_is_ignored_without_harm(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, _other = places.pipe()
        body, there = places.byte_pipe()
        await sender.send({"n": 1, "surprise": one, "more": there})
        message = places.keep(await receiver.receive())
        assert message["n"] == 1
        message["surprise"].close()
        message["more"].close()
        await sender.send({"n": 2})
        assert await receiver.receive() == {"n": 2}
        assert isinstance(await body.wait_closed(), chanlink.ChannelRefused)


@every_route
async def test_10_what_is_written_before_the_message_arrives(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        body, there = places.byte_pipe()
        await body.send(b"before the message, ")
        await sender.send(there)
        await body.send(b"and after it")
        await body.send_eof()
        assert await read_all(places.keep(await receiver.receive())) == b"before the message, and after it"


@every_session
async def test_11_a_foreign_stream_is_wrapped_and_its_server_speaks_first(route: Route) -> None:
    """A server of another protocol, reached through the peer: as a proxy does it."""

    async def greet(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b"220 hello\n")
            await stream.send(b"you said " + await stream.receive())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, greet)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with route() as places:
            sender, receiver = await places.channel()
            await sender.send(await anyio.connect_tcp("127.0.0.1", port))
            body = places.keep(await receiver.receive())
            assert await body.receive() == b"220 hello\n"
            await body.send(b"EHLO")
            assert await read_all(body) == b"you said EHLO"
        tasks.cancel_scope.cancel()


@every_route
async def test_12_three_levels_of_nesting(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, one_there = places.pipe()
        await sender.send({"one": one_there})
        there = places.keep(await receiver.receive())["one"]
        two_there, two = places.pipe()
        await one.send([two_there])
        [back] = places.keep(await there.receive())
        three, three_there = places.pipe()
        await back.send((three_there,))
        [last] = places.keep(await two.receive())
        await three.send("from far to near, at the third level")
        assert await last.receive() == "from far to near, at the third level"


@every_route
async def test_13_senders_travel_back_over_a_nested_sender(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        offers, offered = places.pipe()
        await sender.send(offers)
        far_offers = places.keep(await receiver.receive())
        received = []
        for n in range(3):
            one, one_far = places.pipe()
            await far_offers.send({"n": n, "sender": one})
            offer = places.keep(await offered.receive())
            await offer["sender"].send(offer["n"])
            received.append(await one_far.receive())
        assert received == [0, 1, 2]


@every_route
async def test_14_everything_in_the_first_message(route: Route) -> None:
    async with route() as places:
        one, other = places.pipe()
        body, body_there = places.byte_pipe()
        inner, inner_there = places.pipe()
        await inner.send("innermost")
        await one.send({"inner": inner_there, "body": body_there})
        await body.send(b"bytes")
        sender, receiver = places.pipe()
        await sender.send({"data": [1, "two", 3.0, None], "other": other})
        sender.close()
        there = await places.carry(receiver)
        message = places.keep(await there.receive())
        assert message["data"] == [1, "two", 3.0, None]
        nested = places.keep(await message["other"].receive())
        assert await nested["inner"].receive() == "innermost"
        assert await nested["body"].receive() == b"bytes"


@every_route
async def test_15_a_channel_is_copied_from_one_link_into_another(route: Route) -> None:
    async with route() as first, route() as second, anyio.create_task_group() as tasks:
        sender, middle = await first.channel()
        onward, receiver = await second.channel()
        tasks.start_soon(copy, middle, onward)
        await ask_four(first, sender, receiver)


@every_route
async def test_16_a_byte_stream_is_copied_from_one_link_into_another(route: Route) -> None:
    data = os.urandom(100_000)
    async with route() as first, route() as second, anyio.create_task_group() as tasks:
        near, middle = await first.byte_stream()
        onward, far = await second.byte_stream()
        tasks.start_soon(copy_bytes, middle, onward)

        async def echo() -> None:
            await far.send(await read_all(far))
            await far.send_eof()

        async def write() -> None:
            await near.send(data)
            await near.send_eof()

        tasks.start_soon(echo)
        tasks.start_soon(write)
        assert await read_all(near) == data


@every_route
async def test_17_messages_with_every_kind_of_end_are_copied_from_one_link_into_another(route: Route) -> None:
    async with route() as first, route() as second, anyio.create_task_group() as tasks:
        sender, middle = await first.channel()
        onward, receiver = await second.channel()
        tasks.start_soon(copy, middle, onward)
        up, up_there = first.pipe()
        down_there, down = first.pipe()
        body, body_there = first.byte_pipe()
        await body.send(b"before, ")
        await sender.send({"up": up_there, "down": down_there, "body": body_there})
        message = second.keep(await receiver.receive())
        await up.send(1)
        await message["down"].send(await message["up"].receive() + 1)
        assert await down.receive() == 2
        await body.send(b"after")
        await body.send_eof()
        assert await read_all(message["body"]) == b"before, after"
        await message["body"].send(b"and back")
        assert await body.receive() == b"and back"
        up.close()
        assert [n async for n in message["up"]] == []
        message["down"].fail("broken", "there")
        with pytest.raises(chanlink.ChannelFailed) as caught:
            await down.receive()
        assert (caught.value.code, caught.value.text) == ("broken", "there")
        sender.close()
