"""Cancellation at every await: by anyio's scopes, and by asyncio itself. Over every route.

An operation runs in a task of its own and is cancelled after 0, 1, 2, ... turns of the event loop, while the other
side does its part, until it has once been left time to be done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import ChannelRefused, EndOfChannel

from .routes import Route, every_direct_session, every_route

pytestmark = pytest.mark.anyio

TURNS = 25
Operation = Callable[[], Awaitable[Any]]


async def cancel_by_scope(operation: Operation, turns: int) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(operation)
            for _ in range(turns):
                await checkpoint()
            scope.cancel()


async def cancel_by_asyncio(operation: Operation, turns: int) -> None:
    """`Task.cancel` also reaches a task that was woken and has not run yet."""
    task = asyncio.ensure_future(operation())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def cancel_by_timeout(operation: Operation, turns: int) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as timeout:

            def later(left: int) -> None:
                if left:
                    loop.call_soon(later, left - 1)
                elif not over:
                    timeout.reschedule(loop.time())

            over = False
            loop.call_soon(later, turns)
            try:
                await operation()
            finally:
                over = True
    except TimeoutError:
        pass


@pytest.fixture(params=[cancel_by_scope, cancel_by_asyncio, cancel_by_timeout], ids=lambda one: one.__name__)
def cancel(request: pytest.FixtureRequest, anyio_backend: Any) -> Any:
    if anyio_backend[0] != "asyncio" and request.param is not cancel_by_scope:
        pytest.skip("asyncio's own")
    return request.param


@every_route
@pytest.mark.parametrize("capacity", [None, 0, 1])
async def test_a_cancelled_receive_takes_nothing_with_it(route: Route, capacity: Any, cancel: Any) -> None:
    async with route() as places:
        sender, receiver = await places.channel(capacity)
        received: list[Any] = []

        async def receive() -> None:
            received.append(await receiver.receive())

        async def send() -> None:
            async with sender:
                for n in range(TURNS):
                    await sender.send(n)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            for turns in range(TURNS):
                await cancel(receive, turns % 13)
            received += [n async for n in receiver]
        assert received == list(range(TURNS))


@every_route
@pytest.mark.parametrize("capacity", [None, 0, 1])
async def test_a_cancelled_send_is_whole_or_nothing(route: Route, capacity: Any, cancel: Any) -> None:
    async with route() as places:
        sender, receiver = await places.channel(capacity)
        accepted: list[Any] = []
        received: list[Any] = []

        async def receive() -> None:
            received.extend([message["n"] async for message in receiver])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for n in range(TURNS):

                async def send() -> None:
                    await sender.send({"n": n, "data": bytes(2_000)})  # noqa: B023
                    accepted.append(n)  # noqa: B023

                await cancel(send, n)
            sender.close()
        assert received == sorted(set(received))
        assert set(accepted) <= set(received)


@every_route
@pytest.mark.parametrize("capacity", [0, 1])
async def test_a_cancelled_send_gives_back_an_end_or_has_moved_it(route: Route, capacity: int, cancel: Any) -> None:
    async with route() as places:
        sender, receiver = await places.channel(capacity)
        arrived: list[Any] = []

        async def receive() -> None:
            async for message in receiver:
                arrived.append(places.keep(message)["end"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for n in range(TURNS):
                one, other = places.pipe()

                async def send() -> None:
                    await sender.send({"end": one})  # noqa: B023

                before = len(arrived)
                await cancel(send, n)
                await places.settle()
                assert one.is_void == (len(arrived) > before)
                await (arrived[-1] if one.is_void else one).send("it works")
                assert await other.receive() == "it works"
            sender.close()


@every_route
async def test_a_cancelled_byte_stream_loses_nothing(route: Route, cancel: Any) -> None:
    async with route() as places:
        near, far = await places.byte_stream()
        received: list[bytes] = []
        accepted: list[int] = []

        async def receive() -> None:
            received.append(await far.receive())

        for n in range(TURNS):

            async def send() -> None:
                await near.send(bytes([n]) * 1_000)  # noqa: B023
                accepted.append(n)  # noqa: B023

            await cancel(send, n % 7)
            await cancel(receive, n)
        await near.send_eof()
        with pytest.raises(EndOfChannel):
            while True:
                await receive()
        data = b"".join(received)
        whole = [data[begin] for begin in range(0, len(data), 1_000)]
        assert data == b"".join(bytes([n]) * 1_000 for n in whole)
        assert whole == sorted(set(whole))
        assert set(accepted) <= set(whole)


@every_route
async def test_a_cancelled_select_takes_and_sends_nothing_or_says_so(route: Route, cancel: Any) -> None:
    async with route() as places:
        there, far = await places.channel(1)
        back, near = await places.channel_back(1)
        selected: list[Any] = []
        received: list[Any] = []

        async def feed() -> None:
            async with back:
                for n in range(TURNS):
                    await back.send(n)

        async def drain() -> None:
            received.extend([n async for n in far])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed)
            tasks.start_soon(drain)
            for turn in range(TURNS):

                async def choose() -> None:
                    selected.append(await chanlink.select(near, there.sending(turn)))  # noqa: B023

                await cancel(choose, turn % 9)
            taken = [one.value for one in selected if one.index == 0 and one.error is None]
            taken += [n async for n in near]
            there.close()
        assert taken == list(range(TURNS))
        assert received == sorted(set(received))
        assert len(received) == sum(one.index == 1 for one in selected)


@every_route
async def test_cancelled_flush_and_wait_closed_leave_the_channel_as_it_was(route: Route, cancel: Any) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        for n in range(6):
            await sender.send(n)
            await cancel(sender.flush, n)
            await cancel(sender.wait_closed, n)
        sender.close()
        await cancel(sender.flush, 3)
        assert [n async for n in receiver] == list(range(6))
        await sender.flush()


@every_route
async def test_a_cancelled_close_has_closed(route: Route, cancel: Any) -> None:
    async with route() as places:
        for turns in range(3):
            sender, receiver = await places.channel()
            await sender.send(1)
            await cancel(sender.aclose, turns)
            sender.close()
            assert [n async for n in receiver] == [1]
            sender, receiver = await places.channel()
            await cancel(receiver.aclose, turns)
            receiver.close()
            assert isinstance(await sender.wait_closed(), ChannelRefused)


@every_direct_session
async def test_a_cancelled_open_leaves_no_channel(route: Route, cancel: Any) -> None:
    async with route() as places:
        before = places.near.statistics().channels
        opened: list[Any] = []

        async def open_one() -> None:
            opened.append(places.keep(await places.near.open("service")))

        for turns in range(5):
            await cancel(open_one, turns)
        assert places.near.statistics().channels == before + len(opened)


@every_direct_session
async def test_a_cancelled_accept_takes_no_channel_with_it(route: Route, cancel: Any) -> None:
    async with route() as places:
        accepted: list[Any] = []

        async def accept() -> None:
            accepted.append(places.keep(await places.far.accept()).service)

        for turns in range(10):
            places.keep(await places.near.open(f"number {turns}"))
            await cancel(accept, turns)
        while len(accepted) < 10:
            await accept()
        assert accepted == [f"number {n}" for n in range(10)]


@every_route
async def test_who_is_cancelled_when_it_was_woken_leaves_the_message_to_the_next(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        for turns in range(TURNS):
            received: list[tuple[str, Any]] = []

            async def take(name: str, scope: anyio.CancelScope, into: list[Any] = received) -> None:
                with scope:
                    into.append((name, await receiver.receive()))

            async with anyio.create_task_group() as tasks:
                first = anyio.CancelScope()
                for name, scope in (("first", first), ("second", anyio.CancelScope())):
                    tasks.start_soon(take, name, scope)
                    await anyio.wait_all_tasks_blocked()
                await sender.send(turns)
                for _ in range(turns):
                    await checkpoint()
                first.cancel()
                while not received:
                    await checkpoint()
                if received == [("first", turns)]:  # it was done before
                    await sender.send("one for each")
            assert received in ([("second", turns)], [("first", turns), ("second", "one for each")])
