"""Clones of senders: one receiver, fed from many places. Over every route."""

from typing import Any

import anyio
import pytest

from chanlink import ChannelClosed, ChannelFailed, ChannelRefused, EndOfChannel, SessionLost

from .routes import Route, every_route, every_session

pytestmark = pytest.mark.anyio


@every_route
async def test_the_channel_ends_when_the_last_clone_ends(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        clones = [places.keep(sender.clone()) for _ in range(3)]
        await sender.send("the first")
        sender.close()
        for n, clone in enumerate(clones):
            await clone.send(n)
            clone.close()
        assert [message async for message in receiver] == ["the first", 0, 1, 2]


@every_route
async def test_a_closed_clone_says_so_and_the_others_go_on(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        clone = places.keep(sender.clone())
        clone.close()
        clone.close()
        with pytest.raises(ChannelClosed):
            await clone.send(1)
        with pytest.raises(ChannelClosed):
            clone.clone()
        await sender.send(2)
        assert await receiver.receive() == 2


@every_route
async def test_clones_feed_one_receiver_from_both_places_in_their_own_order(route: Route) -> None:
    async with route() as places:
        sender, receiver = places.pipe()
        senders = [sender]
        for n in range(4):
            clone = places.keep(sender.clone())
            senders.append(await places.carry(clone) if n % 2 else clone)
        received: list[Any] = []

        async def send(name: int, one: Any) -> None:
            async with one:
                for n in range(50):
                    await one.send([name, n])

        async with anyio.create_task_group() as tasks:
            for name, one in enumerate(senders):
                tasks.start_soon(send, name, one)
            async for message in receiver:
                received.append(message)
        for name in range(5):
            assert [n for one, n in received if one == name] == list(range(50))


@every_route
async def test_one_failing_clone_does_not_stop_the_others_and_is_seen_at_the_end(route: Route) -> None:
    async with route() as places:
        sender, receiver = places.pipe()
        one = await places.carry(places.keep(sender.clone()))
        two = await places.carry(places.keep(sender.clone()))
        await one.send("from one")
        one.fail("first", "reason")
        await places.settle()
        await two.send("from two")
        two.fail("second", "reason")
        await places.settle()
        await sender.send("from the first sender")
        sender.close()
        received = [await receiver.receive() for _ in range(3)]
        assert sorted(received) == ["from one", "from the first sender", "from two"]
        for _ in range(2):
            with pytest.raises(ChannelFailed) as caught:
                await receiver.receive()
            assert (caught.value.code, caught.value.text) == ("first", "reason")


@every_session
async def test_a_lost_clone_does_not_stop_the_others_and_is_seen_at_the_end(route: Route) -> None:
    async with route() as places:
        sender, receiver = places.pipe()
        await places.carry(places.keep(sender.clone()))
        await places.cut()
        await sender.send("still there")
        sender.close()
        assert await receiver.receive() == "still there"
        with pytest.raises(SessionLost):
            await receiver.receive()


@every_route
async def test_a_refusal_reaches_every_clone(route: Route) -> None:
    async with route() as places:
        sender, receiver = places.pipe()
        clone = places.keep(sender.clone())
        far = await places.carry(places.keep(sender.clone()))
        receiver.close("enough")
        for one in (sender, clone, far):
            reason = await one.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert reason.reason == "enough"
            with pytest.raises(ChannelRefused):
                await one.send(1)


@every_route
async def test_a_clone_that_is_made_after_the_receiver_is_gone_is_refused_too(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver.close("too late")
        await sender.wait_closed()
        clone = places.keep(sender.clone())
        reason = await clone.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.reason == "too late"
        with pytest.raises(ChannelRefused):
            await clone.send(1)


@every_route
async def test_clones_whose_receiver_travels_follow_it(route: Route) -> None:
    async with route() as places:
        sender, receiver = places.pipe()
        clone = places.keep(sender.clone())
        await sender.send("before")
        there = await places.carry(receiver)
        await clone.send("after")
        sender.close()
        clone.close()
        assert sorted([message async for message in there]) == ["after", "before"]


@every_route
async def test_a_sender_that_arrived_can_be_cloned_there(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel_back()
        clone = places.keep(sender.clone())
        await clone.send(1)
        clone.close()
        await sender.send(2)
        sender.close()
        assert [message async for message in receiver] == [1, 2]


@every_route
async def test_clones_in_one_message_arrive_as_senders_of_one_channel(route: Route) -> None:
    async with route() as places:
        carrier, carried = await places.channel()
        sender, receiver = places.pipe()
        clone = places.keep(sender.clone())
        await carrier.send([sender, clone])
        one, two = places.keep(await carried.receive())
        await one.send(1)
        await places.settle()
        one.close()
        await two.send(2)
        two.close()
        assert sorted([message async for message in receiver]) == [1, 2]
        with pytest.raises(EndOfChannel):
            await receiver.receive()


@every_route
async def test_each_clone_of_a_rendezvous_waits_until_its_message_was_taken(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel(0)
        clone = places.keep(sender.clone())
        sent: list[int] = []

        async def send(n: int, one: Any) -> None:
            await one.send(n)
            sent.append(n)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, 1, sender)
            tasks.start_soon(send, 2, clone)
            await places.settle()
            assert sent == []
            first = await receiver.receive()
            await places.settle()
            assert sent == [first]
            second = await receiver.receive()
        assert sorted([first, second]) == sorted(sent) == [1, 2]
