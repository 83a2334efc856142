"""Select: exactly one case commits, the others have no effect; the same over every route."""

import random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import ChannelFailed, ChannelMoved, ChannelRefused, EndOfChannel, SessionLost

from .routes import Route, every_route, every_session, memory

pytestmark = pytest.mark.anyio


@every_route
async def test_a_message_that_is_there_is_taken_and_nothing_else(route: Route) -> None:
    async with route() as places:
        idle_sender, idle = await places.channel()
        sender, receiver = await places.channel(5)
        await sender.send("first")
        await sender.send("second")
        selected = await chanlink.select(idle, receiver)
        assert (selected.index, selected.value, selected.error) == (1, "first", None)
        assert selected.channel is receiver
        assert await receiver.receive() == "second"
        await idle_sender.send("later")
        assert await idle.receive() == "later"
        await places.settle()
        assert sender.taken == 2


@every_route
async def test_of_two_cases_that_are_ready_one_commits_and_the_other_has_no_effect(route: Route) -> None:
    async with route() as places:
        one, one_there = await places.channel(5)
        two, two_there = await places.channel(5)
        await one.send("one")
        await two.send("two")
        await places.settle()
        selected = await chanlink.select(one_there, two_there)
        assert selected.value == ["one", "two"][selected.index]
        assert selected.error is None
        await places.settle()
        assert one.taken + two.taken == 1
        other = [two_there, one_there][selected.index]
        assert await other.receive() == ["two", "one"][selected.index]


@every_route
async def test_a_send_commits_when_there_is_room(route: Route) -> None:
    async with route() as places:
        _idle_sender, idle = await places.channel_back()
        sender, receiver = await places.channel(1)
        selected = await chanlink.select(idle, sender.sending("by select"))
        assert (selected.index, selected.error) == (1, None)
        assert selected.channel is sender
        with pytest.raises(anyio.WouldBlock):
            chanlink.select_nowait(idle, sender.sending("one too many"))
        assert await receiver.receive() == "by select"
        selected = await chanlink.select(idle, sender.sending("there is room again"))
        assert await receiver.receive() == "there is room again"


@every_route
async def test_a_select_waits_for_whichever_comes_first(route: Route) -> None:
    async with route() as places:
        senders, receivers = zip(*[await places.channel() for _ in range(3)], strict=True)
        full, drain = await places.channel_back(1)
        await full.send("fills it")
        for first in (2, 0, 1, 3):
            results: list[Any] = []

            async def choose() -> None:
                results.append(await chanlink.select(*receivers, full.sending("now")))  # noqa: B023

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(choose)
                await places.settle()
                assert results == []
                if first == 3:
                    assert await drain.receive() == "fills it"
                else:
                    await senders[first].send(first)
            assert results[0].index == first
            assert results[0].error is None
            assert results[0].value == first or first == 3
        assert await drain.receive() == "now"


