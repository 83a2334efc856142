"""What the chanlink server of the benchmarks does for its clients."""

import anyio

import chanlink
from tests.bench.payload import PIECE


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


async def keep(messages: chanlink.Receiver, peer: chanlink.Peer) -> None:
    """Hold on to the ends in the messages until the channel is over."""
    kept = [message["ends"] async for message in messages]
    for ends in kept:
        for end in ends:
            end.close()


async def discard(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    async for _ in stream:
        pass
    await stream.send(b".")


async def discard_slowly(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    """Read with a pause after each MiB, so that the writer is always ahead."""
    since = 0
    async for data in stream:
        since += len(data)
        if since >= 1024 * 1024:
            since = 0
            await anyio.sleep(0.005)
    await stream.send(b".")


async def pour(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    """Write for as long as somebody reads."""
    piece = bytes(PIECE)
    try:
        while True:
            await stream.send(piece)
    except chanlink.ChannelBroken:
        pass


SERVICES = {
    "count": count,
    "count-many": count_many,
    "echo": echo,
    "answer": answer,
    "keep": keep,
    "discard": chanlink.streams(discard),
    "discard-slowly": chanlink.streams(discard_slowly),
    "pour": chanlink.streams(pour),
}
