"""A program of version 0.1: `old_peer.py ROLE ADDRESS OWN_KEY PEER_KEY [PSK]`.

Public names of 0.1 only. The role ``serve`` answers requests of a service ``ask``. ``follow:SERVICE`` connects, to the
socket that is its standard input if the address is ``-``, sends a sender to that service, and prints what comes of it.
"""

import socket
import sys
from functools import partial
from typing import Any

import anyio
from anyio.abc import UNIXSocketStream

import chanlink


async def ask(requests: Any, peer: Any) -> None:
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send({"item": request["item"], "count": len(request["item"])})


async def serve(address: str, **options: Any) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(chanlink.serve, {"ask": ask}, address, **options))
        print("ready", flush=True)


async def follow(service: str, address: Any, **options: Any) -> None:
    if address == "-":
        address = await UNIXSocketStream.from_socket(socket.socket(fileno=0))
    async with chanlink.connect(address, **options) as session, await session.open(service) as subscriptions:
        sender, receiver = chanlink.pipe(1)
        await subscriptions.send(sender)
        async for value in receiver:
            print(value, flush=True)


def main(role: str, address: str, own: str, peer: str, psk: str = "") -> None:
    options: dict[str, Any] = {"identity": chanlink.Identity.load(own), "psk": bytes.fromhex(psk) or None}
    key = chanlink.PublicKey.load(peer)
    if role == "serve":
        anyio.run(partial(serve, address, trust=chanlink.Trust.of(key), **options))
    else:
        anyio.run(partial(follow, role.removeprefix("follow:"), address, peer=key, **options))


if __name__ == "__main__":
    main(*sys.argv[1:])
