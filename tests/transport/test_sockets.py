"""Sockets before and after the peer is authenticated: how little is read, and what needs no waiting."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
import uvloop

from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE, until
from tests.resuming.namespaces import SERVER, cable

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@asynccontextmanager
async def connected(family: int) -> AsyncIterator[tuple[SocketTransport, socket.socket]]:
    """A socket of ours, and the non-blocking socket at its other side."""
    host: Any = "" if family == socket.AF_UNIX else "127.0.0.1"
    with socket.socket(family) as server:
        server.bind((host, 0) if host else host)
        server.listen(1)
        far = socket.socket(family)
        far.connect(server.getsockname())
        near, _ = server.accept()
    far.setblocking(False)
    stream = SocketTransport(near)
    try:
        yield stream, far
    finally:
        await stream.aclose()
        far.close()


both_families = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])


@both_families
async def test_it_takes_no_more_than_it_is_asked_for(family: int) -> None:
    async with connected(family) as (stream, far):
        far.send(b"0123456789")
        assert await stream.receive(3) == b"012"
        await anyio.wait_all_tasks_blocked()
        assert stream._sock.recv(100, socket.MSG_PEEK) == b"3456789"


@both_families
async def test_a_stranger_who_floods_fills_the_buffers_of_the_kernel_and_no_more(family: int) -> None:
    async with connected(family) as (stream, far):
        full = fill(far)
        assert await stream.receive(9) == bytes(9)
        more = 0
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
            more += fill(far)
        assert more < max(full, 1_000_000)  # the kernel may move some from one buffer to the other


def fill(sock: socket.socket) -> int:
    """Send until nothing more is taken."""
    sent = 0
    with suppress(BlockingIOError):
        while sent < 64_000_000:
            sent += sock.send(bytes(65_536))
    return sent


@both_families
async def test_receiving_waits_and_lets_others_run_though_there_is_always_something(family: int) -> None:
    async with connected(family) as (stream, far):
        far.send(bytes(1_000))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(1_000):
                assert await stream.receive(1) == b"\0"
            tasks.cancel_scope.cancel()
        assert turns > 500


@both_families
async def test_a_large_item_is_sent_whole_as_the_peer_takes_it(family: int) -> None:
    async with connected(family) as (stream, far):
        data = os.urandom(8_000_000)
        got = bytearray()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            while len(got) < len(data):
                await anyio.wait_readable(far)
                got += far.recv(1_000_000)
        assert got == data


@both_families
async def test_the_end_and_half_ends(family: int) -> None:
    async with connected(family) as (stream, far):
        await stream.send_eof()
        await stream.send_eof()
        await anyio.wait_readable(far)
        assert far.recv(1) == b""
        far.send(b"x")
        assert await stream.receive() == b"x"
        far.close()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        await stream.send_eof()


def reset(sock: socket.socket) -> None:
    """Close a TCP connection so that the other side sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


async def test_a_reset_is_a_broken_resource_in_all_it_does() -> None:
    async with connected(socket.AF_INET) as (stream, far):
        reset(far)
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"x")
        await stream.send_eof()


async def test_a_connection_that_was_reset_before_it_is_looked_at_makes_no_trouble() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        reset(client)
        await anyio.wait_readable(server)
        stream = SocketTransport(server.accept()[0])
    with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
        await stream.receive()
    await stream.aclose()


class DeadSocket(socket.socket):
    """What macOS gives for a connection that was reset before it was accepted."""

    def setsockopt(self, *args: Any) -> None:
        raise OSError(errno.EINVAL, "invalid argument")


@one_backend
async def test_a_connection_that_takes_no_options_makes_no_trouble() -> None:
    stream = SocketTransport(DeadSocket())
    with pytest.raises(anyio.BrokenResourceError):
        await stream.receive()
    await stream.aclose()


@both_families
async def test_a_closed_stream_says_so(family: int) -> None:
    async with connected(family) as (stream, far):
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"x")
        assert far.recv(1) == b""


@both_families
async def test_closing_wakes_who_waits(family: int) -> None:
    async with connected(family) as (stream, _):

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()


@both_families
async def test_a_cancelled_receive_has_taken_nothing(family: int) -> None:
    async with connected(family) as (stream, far):
        with anyio.move_on_after(0.01):
            await stream.receive()
        far.send(b"x")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream.receive()
        assert scope.cancelled_caught
        assert await stream.receive() == b"x"


# --- without waiting ------------------------------------------------------------------------------------


@both_families
async def test_what_can_be_received_now_is_and_the_end_is_nothing(family: int) -> None:
    buffer = memoryview(bytearray(3))
    async with connected(family) as (stream, far):
        assert stream.receive_now(buffer) is None
        far.send(b"0123")
        await stream.wait_readable()
        assert stream.receive_now(buffer) == 3
        assert stream.receive_now(buffer[:2]) == 1
        assert bytes(buffer) == b"312"
        assert stream.receive_now(buffer) is None
        far.close()
        await stream.wait_readable()
        assert stream.receive_now(buffer) == 0


@both_families
async def test_what_can_be_sent_now_is_and_no_more(family: int) -> None:
    async with connected(family) as (stream, far):
        sent = 0
        while count := stream.send_now(memoryview(bytes(100_000))):
            sent += count
        received = 0
        while received < sent:
            received += len(far.recv(1_000_000))
        await stream.send(b"and on")
        assert far.recv(10) == b"and on"


async def test_a_connection_that_was_reset_is_broken_for_all_of_them() -> None:
    async with connected(socket.AF_INET) as (stream, far):
        reset(far)
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            stream.send_now(b"x")


