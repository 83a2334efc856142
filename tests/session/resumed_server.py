"""``python -m tests.session.resumed_server key port``: a server in a process of its own, for tests that kill it."""

import sys
from typing import Any

import anyio

import chanlink
from chanlink import Identity, Trust


async def count(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    """Answers each message by how many there were in this process."""
    number = 0
    async for reply in requests:
        number += 1
        await reply.send(number)
        await reply.aclose()


async def main(key: str, port: int) -> None:
    async with chanlink.listen(
        f"tcp://127.0.0.1:{port}",
        identity=Identity.load(key),
        trust=Trust.anyone(["count"]),
        services={"count": count},
    ) as listener:
        print(listener.addresses[0], flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
