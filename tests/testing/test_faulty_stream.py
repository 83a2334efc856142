"""Byte streams that misbehave, just as they were asked to."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConnectionLost, SessionLost
from chanlink.testing import (
    FaultyStream,
    session_pair,
)

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


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


@pytest.mark.parametrize("n", [0, 1, 5])
async def test_what_is_stalled_at_a_byte_goes_on_when_it_is_told_to(n: int) -> None:
    one, other = chanlink.byte_pipe()
    faulty = FaultyStream(one, stall_after=n)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(faulty.send, b"0123456789")
        await anyio.wait_all_tasks_blocked()
        assert faulty.sent == n
        if n:
            assert await other.receive() == b"0123456789"[:n]
        with anyio.move_on_after(0):
            await other.receive()
            pytest.fail("more came")
        faulty.resume()
        assert await other.receive() == b"0123456789"[n:]
    await faulty.aclose()
    other.close()


async def test_a_receive_that_waits_when_it_is_stalled_gets_nothing_and_loses_nothing_when_it_is_cancelled() -> None:
    one, other = chanlink.byte_pipe()
    faulty = FaultyStream(one)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(faulty.receive)
        await anyio.wait_all_tasks_blocked()
        faulty.stall()
        await other.send(b"hello")
        await anyio.wait_all_tasks_blocked()
        assert faulty.received == 0
        tasks.cancel_scope.cancel()
    faulty.resume()
    assert await faulty.receive(4) == b"hell"
    assert await faulty.receive() == b"o"
    await faulty.aclose()
    other.close()


async def test_a_stalled_stream_can_be_cut_and_closed() -> None:
    for close in (FaultyStream.cut, FaultyStream.cut_if_stalled, FaultyStream.aclose):
        one, other = chanlink.byte_pipe()
        faulty = FaultyStream(one)
        faulty.stall()

        async def send(faulty: FaultyStream = faulty) -> None:
            with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
                while True:
                    await faulty.send(b"x")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            await close(faulty)
        other.close()
    one, other = chanlink.byte_pipe()
    flowing = FaultyStream(one)
    await flowing.cut_if_stalled()
    await flowing.send(b"x")
    await flowing.aclose()
    other.close()


async def test_one_bit_is_flipped_in_each_direction_at_a_byte_and_at_a_moment() -> None:
    one, other = chanlink.byte_pipe()
    faulty = FaultyStream(one, corrupt_at=2)
    for n in range(2):
        await faulty.send(b"aa")
        assert await other.receive() == (b"aa", b"`a")[n]
        await other.send(b"aa")
        assert await faulty.receive() == (b"aa", b"`a")[n]
    faulty.corrupt()
    await faulty.send(b"aa")
    assert await other.receive() == b"`a"
    await faulty.aclose()
    other.close()
