"""chanlink: messages, calls and bytes over a session."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgpack

import chanlink
from tests.bench.meter import Meter, Missing
from tests.bench.payload import DATA, TINY, large_message, message, pour

from .services import SERVICES

MANY = chanlink.Limits(
    open_channels=1_000_000,
    unaccepted=1_000,
    unauthenticated=10_000,
    sessions=20_000,
    sessions_per_key=20_000,
    handshake=60,
)
Where = dict[str, Any]
PATIENCE = 2.0
"""Seconds for single round trips."""


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    server, client = chanlink.Identity.generate("bench-server"), chanlink.Identity.generate("bench-client")
    client.save(folder / "client")
    trust = chanlink.Trust.of(client.public_key)

    def listen(address: str) -> AbstractAsyncContextManager[chanlink.Listener]:
        return chanlink.listen(address, identity=server, trust=trust, services=SERVICES, limits=MANY)

    unix = f"unix:{folder}/socket"
    async with listen("tcp://127.0.0.1:0") as listener, listen(unix):
        host, _, port = listener.addresses[0].removeprefix("tcp://").rpartition(":")
        where = {"host": host, "port": int(port), "unix": unix}
        yield {**where, "key": str(server.public_key), "identity": str(folder / "client")}


def connect(where: Where, over: str = "tcp") -> AbstractAsyncContextManager[chanlink.Session]:
    address = where["unix"] if over == "unix" else f"tcp://{where['host']}:{where['port']}"
    key = chanlink.PublicKey.parse(where["key"])
    identity = chanlink.Identity.load(where["identity"])
    return chanlink.connect(address, identity=identity, peer=key, limits=MANY, timeout=MANY.handshake)


# --- one way ------------------------------------------------------------------------------------


async def one_way(
    where: Where, meter: Meter, *, count: int, service: str = "count", tasks: int = 1, channels: int = 1
) -> None:
    """Maps, from this many tasks that share the channels."""
    async with connect(where) as session:
        senders = [await session.open(service) for _ in range(channels)]

        async def send(number: int) -> None:
            sender = senders[number % channels]
            for n in range(number, count, tasks):
                await sender.send(message(n))

        with meter.over(count):
            if tasks == 1:
                await send(0)
            else:
                async with anyio.create_task_group() as group:
                    for number in range(tasks):
                        group.start_soon(send, number)
            for sender in senders:
                sender.close()
            for sender in senders:
                await sender.flush()


async def data(where: Where, meter: Meter, *, count: int, shape: str, with_msgpack_of: str = "") -> None:
    """The same data again and again; finds the processor time of each, and what msgpack takes more of another shape."""
    value = DATA[shape]
    async with connect(where) as session, await session.open("count-many") as sender:
        with meter.over(count):
            for _ in range(count):
                await sender.send(value)
            sender.close()
            await sender.flush()
    if meter.cpu is None:
        raise Missing("measuring processor time needs Linux")
    more = msgpack_time(DATA[with_msgpack_of]) - msgpack_time(value) if with_msgpack_of else 0.0
    meter.found(meter.cpu / meter.count * 1e6 + more)


def msgpack_time(value: object) -> float:
    """What msgpack takes to pack and unpack a value, in microseconds: the best of some."""
    pack, unpack, times = msgpack.Packer().pack, msgpack.unpackb, []
    for _ in range(20):
        began = time.process_time()
        for _ in range(500):
            unpack(pack(value))
        times.append((time.process_time() - began) / 500 * 1e6)
    return min(times)


async def large(where: Where, meter: Meter, *, count: int, size: int) -> None:
    """Messages with this many bytes in them; ``count`` is bytes."""
    body = bytes(size)
    async with connect(where) as session, await session.open("count") as sender:
        with meter.over(count // size * size):
            for n in range(count // size):
                await sender.send(large_message(n, body))
            sender.close()
            await sender.flush()


async def byte_stream(where: Where, meter: Meter, *, count: int, suite: str) -> None:
    """With one of the record suites, which the client alone decides by what it offers."""
    os.environ["CHANLINK_SUITES"] = suite  # read at each handshake
    async with AsyncExitStack() as stack:
        try:
            session = await stack.enter_async_context(connect(where))
        finally:
            del os.environ["CHANLINK_SUITES"]
        await pour(await session.open_stream("discard"), meter, count)


# --- there and back -----------------------------------------------------------------------------


async def round_trip(where: Where, meter: Meter, *, count: int, over: str = "tcp") -> None:
    async with connect(where, over) as session:
        await there_and_back(session, meter, count)


async def there_and_back(session: chanlink.Session, meter: Meter, count: int) -> None:
    sender = await session.open("echo")
    answers_to, answers = chanlink.pipe()
    await sender.send({"reply": answers_to})
    for _ in range(100):
        await sender.send(TINY)
        await answers.receive()
    with meter.over(count):
        for _ in range(count):
            await sender.send(TINY)
            await answers.receive()


async def trips(sender: Any, answers: Any, count: int) -> list[float]:
    """How long each of this many round trips took, in microseconds, sorted; fewer if they take too long."""
    took = []
    until = time.monotonic() + PATIENCE
    while len(took) < count and time.monotonic() < until:
        began = time.perf_counter()
        await sender.send(TINY)
        await answers.receive()
        took.append((time.perf_counter() - began) * 1e6)
    return sorted(took)


async def nested(where: Where, meter: Meter, *, count: int, in_flight: int = 1) -> None:
    """Messages that each bring a channel for the answer."""
    async with connect(where) as session:
        sender = await session.open("answer")

        async def call(number: int) -> None:
            for n in range(number, count, in_flight):
                answer_to, answers = chanlink.pipe()
                await sender.send({"n": n, "reply": answer_to})
                await answers.receive()

        await call(count - 1)
        with meter.over(count):
            async with anyio.create_task_group() as group:
                for number in range(in_flight):
                    group.start_soon(call, number)


async def connections(where: Where, meter: Meter, *, count: int) -> None:
    with meter.over(count):
        for _ in range(count):
            async with connect(where):
                pass


WORKS = {
    "one_way": one_way,
    "data": data,
    "large": large,
    "byte_stream": byte_stream,
    "round_trip": round_trip,
    "nested": nested,
    "connections": connections,
}
