"""pyzmq with CURVE on asyncio; msgpack where maps are sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgpack
import zmq.asyncio

from tests.bench.meter import Meter
from tests.bench.payload import TINY, message

from .zmq_curve import END, Where, connected, serving


async def count(messages: Any, done: Any) -> None:
    while True:
        while (body := await messages.recv()) != END:
            msgpack.unpackb(body)
        await done.send(b".")


async def echo(requests: Any) -> None:
    while True:
        await requests.send(await requests.recv())


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    context = zmq.asyncio.Context()
    async with anyio.create_task_group() as tasks:
        with serving(context) as (where, sockets):
            tasks.start_soon(count, sockets["messages"], sockets["done"])
            tasks.start_soon(echo, sockets["echo"])
            yield where
        tasks.cancel_scope.cancel()
    context.destroy(linger=0)


async def one_way(where: Where, meter: Meter, *, count: int) -> None:
    with zmq.asyncio.Context() as context, connected(context, where, "messages", "done") as (messages, done):
        await messages.send(END)  # both are connected when this is over
        await done.recv()
        with meter.over(count):
            for n in range(count):
                await messages.send(msgpack.packb(message(n)))
            await messages.send(END)
            await done.recv()


async def round_trip(where: Where, meter: Meter, *, count: int) -> None:
    with zmq.asyncio.Context() as context, connected(context, where, "echo") as (requests,):
        for _ in range(100):
            await requests.send(TINY)
            await requests.recv()
        with meter.over(count):
            for _ in range(count):
                await requests.send(TINY)
                await requests.recv()


WORKS = {"one_way": one_way, "round_trip": round_trip}