@every_route
async def test_closings_are_cases_too(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        _idle_sender, idle = await places.channel()
        with pytest.raises(anyio.WouldBlock):
            chanlink.select_nowait(sender.closing(), idle)
        receiver.close("enough")
        selected = await chanlink.select(idle, sender.closing())
        assert selected.index == 1
        assert isinstance(selected.error, ChannelRefused)
        assert selected.error.reason == "enough"

        sender, receiver = await places.channel()
        await sender.send("before the end")
        sender.close()
        await places.settle()
        with pytest.raises(anyio.WouldBlock):  # it is over, but not drained
            chanlink.select_nowait(receiver.closing(), idle)
        assert await receiver.receive() == "before the end"
        selected = await chanlink.select(receiver.closing(), idle)
        assert selected.index == 0
        assert isinstance(selected.error, EndOfChannel)


@every_route
async def test_an_end_that_is_over_is_ready_and_its_reason_is_reported_not_raised(route: Route) -> None:
    async with route() as places:
        _idle_sender, idle = await places.channel()
        for how, kind in (("close", EndOfChannel), ("fail", ChannelFailed)):
            sender, receiver = await places.channel()
            await sender.send("before")
            sender.fail("code") if how == "fail" else sender.close()
            selected = await chanlink.select(idle, receiver)
            assert (selected.value, selected.error) == ("before", None)
            for _ in range(2):
                selected = await chanlink.select(idle, receiver)
                assert selected.index == 1
                assert isinstance(selected.error, kind)
        sender, receiver = await places.channel()
        receiver.close()
        await sender.wait_closed()
        selected = await chanlink.select(idle, sender.sending("too late"))
        assert isinstance(selected.error, ChannelRefused)


@every_route
async def test_a_select_that_is_cancelled_has_done_nothing(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        full, drain = await places.channel_back(1)
        await full.send("fills it")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(chanlink.select, receiver, full.sending("never"))
                await places.settle()
                scope.cancel()
        await sender.send("for the next one")
        assert await receiver.receive() == "for the next one"
        assert await drain.receive() == "fills it"
        full.close()
        assert [message async for message in drain] == []


@every_route
async def test_ends_in_a_case_that_does_not_commit_stay_ours(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        full, drain = await places.channel_back(1)
        await full.send("fills it")
        one, other = places.pipe()
        await sender.send("ready")
        selected = await chanlink.select(full.sending({"end": one}), receiver)
        assert selected.value == "ready"
        await one.send("still ours")
        assert await other.receive() == "still ours"
        assert await drain.receive() == "fills it"
        _idle_sender, idle = await places.channel()
        selected = await chanlink.select(full.sending({"end": one}), idle)
        assert selected.index == 0
        with pytest.raises(ChannelMoved):
            await one.send("it moved")
        await places.keep(await drain.receive())["end"].send("by its new owner")
        assert await other.receive() == "by its new owner"


@every_route
async def test_cases_that_are_always_ready_are_served_alike(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        pairs = [await places.channel(4) for _ in range(3)]
        counts = [0, 0, 0]

        async def send(sender: Any) -> None:
            async with sender:
                for n in range(60):
                    await sender.send(n)

        for sender, _ in pairs:
            tasks.start_soon(send, sender)
        for _ in range(90):
            selected = await chanlink.select(*(receiver for _, receiver in pairs))
            counts[selected.index] += 1
            await places.settle() if selected.index == 0 and counts[0] % 10 == 0 else await checkpoint()
        assert min(counts) >= 10
        for _, receiver in pairs:
            async for _ in receiver:
                pass


@every_route
async def test_memory_and_remote_ends_mix(route: Route) -> None:
    async with route() as places, memory() as local:
        sender, receiver = await places.channel()
        here, there = await local.channel()
        await here.send("local")
        selected = await chanlink.select(receiver, there)
        assert (selected.index, selected.value) == (1, "local")
        await sender.send("remote")
        selected = await chanlink.select(there, receiver)
        assert (selected.index, selected.value) == (1, "remote")


async def test_two_selects_that_face_each_other_in_memory_make_exactly_one_pair() -> None:
    async with memory() as places:
        for turn in range(50):
            one, one_there = places.pipe(0)
            two, two_there = places.pipe(0)
            results: dict[str, Any] = {}

            async def choose(name: str, *cases: Any) -> None:
                results[name] = await chanlink.select(*cases)  # noqa: B023

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(choose, "a", one_there, two.sending("from a"))
                if turn % 2:
                    await places.settle()
                tasks.start_soon(choose, "b", one.sending("from b"), two_there)
            assert results["a"].index == results["b"].index
            assert results["a"].error is results["b"].error is None
            assert (results["a"].value == "from b") != (results["b"].value == "from a")
            for sender, receiver in ((one, one_there), (two, two_there)):
                sender.close()
                with pytest.raises(EndOfChannel):
                    receiver.receive_nowait()


@every_session
async def test_two_selects_that_face_each_other_over_a_session_lose_nothing_and_go_on(route: Route) -> None:
    async with route() as places:
        there, there_far = await places.channel(1)
        back, back_near = await places.channel_back(1)
        sent: list[str] = []
        received: list[str] = []

        async def play(name: str, sender: Any, receiver: Any) -> None:
            for n in range(40):
                selected = await chanlink.select(sender.sending(f"{name} {n}"), receiver)
                if selected.index == 0:
                    sent.append(f"{name} {n}")
                else:
                    received.append(selected.value)
            sender.close()
            received.extend([message async for message in receiver])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play, "near", there, back_near)
            tasks.start_soon(play, "far", back, there_far)
        assert sorted(received) == sorted(sent)


@every_route
async def test_nothing_is_lost_or_doubled_when_selects_are_cancelled_at_random(route: Route) -> None:
    chance = random.Random(7)
    async with route() as places:
        one, one_there = await places.channel(2)
        two, two_there = await places.channel(0)
        sent: list[int] = []
        received: list[int] = []

        async def send(start: int) -> None:
            for n in range(start, start + 60):
                while not sent or n not in sent[-3:]:
                    with anyio.CancelScope() as scope:
                        async with anyio.create_task_group() as tasks:

                            async def once() -> None:
                                selected = await chanlink.select(one.sending(n), two.sending(n))  # noqa: B023
                                assert selected.error is None
                                sent.append(n)  # noqa: B023
                                scope.cancel()

                            tasks.start_soon(once)
                            for _ in range(chance.randint(0, 30)):
                                await checkpoint()
                            scope.cancel()

        async def receive() -> None:
            while True:
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:

                        async def once() -> None:
                            selected = await chanlink.select(one_there, two_there)
                            if selected.error is None:
                                received.append(selected.value)
                            else:
                                assert isinstance(selected.error, EndOfChannel)
                                over.set()
                            scope.cancel()

                        tasks.start_soon(once)
                        for _ in range(chance.randint(0, 30)):
                            await checkpoint()
                        scope.cancel()
                if over.is_set():
                    return

        over = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await send(0)
            one.close()
            two.close()
        for receiver in (one_there, two_there):
            received.extend([n async for n in receiver])
        assert sorted(received) == sorted(sent) == list(range(60))


@every_session
async def test_a_select_returns_when_the_connection_dies(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel(1)
        await sender.send("fills it")
        quiet_sender, quiet = await places.channel()
        results: list[Any] = []

        async def choose(*cases: Any) -> None:
            results.append(await chanlink.select(*cases))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(choose, sender.sending("waits"))
            tasks.start_soon(choose, quiet)
            tasks.start_soon(choose, quiet_sender.closing())
            await places.settle()
            assert results == []
            await places.cut()
        assert [type(one.error) for one in results] == [SessionLost] * 3
        receiver.close()


@every_route
async def test_a_selector_reports_every_message_and_every_end_once(route: Route) -> None:
    async with route() as places:
        pairs = [await places.channel() for _ in range(5)]
        expected = []
        for n, (sender, _) in enumerate(pairs):
            for k in range(n):
                await sender.send(n * 10 + k)
                expected.append(n * 10 + k)
            sender.fail("code") if n == 3 else sender.close()
        received: list[Any] = []
        over: dict[Any, Any] = {}
        async with chanlink.Selector() as selector:
            for _, receiver in pairs:
                selector.add(receiver)
            async for selected in selector:
                if selected.error is None:
                    received.append(selected.value)
                else:
                    assert selected.channel not in over
                    over[selected.channel] = type(selected.error)
        assert sorted(received) == expected
        assert list(over.values()).count(ChannelFailed) == 1
        assert list(over.values()).count(EndOfChannel) == 4


@every_route
async def test_an_end_that_was_removed_from_a_selector_is_left_alone(route: Route) -> None:
    async with route() as places:
        one, one_there = await places.channel()
        two, two_there = await places.channel()
        await one.send("not for the selector")
        await two.send("for the selector")
        two.close()
        async with chanlink.Selector() as selector:
            number = selector.add(one_there)
            selector.add(two_there)
            selector.remove(number)
            seen = [selected.value async for selected in selector if selected.error is None]
        assert seen == ["for the selector"]
        assert await one_there.receive() == "not for the selector"
