# first.py
import anyio
import chanlink

from books import BOOKS


async def read_aloud(lines: chanlink.Sender[str]) -> None:
    async with lines:
        for line in BOOKS["My Shadow"]:
            await lines.send(line)


async def main() -> None:
    sender, receiver = chanlink.pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_aloud, sender)
        async for line in receiver:
            print("heard:", line)
    print("that was all")


anyio.run(main)
