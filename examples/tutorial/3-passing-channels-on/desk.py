# desk.py
from typing import Any

import anyio
import chanlink

doors: dict[str, chanlink.Sender[Any]] = {}


async def stay(offered: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    door = await offered.receive()
    async with door:
        doors[peer.name] = door
        print(f"desk: {peer.name} has come", flush=True)
        await door.wait_closed()
    if doors.get(peer.name) is door:  # and not another one, who has come since with the same key
        del doors[peer.name]
    print(f"desk: {peer.name} has left", flush=True)


async def find(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for request in requests:
        async with request["reply"] as reply:
            if request["name"] in doors:
                await reply.send(doors[request["name"]].clone())
            else:
                reply.fail("not-here")


async def main() -> None:
    await chanlink.serve(
        {"stay": stay, "find": find},
        "tcp://127.0.0.1:9323",
        identity=chanlink.Identity.load("desk_key"),
        trust=chanlink.Trust.load("people"),
    )


try:
    anyio.run(main)
except KeyboardInterrupt:  # Ctrl-C
    pass
