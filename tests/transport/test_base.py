"""What records rely on below them: one set of checks for sockets, and for any other byte stream behind a buffer."""

import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream

from chanlink import byte_pipe, clock
from chanlink.transport.base import (
    BROKEN,
    BufferedTransport,
    Transport,
    as_transport,
    close_at_once,
    ip_of,
    receive_exactly,
    remote_of,
    send_whole,
)
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE

from .tls import both_over_tls

pytestmark = pytest.mark.anyio

Ends = tuple[Transport, ByteStream]
"""One end to look at, and whatever is at its other side."""


async def over_sockets() -> tuple[Transport, Transport]:
    near, far = socket.socketpair()
    return SocketTransport(near), SocketTransport(far)


async def over_tcp() -> tuple[Transport, Transport]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    return SocketTransport(near), SocketTransport(far)


async def over_a_pipe() -> Ends:
    near, far = byte_pipe()
    return as_transport(near), far


async def over_streams_of_anyio() -> Ends:
    near, far = socket.socketpair()
    streams = [await anyio.abc.UNIXSocketStream.from_socket(sock) for sock in (near, far)]
    return as_transport(streams[0]), streams[1]


async def a_buffer_over_sockets() -> Ends:
    near, far = await over_sockets()
    return BufferedTransport(near), far


async def over_tls() -> Ends:
    return await both_over_tls(*await over_tcp())


async def tls_over_a_buffer() -> Ends:
    near, far = await over_sockets()
    return await both_over_tls(BufferedTransport(near), far)


every_transport = pytest.mark.parametrize(
    "make",
    [over_sockets, over_tcp, over_a_pipe, over_streams_of_anyio, a_buffer_over_sockets, over_tls, tls_over_a_buffer],
)
Make = Callable[[], Awaitable[Ends]]


@asynccontextmanager
async def made(make: Make) -> AsyncIterator[Ends]:
    near, far = await make()
    try:
        with anyio.fail_after(PATIENCE):
            yield near, far
    finally:
        for end in near, far:
            await anyio.aclose_forcefully(end)


async def received(transport: Transport, piece: int = 1_000) -> bytes:
    """All that comes until the end, by what needs no waiting."""
    data, buffer = bytearray(), memoryview(bytearray(piece))
    while True:
        await transport.wait_readable()
        size = transport.receive_now(buffer)
        if size == 0:
            return bytes(data)
        data += buffer[: size or 0]


# --- in -------------------------------------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize("piece", [7, 1_000, 300_000])
async def test_all_is_received_in_order_up_to_the_end_whatever_the_buffer_holds(make: Make, piece: int) -> None:
    async with made(make) as (near, far):
        data = os.urandom(10_000 if piece == 7 else 400_000)

        async def send() -> None:
            await far.send(data[:5])
            await far.send(data[5:])
            await far.send_eof()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            assert await received(near, piece) == data
        for _ in range(2):  # the end stays
            await near.wait_readable()
            assert near.receive_now(memoryview(bytearray(10))) == 0


@every_transport
async def test_nothing_yet_is_not_the_end(make: Make) -> None:
    async with made(make) as (near, far):
        buffer = memoryview(bytearray(10))
        assert near.receive_now(buffer) is None
        await far.send(b"x")
        await near.wait_readable()
        assert near.receive_now(buffer) == 1
        assert near.receive_now(buffer) is None


@every_transport
async def test_what_was_looked_at_in_part_can_be_received_by_waiting(make: Make) -> None:
    async with made(make) as (near, far):
        await far.send(b"0123456789")
        await near.wait_readable()
        assert near.receive_now(memoryview(bytearray(3))) == 3
        assert await near.receive(2) == b"34"
        assert await near.receive() == b"56789"
        await far.send(b"more")
        assert await near.receive() == b"more"


@every_transport
async def test_a_cancelled_wait_has_taken_nothing(make: Make) -> None:
    async with made(make) as (near, far):
        with anyio.move_on_after(0.01):
            await near.wait_readable()
        await far.send(b"x")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await near.wait_readable()
        assert await near.receive() == b"x"


@every_transport
async def test_each_time_that_something_comes_a_reader_is_called_until_it_raises(make: Make) -> None:
    class Enough(Exception):
        pass

    async with made(make) as (near, far):
        data, buffer = bytearray(), memoryview(bytearray(2))

        def look() -> None:
            data.extend(buffer[: near.receive_now(buffer) or 0])
            if b"." in data:
                raise Enough

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(far.send, b"more than fits.")
            with pytest.raises(Enough):
                await near.each_time_readable(look)
        assert bytes(data) == b"more than fits."


@every_transport
async def test_others_run_while_there_is_always_something_to_look_at(make: Make) -> None:
    class Enough(Exception):
        pass

    async with made(make) as (near, far):
        turns, left, byte = 0, 1_000, memoryview(bytearray(1))
        await far.send(bytes(left))

        def look() -> None:
            nonlocal left
            left -= near.receive_now(byte) or 0
            if not left:
                raise Enough

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            with pytest.raises(Enough):
                await near.each_time_readable(look)
            tasks.cancel_scope.cancel()
        assert turns > 500


@every_transport
async def test_exactly_as_much_as_is_asked_for_is_received(make: Make) -> None:
    async with made(make) as (near, far), anyio.create_task_group() as tasks:

        async def send() -> None:
            for begin in range(0, 9, 3):
                await far.send(b"012345678"[begin : begin + 3])
                await anyio.wait_all_tasks_blocked()
            await far.send_eof()

        tasks.start_soon(send)
        assert await receive_exactly(near, 0) == b""
        assert await receive_exactly(near, 5) == b"01234"
        assert await receive_exactly(near, 1) == b"5"
        with pytest.raises(anyio.EndOfStream):
            await receive_exactly(near, 4)


