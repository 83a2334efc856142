"""Whatever takes bytes takes anything that has a buffer, counts it in bytes, and nothing else."""

import array
import mmap
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream, ByteStream

import chanlink
from chanlink.bytes_like import Part, cut
from chanlink.transport.sockets import SocketTransport
from tests.channels.pairs import session_pair

from .security.wires import sealed_pair

pytestmark = pytest.mark.anyio

NUMBERS = array.array("I", range(10, 25_010))
"""A hundred thousand bytes, and more than one record, one frame and one piece of a foreign stream."""
CONTENT = NUMBERS.tobytes()
MAPPED = mmap.mmap(-1, len(CONTENT))
MAPPED[:] = CONTENT
BUFFERS = {
    "bytes": CONTENT,
    "bytearray": bytearray(CONTENT),
    "array": NUMBERS,
    "a view of an array": memoryview(NUMBERS),
    "a view with two dimensions": memoryview(CONTENT).cast("B", (1_000, 100)),
    "mapped memory": MAPPED,
}
NO_BYTES: list[Any] = [None, 0, 7, [], [1, 2], (), "", "text", {1}, object]

Ends = tuple[ByteStream, ByteStream]
MakeEnds = Callable[[int | None], AbstractAsyncContextManager[Ends]]


@asynccontextmanager
async def in_memory(size: int | None) -> AsyncIterator[Ends]:
    yield chanlink.byte_pipe(size)


@asynccontextmanager
async def over_a_session(size: int | None) -> AsyncIterator[Ends]:
    async with session_pair() as (client, server):
        here, there = chanlink.byte_pipe(size)
        await (await client.open("service")).send(there)
        yield here, await (await server.accept()).end.receive()


@asynccontextmanager
async def encrypted(size: None) -> AsyncIterator[Ends]:
    one, two = sealed_pair()
    async with one, two:
        yield one, two


@asynccontextmanager
async def sockets(size: None) -> AsyncIterator[Ends]:
    one, two = map(SocketTransport, socket.socketpair())
    async with one, two:
        yield one, two


WAYS = [
    *[(make, size) for make in (in_memory, over_a_session) for size in (None, len(CONTENT))],
    (encrypted, None),
    (sockets, None),
]
every_way = pytest.mark.parametrize(
    ("make_ends", "size"), WAYS, ids=[f"{make.__name__}{', sized' if size else ''}" for make, size in WAYS]
)


async def read_all(stream: ByteReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


@every_way
@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
async def test_what_has_a_buffer_is_sent_whole_whatever_its_items_are(
    make_ends: MakeEnds, size: int | None, buffer: Any
) -> None:
    async with make_ends(size) as (writer, reader), anyio.create_task_group() as tasks:

        async def write() -> None:
            await writer.send(buffer)
            await writer.send_eof()

        tasks.start_soon(write)
        assert await read_all(reader) == CONTENT


@every_way
@pytest.mark.parametrize("item", NO_BYTES, ids=lambda value: type(value).__name__)
async def test_what_is_no_bytes_is_a_type_error_and_the_stream_goes_on(
    make_ends: MakeEnds, size: int | None, item: Any
) -> None:
    async with make_ends(size) as (writer, reader), anyio.create_task_group() as tasks:
        with pytest.raises(TypeError):
            await writer.send(item)

        async def write() -> None:
            await writer.send(CONTENT)
            await writer.send_eof()

        tasks.start_soon(write)
        assert await read_all(reader) == CONTENT


async def test_a_size_is_in_bytes_also_when_it_is_too_much() -> None:
    writer, reader = chanlink.byte_pipe(len(CONTENT) - 1)
    with pytest.raises(chanlink.ChannelFailed, match="wrong-size: 1 bytes more"):
        await writer.send(NUMBERS)  # type: ignore[arg-type]
    with pytest.raises(chanlink.ChannelFailed, match="wrong-size"):
        await reader.receive()


class Source(ByteReceiveStream):
    """A stream of somebody else's, with one piece."""

    def __init__(self, piece: Any) -> None:
        self.pieces = [piece]

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self.pieces:
            raise anyio.EndOfStream
        return self.pieces.pop()  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        pass


async def iterable(piece: Any) -> AsyncIterator[Any]:
    yield piece


@pytest.mark.parametrize("source", [Source, iterable])
@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
async def test_a_foreign_stream_may_bring_any_buffer(source: Callable[[Any], Any], buffer: Any) -> None:
    async with session_pair() as (client, server):
        await (await client.open("service")).send(source(buffer))
        async with await (await server.accept()).end.receive() as body:
            assert await read_all(body) == CONTENT


@pytest.mark.parametrize("source", [Source, iterable])
@pytest.mark.parametrize("item", NO_BYTES, ids=lambda value: type(value).__name__)
async def test_a_foreign_stream_that_brings_no_bytes_has_failed(source: Callable[[Any], Any], item: Any) -> None:
    async with session_pair() as (client, server):
        await (await client.open("service")).send(source(item))
        async with await (await server.accept()).end.receive() as body:
            with pytest.raises(chanlink.ChannelFailed, match="read-failed: TypeError"):
                await body.receive()


@pytest.mark.parametrize("buffer", [BUFFERS["bytearray"], BUFFERS["a view of an array"]], ids=type)
async def test_a_buffer_in_a_message_arrives_as_its_bytes(buffer: Any) -> None:
    async with session_pair() as (client, server):
        await (await client.open("service")).send({"buffer": buffer})
        assert await (await server.accept()).end.receive() == {"buffer": CONTENT}


# --- parts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(12))
def test_parts_are_cut_where_it_is_said_without_a_copy(size: int) -> None:
    parts: list[Part] = [b"012", bytearray(b"345"), memoryview(b"67"), b"89"]
    whole = list(parts)
    taken = cut(parts, size)
    assert b"".join(taken) == b"0123456789"[:size]
    assert b"".join(parts) == b"0123456789"[size:]
    assert all(part in whole or isinstance(part, memoryview) for part in taken)
    assert all(len(part) for part in parts)
