# forgotten.py
import anyio
import chanlink

from books import BOOKS


async def read_aloud(lines: chanlink.Sender[str]) -> None:
    for line in BOOKS["My Shadow"]:  # the `async with lines:` is missing
        await lines.send(line)


async def main() -> None:
    sender, receiver = chanlink.pipe()
    with anyio.move_on_after(1) as patience:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_aloud, sender)
            async for line in receiver:
                print("heard:", line)
    print("gave up" if patience.cancelled_caught else "that was all")
    print(sender)


anyio.run(main)