@both_families
async def test_what_is_closed_is_closed_for_all_of_them(family: int) -> None:
    async with connected(family) as (stream, _far):
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            stream.receive_now(memoryview(bytearray(1)))
        with pytest.raises(anyio.ClosedResourceError):
            stream.send_now(b"x")
        for _ in range(2):
            with pytest.raises(anyio.ClosedResourceError):
                await stream.wait_readable()


# --- each time ------------------------------------------------------------------------------------------


class Enough(Exception):
    pass


@both_families
async def test_it_is_looked_at_each_time_that_something_comes_until_that_raises(family: int) -> None:
    got, buffer = bytearray(), memoryview(bytearray(2))
    async with connected(family) as (stream, far):

        def look() -> None:
            size = stream.receive_now(buffer)
            got.extend(buffer[:size])
            if b"." in got:
                raise Enough

        async def say() -> None:
            for character in b"12345.":
                await anyio.wait_all_tasks_blocked()
                far.send(bytes([character]))

        far.send(b"more than fits ")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say)
            with pytest.raises(Enough):
                await stream.each_time_readable(look)
            far.send(b"nobody looks")
            await anyio.wait_all_tasks_blocked()
        assert bytes(got) == b"more than fits 12345."
        assert await stream.receive() == b"nobody looks"


async def test_a_reset_is_noticed_behind_the_bytes_that_it_came_with() -> None:
    """Under uvloop, libuv tells of both at once, and then of nothing more."""
    got, buffer = bytearray(), memoryview(bytearray(4))
    async with connected(socket.AF_INET) as (stream, far):

        def look() -> None:
            size = stream.receive_now(buffer)
            if not size:
                raise anyio.BrokenResourceError
            got.extend(buffer[:size])

        async def say() -> None:
            await anyio.wait_all_tasks_blocked()
            far.send(b"more than fits")
            reset(far)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say)
            with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(PATIENCE):
                await stream.each_time_readable(look)
        assert bytes(got) == b"more than fits"


async def test_a_network_that_is_gone_is_not_looked_at_again_and_again_and_may_come_back() -> None:
    """The system has an error for who asks then, which passes: it is not that of a connection which is over."""
    got, looks, buffer = bytearray(), 0, memoryview(bytearray(99))
    with cable() as network:
        network.be(2)
        network.enter(network.server)
        with socket.create_server((SERVER, 0)) as server:
            network.enter(network.client)
            near = socket.create_connection(server.getsockname())
            far, _ = server.accept()
        stream = SocketTransport(near)

        def look() -> None:
            nonlocal looks
            looks += 1
            assert looks < 100, "nothing comes, and this is called all the time"
            got.extend(buffer[: stream.receive_now(buffer) or 0])
            if got.endswith(b"."):
                raise Enough

        with far:
            far.send(b"came before,")
            await until(lambda: len(near.recv(99, socket.MSG_PEEK)) == 12)
            network.lose()
            stream.send_now(b"gets lost")
            network.be(3)
            tries = retransmits(near)
            await until(lambda: retransmits(near) > tries)
            async with anyio.create_task_group() as tasks:

                async def come_back() -> None:
                    await until(lambda: got)
                    network.be(2)
                    network.find()
                    far.send(b" behind.")

                tasks.start_soon(come_back)
                with pytest.raises(Enough), anyio.fail_after(PATIENCE):
                    await stream.each_time_readable(look)
            assert bytes(got) == b"came before, behind."
            await stream.aclose()


def retransmits(sock: socket.socket) -> int:
    """How often it was tried in vain to send what waits."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 3)[2]


@both_families
async def test_who_is_cancelled_looks_no_more(family: int) -> None:
    async with connected(family) as (stream, far):
        with anyio.move_on_after(0.01):
            await stream.each_time_readable(lambda: pytest.fail("nothing has come"))
        far.send(b"x")
        assert await stream.receive() == b"x"


@both_families
async def test_closing_wakes_who_looks_and_what_has_the_same_number_next_is_left_alone(family: int) -> None:
    async with connected(family) as (stream, _):
        number = stream._sock.fileno()

        async def watch() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.each_time_readable(lambda: pytest.fail("nothing has come"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
            async with connected(family) as (other, far):
                assert number in (other._sock.fileno(), far.fileno())
                await anyio.wait_all_tasks_blocked()
                far.send(b"x")
                assert await other.receive() == b"x"
        with pytest.raises(anyio.ClosedResourceError):
            await stream.each_time_readable(lambda: None)


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_after_an_interruption_nothing_is_looked_at_any_more(
    make_loop: Callable[[], asyncio.AbstractEventLoop], interrupt: type[BaseException]
) -> None:
    """It leaves the event loop, which a program may let run on: what was read is lost, and nothing may follow it."""

    async def watch(stream: SocketTransport) -> None:
        buffer = memoryview(bytearray(9))

        def look() -> None:
            size = stream.receive_now(buffer)
            assert bytes(buffer[:size]) == b"lost"
            raise interrupt

        with pytest.raises(anyio.BrokenResourceError):
            await stream.each_time_readable(look)
        assert await stream.receive() == b"more"

    near, far = socket.socketpair()
    with contextlib.closing(near), contextlib.closing(far), contextlib.closing(make_loop()) as loop:
        watching = loop.create_task(watch(SocketTransport(near)))
        far.send(b"lost")
        with pytest.raises(interrupt):
            loop.run_until_complete(watching)
        far.send(b"more")
        loop.run_until_complete(asyncio.wait_for(watching, 10))
