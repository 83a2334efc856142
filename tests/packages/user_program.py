"""A program of a user: ``user_program.py serve OWN_KEY PEER_KEY`` prints its address; ``call ... ADDRESS`` asks it."""

import sys
from functools import partial
from typing import Any

import anyio

import chanlink


async def shout(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send(f"{request['word'].upper()}, {peer.name}")


async def serve(ours: chanlink.Identity, trust: chanlink.Trust) -> None:
    services = {"shout": shout}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=ours, trust=trust, services=services) as listener:
        print(listener.addresses[0], flush=True)
        await anyio.sleep_forever()


async def call(ours: chanlink.Identity, server: chanlink.PublicKey, address: str) -> None:
    async with chanlink.connect(address, identity=ours, peer=server) as session:
        requests: chanlink.Sender[Any] = await session.open("shout")
        reply, replies = chanlink.pipe()
        await requests.send({"word": "hello", "reply": reply})
        async for answer in replies:
            print(answer)


def main(role: str, own_key: str, peer_key: str, *address: str) -> None:
    ours = chanlink.Identity.load(own_key)
    if role == "serve":
        anyio.run(partial(serve, ours, chanlink.Trust.load(peer_key)))
    else:
        anyio.run(partial(call, ours, chanlink.PublicKey.load(peer_key), *address))


if __name__ == "__main__":
    main(*sys.argv[1:])
