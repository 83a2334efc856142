"""The far end of the benchmarks, a process of its own: ``python -m tests.bench.server BACKEND CLIENT_KEY``.

It serves each piece of work twice, over chanlink and over bare TCP with anyio, prints where as one line of JSON, and
leaves when its stdin ends.
"""

import json
import struct
import sys

import anyio
import msgpack
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

import chanlink

from .harness import run

MANY = chanlink.Limits(open_channels=20_000)
LENGTH = struct.Struct(">I")
PIECE = 65_536


# --- over chanlink ------------------------------------------------------------------------------


async def count(messages: chanlink.Receiver, peer: chanlink.Peer) -> None:
    async for _ in messages:
        pass


async def count_many(messages: chanlink.Receiver, peer: chanlink.Peer) -> None:
    try:
        while True:
            await messages.receive_many()
    except chanlink.EndOfChannel:
        pass


async def echo(messages: chanlink.Receiver, peer: chanlink.Peer) -> None:
    """The first message brings the channel for the answers."""
    async with (await messages.receive())["reply"] as reply:
        async for message in messages:
            await reply.send(message)


async def answer(requests: chanlink.Receiver, peer: chanlink.Peer) -> None:
    """Each message brings a channel for its answer."""
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send({"answer": request["n"]})


async def discard(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    async for _ in stream:
        pass
    await stream.send(b".")


SERVICES = {
    "count": count,
    "count-many": count_many,
    "echo": echo,
    "answer": answer,
    "discard": chanlink.streams(discard),
}


# --- over bare TCP ------------------------------------------------------------------------------


async def raw_naive(stream: SocketStream) -> None:
    """Messages one by one, as one writes it first."""
    buffered = BufferedByteReceiveStream(stream)
    try:
        while True:
            (length,) = LENGTH.unpack(await buffered.receive_exactly(LENGTH.size))
            msgpack.unpackb(await buffered.receive_exactly(length))
    except anyio.IncompleteRead:
        await stream.send(b".")


async def raw_joined(stream: SocketStream) -> None:
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


async def raw_echo(stream: SocketStream) -> None:
    async for data in stream:
        await stream.send(data)


async def raw_discard(stream: SocketStream) -> None:
    async for _ in stream:
        pass
    await stream.send(b".")


RAW = {b"n": raw_naive, b"j": raw_joined, b"e": raw_echo, b"d": raw_discard}


async def raw(stream: SocketStream) -> None:
    """The first byte says what is wanted."""
    async with stream:
        await RAW[await stream.receive(1)](stream)


async def main(client_key: str) -> float:
    identity = chanlink.Identity.generate("bench-server")
    trust = chanlink.Trust.of(chanlink.PublicKey.parse(client_key))
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as raw_listener,
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=identity, trust=trust, services=SERVICES, limits=MANY
        ) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(raw_listener.serve, raw)
        port = raw_listener.extra(SocketAttribute.local_port)
        where = {"address": listener.addresses[0], "key": str(identity.public_key), "raw_port": port}
        print(json.dumps(where), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        tasks.cancel_scope.cancel()
    return 0.0


if __name__ == "__main__":
    run(sys.argv[1], main, sys.argv[2])
