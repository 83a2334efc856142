"""One side of an exchange, by the chanlink that stands in the path: `exchange.py serve|call ADDRESS OWN_KEY PEER_KEY`.

Public names of version 0.1 only: the other side may be of that version (tests/project/test_released.py).
"""

import sys
from functools import partial
from typing import Any

import anyio

import chanlink


async def echo(requests: Any, peer: Any) -> None:
    """Sends back what is asked for, by the sender in the request, and by another one from here."""
    async for request in requests:
        sender, receiver = chanlink.pipe(request["capacity"])
        async with request["reply"] as reply:
            await reply.send(receiver)
            async with sender:
                for size in request["sizes"]:
                    await sender.send(bytes(size))


async def measure(requests: Any, peer: Any) -> None:
    """The length of each byte stream, by its other half."""
    async for body in requests:
        async with body:
            size = 0
            async for piece in body:
                size += len(piece)
            await body.send(b"%d" % size)


async def refuse(requests: Any, peer: Any) -> None:
    await requests.receive()
    requests.refuse("not-today", "ask tomorrow")


async def fail(requests: Any, peer: Any) -> None:
    async for reply in requests:
        async with reply:
            raise anyio.EndOfStream


SERVICES = {"echo": echo, "measure": measure, "refuse": refuse, "fail": fail}
SIZES = [0, 8_000, 10_000, 16_379, 16_380, 1, 100_000, 8_187, 8_188, 8_188]


async def serve(address: str, own: chanlink.Identity, peer: chanlink.PublicKey) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(chanlink.serve, SERVICES, address, identity=own, trust=chanlink.Trust.of(peer)))
        print("ready", flush=True)


async def call(address: str, own: chanlink.Identity, peer: chanlink.PublicKey) -> None:
    async with chanlink.connect(address, identity=own, peer=peer) as session:
        await session.ping()
        async with await session.open("echo", capacity=1) as requests:
            for capacity in (None, 0, 3):
                reply, replies = chanlink.pipe()
                await requests.send({"reply": reply, "sizes": SIZES, "capacity": capacity})
                receiver = await replies.receive()
                assert [len(item) async for item in receiver] == SIZES
                replies.close()
            await requests.flush()
        async with await session.open("measure") as bodies:
            for size in (0, 5, 300_000):
                near, far = chanlink.byte_pipe(size)
                await bodies.send(far)
                await near.send(bytes(size))
                await near.send_eof()
                assert await near.receive() == b"%d" % size
                await near.aclose()
        refused = await session.open("refuse")
        await refused.send({"an int key": {1: 2}})
        assert (await refused.wait_closed()).code == "not-today"
        refused.close()
        unknown = await session.open("nothing")
        assert (await unknown.wait_closed()).code == "no-such-service"
        unknown.close()
        failing = await session.open("fail")
        reply, replies = chanlink.pipe()
        await failing.send(reply)
        try:
            await replies.receive()
        except chanlink.ChannelFailed as exc:
            print("failed with", exc.code)
        replies.close()
        failing.close()
        assert session.statistics().channels <= 2
    print("ok")


async def main(role: str, address: str, own: str, peer: str) -> None:
    function = {"serve": serve, "call": call}[role]
    await function(address, chanlink.Identity.load(own), chanlink.PublicKey.load(peer))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
