"""Flow: credit follows what is taken, capacity and rendezvous are exact, nobody slows another."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from chanlink import Session
from chanlink.testing import session_over
from chanlink.testing.promises import eventually

from .routes import PATIENCE, Route, every_route, every_session

pytestmark = pytest.mark.anyio


async def fill(places: Any, sender: Any, message: Any) -> int:
    """Send without waiting until nothing more is accepted, also once all is settled."""
    count = before = 0
    while True:
        try:
            sender.send_nowait(message)
            count += 1
        except anyio.WouldBlock:
            if before == count:
                return count
            before = count
            await places.settle()


@every_route
@pytest.mark.parametrize("capacity", [1, 2, 5])
async def test_capacity_is_exact(route: Route, capacity: int) -> None:
    async with route() as places:
        sender, receiver = await places.channel(capacity)
        assert await fill(places, sender, "x") == capacity
        for taken in range(1, 4):
            await receiver.receive()
            await places.settle()
            assert sender.taken == taken
            assert await fill(places, sender, "x") == 1


@every_route
async def test_a_rendezvous_has_at_most_one_message_under_way(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(0)
        sent: list[int] = []

        async def send(n: int) -> None:
            await sender.send(n)
            sent.append(n)

        for n in range(3):
            tasks.start_soon(send, n)
        for turn in range(3):
            await places.settle()
            assert len(sent) == turn
            received = await receiver.receive()
            await eventually(lambda: len(sent) == turn + 1)  # noqa: B023
            assert sent[-1] == received


@every_route
async def test_flush_and_taken_count_what_the_far_application_took(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(10)
        flushed: list[bool] = []

        async def flush() -> None:
            await sender.flush()
            flushed.append(True)

        for n in range(4):
            await sender.send(n)
        tasks.start_soon(flush)
        for n in range(4):
            await places.settle()
            assert sender.taken == n
            assert flushed == []
            await receiver.receive()
        await eventually(lambda: flushed)
        assert sender.taken == 4


@every_route
async def test_flush_is_a_matter_of_what_was_sent_before_it(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(10)
        flushed: list[bool] = []

        async def flush() -> None:
            await sender.flush()
            flushed.append(True)

        await sender.send(1)
        tasks.start_soon(flush)
        await places.settle()
        await sender.send(2)
        await receiver.receive()
        await eventually(lambda: flushed)


@every_session
async def test_credit_follows_what_is_taken_and_not_what_has_arrived(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        accepted = await fill(places, sender, bytes(1_000))
        assert await fill(places, sender, bytes(1_000)) == 0  # whatever has arrived since then
        for _ in range(accepted):
            await receiver.receive()
        await places.settle()
        assert await fill(places, sender, bytes(1_000)) >= 1


@every_session
async def test_a_stalled_channel_leaves_ninety_nine_others_at_full_speed(route: Route) -> None:
    async with route() as places:
        carrier, carried = await places.channel()
        made = [places.pipe() for _ in range(100)]
        await carrier.send([there for _, there in made])
        arrived = places.keep(await carried.receive())
        stalled = made[0][0]
        assert await fill(places, stalled, bytes(1_000)) > 0
        async with anyio.create_task_group() as tasks:

            async def send(sender: Any) -> None:
                async with sender:
                    for n in range(20):
                        await sender.send([n, bytes(1_000)])

            async def receive(receiver: Any) -> None:
                assert [message[0] async for message in receiver] == list(range(20))

            for (sender, _), receiver in zip(made[1:], arrived[1:], strict=True):
                tasks.start_soon(send, sender)
                tasks.start_soon(receive, receiver)
        with pytest.raises(anyio.WouldBlock):
            stalled.send_nowait("still stalled")
        assert await arrived[0].receive() == bytes(1_000)


@every_route
async def test_bulk_bytes_do_not_hold_up_a_message(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        near, far = await places.byte_stream()
        sender, receiver = await places.channel()

        async def write() -> None:
            while True:
                await near.send(bytes(100_000))

        async def read() -> None:
            while True:
                await far.receive()

        tasks.start_soon(write)
        tasks.start_soon(read)
        for n in range(30):
            await sender.send(n)
            assert await receiver.receive() == n
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def tiny_sockets() -> AsyncIterator[tuple[Session, Session]]:
    """Two sessions over a pair of sockets that hold as little as the system allows."""
    streams = []
    for one in socket.socketpair():
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        one.setblocking(False)
        streams.append(await SocketStream.from_socket(one))

    async with (
        session_over(streams[0], client_side=True) as client,
        session_over(streams[1], client_side=False) as server,
    ):
        yield client, server


async def test_floods_both_ways_over_tiny_socket_buffers_do_not_deadlock() -> None:
    with anyio.fail_after(PATIENCE):
        async with tiny_sockets() as (client, server), anyio.create_task_group() as tasks:
            to_server, to_client = await client.open("flood"), await server.open("flood")
            received: list[int] = []

            async def send(sender: Any) -> None:
                async with sender:
                    for n in range(200):
                        await sender.send([n, bytes(3_000)])

            async def receive(receiver: Any) -> None:
                async for n, _ in receiver:
                    received.append(n)

            tasks.start_soon(send, to_server)
            tasks.start_soon(send, to_client)
            for session in (client, server):
                tasks.start_soon(receive, (await session.accept()).end)
        assert sorted(received) == sorted([*range(200), *range(200)])


@every_route
async def test_floods_both_ways_do_not_deadlock(route: Route) -> None:
    async with route() as places:
        there, back = await places.channel(), await places.channel_back()
        async with anyio.create_task_group() as tasks:

            async def send(sender: Any) -> None:
                async with sender:
                    for n in range(100):
                        await sender.send([n, bytes(5_000)])

            async def receive(receiver: Any) -> None:
                assert [message[0] async for message in receiver] == list(range(100))

            for sender, receiver in (there, back):
                tasks.start_soon(send, sender)
                tasks.start_soon(receive, receiver)


@every_route
async def test_three_tasks_that_share_a_sender_get_their_turns(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel(2)
        counts = [0, 0, 0]
        async with anyio.create_task_group() as tasks:

            async def send(n: int) -> None:
                while True:
                    await sender.send(n)
                    counts[n] += 1

            for n in range(3):
                tasks.start_soon(send, n)
            for _ in range(300):
                await receiver.receive()
            tasks.cancel_scope.cancel()
        assert min(counts) >= 10  # a task that has just sent may be quicker than one that waits, but none starves