# --- out ------------------------------------------------------------------------------------------------


@every_transport
async def test_all_of_it_is_sent_whether_there_is_room_or_not(make: Make) -> None:
    async with made(make) as (near, far):
        data, got = os.urandom(1_000_000), bytearray()

        async def receive() -> None:
            while len(got) < 3 + len(data):
                got.extend(await far.receive())

        async with anyio.create_task_group() as tasks:
            await send_whole(near, b"abc")
            tasks.start_soon(receive)
            await send_whole(near, data)
        assert bytes(got) == b"abc" + data


@every_transport
async def test_it_is_closed_at_once_also_by_who_is_cancelled(make: Make) -> None:
    async with made(make) as (near, far):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await close_at_once(near)
        with pytest.raises((anyio.EndOfStream, *BROKEN)):
            await far.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await near.receive()


@every_transport
async def test_what_is_not_sent_now_is_sent_by_waiting(make: Make) -> None:
    async with made(make) as (near, far):
        data = os.urandom(1_000_000)
        sent = near.send_now(data)
        assert sent < len(data)
        got = bytearray()

        async def receive() -> None:
            while len(got) < len(data):
                got.extend(await far.receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await near.send(data[sent:])
        assert bytes(got) == data


@every_transport
async def test_it_says_when_something_left_last(make: Make) -> None:
    async with made(make) as (near, _):
        assert near.sent_at == -math.inf
        before = clock.now()
        await near.send(b"x")
        first = near.sent_at
        assert before <= first <= clock.now()
        await near.send(b"x")
        assert first < near.sent_at


@every_transport
async def test_the_end_of_one_half_leaves_the_other(make: Make) -> None:
    async with made(make) as (near, far):
        await near.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await far.receive()
        await far.send(b"an answer")
        assert await near.receive() == b"an answer"


# --- a connection that is gone --------------------------------------------------------------------------


@every_transport
async def test_what_is_closed_here_is_broken_for_whoever_waits_and_whoever_comes(make: Make) -> None:
    async with made(make) as (near, _):
        problems: list[Exception] = []

        async def wait() -> None:
            try:
                await near.each_time_readable(lambda: None)
            except BROKEN as exc:
                problems.append(exc)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await near.aclose()
        assert problems
        with pytest.raises(BROKEN):
            await near.wait_readable()
        with pytest.raises(BROKEN):
            await near.send(b"x")


@every_transport
async def test_a_peer_that_is_gone_is_noticed_by_whoever_sends(make: Make) -> None:
    async with made(make) as (near, far):
        await anyio.aclose_forcefully(far)
        with pytest.raises(BROKEN):
            while True:
                await near.send(bytes(100_000))


class Odd(ByteStream):
    """Any stream of the program's: the pipes of a process, TLS."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    async def send(self, item: bytes) -> None:
        raise self.problem

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        raise self.problem

    async def send_eof(self) -> None:
        raise self.problem

    async def aclose(self) -> None:
        raise self.problem


@pytest.mark.parametrize(
    "problem", [ConnectionResetError(104, "reset"), ssl.SSLError(1, "bad record mac"), anyio.BrokenResourceError()]
)
async def test_what_the_system_says_of_a_stream_is_a_broken_connection(problem: Exception) -> None:
    transport = as_transport(Odd(problem))
    for use in (transport.send(b"x"), transport.receive(), transport.wait_readable(), transport.readable()):
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await use
        assert problem in (caught.value, caught.value.__cause__)
    with pytest.raises(anyio.BrokenResourceError):
        await transport.send_eof()
    await transport.aclose()
    transport.reset_when_closed()


async def test_a_stream_that_can_not_end_one_half_goes_on() -> None:
    await as_transport(Odd(NotImplementedError())).send_eof()
    with pytest.raises(anyio.BrokenResourceError):  # as uvloop's after a reset
        await as_transport(Odd(RuntimeError())).send_eof()


@every_transport
async def test_whether_something_has_come_or_the_end(make: Make) -> None:
    async with made(make) as (near, far):
        await far.send(b"x")
        assert await near.readable()
        assert await near.receive() == b"x"
        await far.send_eof()
        assert not await near.readable()


# --- what it is -----------------------------------------------------------------------------------------


async def test_who_is_at_the_other_side_is_known_of_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        async with await anyio.abc.SocketStream.from_socket(sock) as stream:
            assert remote_of(stream) == server.getsockname()
            assert remote_of(as_transport(stream)) == server.getsockname()
    async with made(over_streams_of_anyio) as (near, _):
        assert remote_of(near) == ""
    async with made(over_a_pipe) as (near, _):
        assert remote_of(near) is None


def test_a_transport_stays_what_it_is() -> None:
    near, far = socket.socketpair()
    with near, far:
        transport = SocketTransport(near)
        assert as_transport(transport) is transport
    buffered = as_transport(byte_pipe()[0])
    assert as_transport(buffered) is buffered


async def test_attributes_are_those_of_the_stream_below() -> None:
    async with made(over_streams_of_anyio) as (near, _):
        assert near.extra(anyio.abc.SocketAttribute.family) == socket.AF_UNIX
        assert not near.peer_acknowledges(10.0)


@pytest.mark.parametrize(
    ("remote", "ip"),
    [
        (("192.0.2.7", 9323), "192.0.2.7"),
        (("::ffff:192.0.2.7", 9323, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 9323, 0, 3), "fe80::1"),
        (("2001:DB8::0:1", 1, 0, 0), "2001:db8::1"),
        (("a name", 1), ""),
        ("/run/socket", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_only_who_comes_by_the_network_has_an_ip_address(remote: object, ip: str) -> None:
    assert ip_of(remote) == ip
