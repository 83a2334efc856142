"""The behaviours that jschan's tests fix, over every route."""

from typing import Any

import anyio
import pytest

from chanlink import Limits

from .routes import Route, every_direct_session, every_route

pytestmark = pytest.mark.anyio


@every_direct_session
async def test_everything_accepted_is_delivered_when_the_session_closes_at_once_after(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        for n in range(100):
            await sender.send(n)
        sender.close()
        await places.near.aclose()
        assert [n async for n in receiver] == list(range(100))


@every_route
async def test_fifty_messages_arrive_in_order_on_one_channel(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(0)

        async def send() -> None:
            async with sender:
                for n in range(50):
                    await sender.send({"n": n})

        tasks.start_soon(send)
        assert [message["n"] async for message in receiver] == list(range(50))


@every_route
async def test_fifty_channels_each_carry_their_own_message(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        made = [places.pipe() for _ in range(50)]
        await sender.send([there for _, there in made])
        arrived = places.keep(await receiver.receive())
        for n, (one, _) in enumerate(made):
            await one.send(n)
            one.close()
        for n, there in reversed(list(enumerate(arrived))):
            assert [message async for message in there] == [n]


@every_route
async def test_three_thousand_items_in_one_message_each_way(route: Route) -> None:
    items = [{"id": n, "name": f"item {n}", "tags": ["a", "b"]} for n in range(3_000)]
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel()
        reply, replies = await places.channel_back()

        async def echo() -> None:
            await reply.send(await receiver.receive())

        tasks.start_soon(echo)
        await sender.send(items)
        assert await replies.receive() == items


@every_route
async def test_three_thousand_messages_each_way(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel()
        reply, replies = await places.channel_back()

        async def echo() -> None:
            async with reply:
                async for message in receiver:
                    await reply.send(message)

        async def send() -> None:
            async with sender:
                for n in range(3_000):
                    await sender.send(n)

        tasks.start_soon(echo)
        tasks.start_soon(send)
        assert [n async for n in replies] == list(range(3_000))


@every_route
async def test_a_rendezvous_whose_receiver_comes_late(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(0)
        done: list[Any] = []

        async def send() -> None:
            await sender.send("early")
            done.append(1)

        tasks.start_soon(send)
        await places.settle()
        assert done == []
        assert await receiver.receive() == "early"
        await places.settle()
        assert done == [1]


@every_route
async def test_a_rendezvous_whose_sender_comes_late(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(0)
        received: list[Any] = []

        async def receive() -> None:
            received.append(await receiver.receive())

        tasks.start_soon(receive)
        await places.settle()
        assert received == []
        await sender.send("late")
        await places.settle()
        assert received == ["late"]


@every_route
@pytest.mark.parametrize("kind", ["sender", "receiver", "byte stream"])
async def test_each_kind_of_end_passes_from_one_link_to_another(route: Route, kind: str) -> None:
    async with route() as first, route() as second:
        if kind == "byte stream":
            near, end = await first.byte_stream()
            far = await second.carry(end)
            await near.send(b"there")
            assert await far.receive() == b"there"
            await far.send(b"back")
            assert await near.receive() == b"back"
            await near.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await far.receive()
            return
        if kind == "receiver":
            sender, end = await first.channel()
            receiver = await second.carry(end)
        else:
            end, receiver = await first.channel_back()
            sender = await second.carry(end)
        await sender.send("through both")
        assert await receiver.receive() == "through both"
        sender.close()
        with pytest.raises(anyio.EndOfStream):
            await receiver.receive()


@every_direct_session
async def test_closing_delivers_what_was_accepted_though_the_windows_are_small(route: Route) -> None:
    async with route(Limits(stream_window=1_024)) as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel()
        received: list[int] = []

        async def receive() -> None:
            async for message in receiver:
                received.append(message[0])

        tasks.start_soon(receive)
        for n in range(100):
            await sender.send([n, bytes(500)])
        sender.close()
        await places.near.aclose()
        await places.far.wait_closed()
    assert received == list(range(100))
