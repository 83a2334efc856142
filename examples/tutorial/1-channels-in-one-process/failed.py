# failed.py
import anyio
import chanlink

from books import BOOKS


async def read_aloud(lines: chanlink.Sender[str]) -> None:
    async with lines:
        for line in BOOKS["My Shadow"]:
            if "shadow" not in line:
                raise ValueError("lost my place")
            await lines.send(line)


async def listen(lines: chanlink.Receiver[str]) -> None:
    try:
        async for line in lines:
            print("heard:", line)
    except chanlink.ChannelFailed as error:
        print("not all of it:", error)


async def main() -> None:
    sender, receiver = chanlink.pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen, receiver)
        try:
            await read_aloud(sender)
        except ValueError as error:
            print("reader:", error)


anyio.run(main)
