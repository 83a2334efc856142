"""Bare TCP and Unix sockets with anyio: no encryption, no flow control of its own, no channels."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgpack
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.bench.meter import Meter
from tests.bench.payload import TINY, message, pour

LENGTH = struct.Struct(">I")
Where = dict[str, Any]


# --- the server ---------------------------------------------------------------------------------


async def one_by_one(stream: ByteStream) -> None:
    """Messages one by one, as one writes it first."""
    buffered = BufferedByteReceiveStream(stream)
    try:
        while True:
            (length,) = LENGTH.unpack(await buffered.receive_exactly(LENGTH.size))
            msgpack.unpackb(await buffered.receive_exactly(length))
    except anyio.IncompleteRead:
        await stream.send(b".")


async def joined(stream: ByteStream) -> None:
    """Messages as they come, many at a time."""
    rest = b""
    async for data in stream:
        data, at = rest + data, 0
        while len(data) - at >= LENGTH.size:
            end = at + LENGTH.size + LENGTH.unpack_from(data, at)[0]
            if end > len(data):
                break
            msgpack.unpackb(data[at + LENGTH.size : end])
            at = end
        rest = data[at:]
    await stream.send(b".")


async def echo(stream: ByteStream) -> None:
    async for data in stream:
        await stream.send(data)


async def discard(stream: ByteStream) -> None:
    async for _ in stream:
        pass
    await stream.send(b".")


SERVICES = {b"n": one_by_one, b"j": joined, b"e": echo, b"d": discard}


async def handle(stream: ByteStream) -> None:
    """The first byte says what is wanted."""
    async with stream:
        await SERVICES[await stream.receive(1)](stream)


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as tcp,
        await anyio.create_unix_listener(folder / "socket") as unix,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(tcp.serve, handle)
        tasks.start_soon(unix.serve, handle)
        yield {"host": "127.0.0.1", "port": tcp.extra(SocketAttribute.local_port), "unix": f"{folder}/socket"}
        tasks.cancel_scope.cancel()


# --- the client ---------------------------------------------------------------------------------


async def connect(where: Where, service: bytes, over: str = "tcp") -> ByteStream:
    if over == "unix":
        stream: ByteStream = await anyio.connect_unix(where["unix"])
    else:
        stream = await anyio.connect_tcp(where["host"], where["port"])
    await stream.send(service)
    return stream


async def one_way(where: Where, meter: Meter, *, count: int, at_once: int) -> None:
    """So many messages in each write."""
    async with await connect(where, b"n" if at_once == 1 else b"j") as stream:
        with meter.over(count):
            for first in range(0, count, at_once):
                bodies = [msgpack.packb(message(n)) for n in range(first, min(first + at_once, count))]
                await stream.send(b"".join([LENGTH.pack(len(body)) + body for body in bodies]))
            await stream.send_eof()
            await stream.receive()


async def byte_stream(where: Where, meter: Meter, *, count: int) -> None:
    async with await connect(where, b"d") as stream:
        await pour(stream, meter, count)


async def round_trip(where: Where, meter: Meter, *, count: int, over: str = "tcp") -> None:
    async with await connect(where, b"e", over) as stream:
        for _ in range(100):
            await stream.send(TINY)
            await stream.receive()
        with meter.over(count):
            for _ in range(count):
                await stream.send(TINY)
                await stream.receive()


async def connections(where: Where, meter: Meter, *, count: int) -> None:
    with meter.over(count):
        for _ in range(count):
            async with await connect(where, b"e") as stream:
                await stream.send(b".")
                await stream.receive()


WORKS = {
    "one_way": one_way,
    "byte_stream": byte_stream,
    "round_trip": round_trip,
    "connections": connections,
}
