# visitor.py
import sys

import anyio
import chanlink


async def main(name: str, wanted: int) -> None:
    async with (
        chanlink.connect(
            "tcp://127.0.0.1:9323",
            identity=chanlink.Identity.load("visitor"),
            peer=chanlink.PublicKey.load("desk_key.pub"),
            wait=10,
        ) as session,
        await session.open("find") as desk,
    ):
        reply, replies = chanlink.pipe()
        await desk.send({"name": name, "reply": reply})
        async with await replies.receive() as door:  # a sender, whose receiver is in the librarian's process
            lines, heard = chanlink.pipe()
            await door.send({"lines": lines})
            async with heard:
                for _ in range(wanted):
                    print("visitor:", await heard.receive(), flush=True)


try:
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
except chanlink.ChanlinkError as error:
    sys.exit(f"visitor: {type(error).__name__}: {error}")
except KeyboardInterrupt:  # Ctrl-C
    pass
