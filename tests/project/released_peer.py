"""A peer by the chanlink that stands in the path: `released_peer.py serve|call ADDRESS OWN_KEY PEER_KEY [LIMITS]`.

It does what it is asked over one session, whichever side has made it. Public names of version 0.1 only: see
test_released_sessions.py.
"""

import ast
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import anyio

import chanlink


async def echo(session: Any, requests: Any) -> None:
    """Each request holds a sender; it gets a receiver, by which come as many messages as were asked for."""
    async for request in requests:
        sender, receiver = chanlink.pipe()
        async with request["reply"] as reply, sender:
            await reply.send(receiver)
            for number in range(request["count"]):
                await sender.send(number)


async def length(session: Any, bodies: Any) -> None:
    """How long each byte stream is, by its other half."""
    async for body in bodies:
        async with body:
            size = 0
            async for piece in body:
                size += len(piece)
            await body.send(b"%d" % size)


async def ask(session: Any, requests: Any) -> None:
    """Ask the other side's echo, by a channel of its own for each request or by one for all, and tell what came."""
    channel = await session.open("echo")
    async with channel:
        async for request in requests:
            async with request["reply"] as reply:
                await reply.send(await _outcome(_asked, session, channel, request))


async def _asked(session: Any, channel: Any, request: Any) -> list[int]:
    requests = await session.open("echo") if request["anew"] else channel
    reply, replies = chanlink.pipe()
    async with replies:
        await requests.send({"reply": reply, "count": request["count"], "more": bytes(request["size"])})
        if request["anew"]:
            requests.close()
        return [number async for number in await replies.receive()]


async def send_ends(session: Any, requests: Any) -> None:
    """Send a message with as many ends as were asked for, and tell what came of it."""
    async for request in requests:
        async with request["reply"] as reply, await session.open("drop") as channel:
            pipes = [chanlink.pipe() for _ in range(request["count"])]
            await reply.send(await _outcome(channel.send, [receiver for _, receiver in pipes]))


async def open_many(session: Any, requests: Any) -> None:
    """Open as many channels as were asked for, and tell what came of it."""
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send(await _outcome(_opened, session, request["count"]))


async def _opened(session: Any, count: int) -> None:
    channels: list[Any] = []
    try:
        while len(channels) < count:
            channels.append(await session.open("drop"))
    finally:
        for channel in channels:
            channel.close()


async def close(session: Any, requests: Any) -> None:
    """Send some messages, and close the session before they are all taken."""
    async for count in requests:
        channel = await session.open("take")
        for number in range(count):
            await channel.send(number)
        channel.close()
        await session.aclose()


async def take(session: Any, messages: Any) -> None:
    """Print what comes, to the end."""
    got = [message async for message in messages]
    print("took", len(got), flush=True)


async def _outcome(call: Any, *args: Any) -> Any:
    try:
        return await call(*args)
    except chanlink.ChanlinkError as exc:
        return f"{type(exc).__name__} {getattr(exc, 'code', '') or getattr(exc, 'limit', '')}".strip()


SERVICES = {
    "echo": echo,
    "length": length,
    "ask": ask,
    "send-ends": send_ends,
    "open-many": open_many,
    "close": close,
    "take": take,
}


async def serving(service: Any, session: Any, end: Any) -> None:
    with suppress(chanlink.SessionLost, chanlink.SessionClosed):  # the end of the session is told by itself
        await service(session, end)


async def live(session: Any) -> None:
    async with anyio.create_task_group() as tasks:
        print("session", flush=True)
        async for incoming in session:
            tasks.start_soon(serving, SERVICES[incoming.service], session, incoming.end)
    print("over:", await session.wait_closed(), flush=True)


async def serve(where: str, own: Any, peer: Any, limits: Any) -> None:
    async with chanlink.listen(where, identity=own, trust=chanlink.Trust.of(peer), limits=limits) as listener:
        print("ready", flush=True)
        await live(await listener.accept())


async def call(where: str, own: Any, peer: Any, limits: Any) -> None:
    async with chanlink.connect(where, identity=own, peer=peer, limits=limits) as session:
        await live(session)


async def main(role: str, where: str, own: str, peer: str, limits: str = "{}") -> None:
    function = {"serve": serve, "call": call}[role]
    chosen = chanlink.Limits(**ast.literal_eval(limits))
    await function(where, chanlink.Identity.load(own), chanlink.PublicKey.load(peer), chosen)


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:]))
