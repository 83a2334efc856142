"""Two pipes as a connection."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from chanlink.transport.pipes import PipeTransport, is_stream, make_room

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[PipeTransport, PipeTransport]]:
    (r1, w1), (r2, w2) = os.pipe(), os.pipe()
    one, two = PipeTransport(r1, w2), PipeTransport(r2, w1)
    try:
        yield one, two
    finally:
        await one.aclose()
        await two.aclose()


async def test_bytes_both_ways_and_half_an_end() -> None:
    async with joined() as (one, two):
        await one.send(b"there")
        assert await two.receive() == b"there"
        await one.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await two.receive()
        await two.send(b"back")
        assert await one.receive() == b"back"
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"x")


async def test_more_than_a_pipe_holds() -> None:
    data = os.urandom(3_000_000)
    async with joined() as (one, two), anyio.create_task_group() as tasks:
        tasks.start_soon(one.send, data)
        arrived = bytearray()
        while len(arrived) < len(data):
            arrived += await two.receive()
        assert arrived == data


async def test_what_needs_no_waiting() -> None:
    async with joined() as (one, two):
        buffer = memoryview(bytearray(10))
        assert two.receive_now(buffer) is None
        assert one.send_now(b"abc") == 3
        assert two.receive_now(buffer) == 3
        assert bytes(buffer[:3]) == b"abc"
        while one.send_now(bytes(65_536)):
            pass
        assert one.send_now(b"x") == 0
        await one.aclose()
        while two.receive_now(memoryview(bytearray(1_000_000))):
            pass
        assert two.receive_now(buffer) == 0


async def test_whether_what_comes_is_the_end() -> None:
    async with joined() as (one, two):
        await one.send(b"a")
        assert await two.readable()
        assert await two.receive() == b"a"
        await one.send_eof()
        assert not await two.readable()


async def test_each_time_that_something_comes() -> None:
    async with joined() as (one, two):
        heard, buffer = bytearray(), memoryview(bytearray(100))

        def look() -> None:
            size = two.receive_now(buffer)
            if size == 0:
                raise anyio.EndOfStream
            heard.extend(buffer[: size or 0])

        async def speak() -> None:
            for n in range(5):
                await one.send(bytes([n]) * 300)
            await one.send_eof()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak)
            with pytest.raises(anyio.EndOfStream):
                await two.each_time_readable(look)
        assert heard == b"".join(bytes([n]) * 300 for n in range(5))


async def test_who_waits_is_told_that_it_was_closed() -> None:
    async with joined() as (one, _), anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await one.receive()

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await one.aclose()


async def test_nobody_reads_any_more() -> None:
    async with joined() as (one, two):
        await two.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            await one.send(b"x")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_others_have_the_pipe_as_it_was() -> None:
    reading, writing = os.pipe()
    kept = os.dup(writing)
    stream = PipeTransport(reading, writing)
    assert not os.get_blocking(kept)
    await stream.aclose()
    assert os.get_blocking(kept)
    os.close(kept)


def test_what_can_be_waited_for() -> None:
    reading, writing = os.pipe()
    with open(os.devnull) as nothing:
        assert is_stream(reading)
        assert not is_stream(nothing.fileno())
        make_room(nothing.fileno())  # which it has not
    os.close(reading)
    os.close(writing)
    assert not is_stream(10_000)
