"""grpc.aio with TLS: generic handlers with bytes, so that no code is generated; msgpack where maps are sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import grpc
import msgpack

from tests.bench.certificates import p256
from tests.bench.meter import Meter
from tests.bench.payload import TINY, large_message, message

Where = dict[str, Any]


# --- the server ---------------------------------------------------------------------------------


async def count(requests: AsyncIterator[bytes], context: Any) -> bytes:
    async for request in requests:
        msgpack.unpackb(request)
    return b"."


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def answer(request: bytes, context: Any) -> bytes:
    return msgpack.packb({"answer": msgpack.unpackb(request)["n"]})


HANDLERS = {
    "Count": grpc.stream_unary_rpc_method_handler(count),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
    "Answer": grpc.unary_unary_rpc_method_handler(answer),
}


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    pem = p256("localhost")
    (folder / "certificate").write_bytes(pem.certificate)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench", HANDLERS)])
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(pem.key, pem.certificate)]))
    await server.start()
    yield {"host": "localhost", "port": port, "certificate": str(folder / "certificate")}
    await server.stop(None)


# --- the client ---------------------------------------------------------------------------------


def connect(where: Where) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(Path(where["certificate"]).read_bytes())
    return grpc.aio.secure_channel(f"{where['host']}:{where['port']}", credentials)


async def one_way(where: Where, meter: Meter, *, count: int) -> None:
    async with connect(where) as channel:
        await channel.channel_ready()
        with meter.over(count):
            call = channel.stream_unary("/bench/Count")()
            for n in range(count):
                await call.write(msgpack.packb(message(n)))
            await call.done_writing()
            await call


async def large(where: Where, meter: Meter, *, count: int, size: int) -> None:
    body = bytes(size)
    async with connect(where) as channel:
        await channel.channel_ready()
        with meter.over(count // size * size):
            call = channel.stream_unary("/bench/Count")()
            for n in range(count // size):
                await call.write(msgpack.packb(large_message(n, body)))
            await call.done_writing()
            await call


async def round_trip(where: Where, meter: Meter, *, count: int) -> None:
    """In one call whose both sides stream."""
    async with connect(where) as channel:
        call = channel.stream_stream("/bench/Echo")()
        for _ in range(100):
            await call.write(TINY)
            await call.read()
        with meter.over(count):
            for _ in range(count):
                await call.write(TINY)
                await call.read()
        await call.done_writing()


async def nested(where: Where, meter: Meter, *, count: int, in_flight: int = 1) -> None:
    """Calls, each with its answer."""
    async with connect(where) as channel:
        method = channel.unary_unary("/bench/Answer")

        async def call(number: int) -> None:
            for n in range(number, count, in_flight):
                msgpack.unpackb(await method(msgpack.packb({"n": n})))

        await call(count - 1)
        with meter.over(count):
            async with anyio.create_task_group() as group:
                for number in range(in_flight):
                    group.start_soon(call, number)


WORKS = {"one_way": one_way, "large": large, "round_trip": round_trip, "nested": nested}
