# librarian.py
import itertools
from typing import Any

import anyio
import chanlink

POEM = [
    "I have a little shadow that goes in and out with me,",
    "And what can be the use of him is more than I can see.",
    "He is very, very like me from the heels up to the head;",
    "And I see him jump before me, when I jump into my bed.",
]


async def read_aloud(lines: chanlink.Sender[str]) -> None:
    try:
        async with lines:
            for line in itertools.cycle(POEM):
                await lines.send(line)
                await anyio.sleep(0.2)
    except chanlink.ChannelBroken as error:
        print("librarian: I stop reading:", error, flush=True)


async def work(requests: chanlink.Receiver[Any]) -> None:
    try:
        async with requests, anyio.create_task_group() as tasks:
            async for request in requests:
                tasks.start_soon(read_aloud, request["lines"])
    except* chanlink.ChannelBroken as errors:
        print("librarian: I go home:", errors.exceptions[0], flush=True)


async def main() -> None:
    async with (
        chanlink.connect(
            "tcp://127.0.0.1:9323",
            identity=chanlink.Identity.load("librarian"),
            peer=chanlink.PublicKey.load("desk_key.pub"),
            wait=10,
        ) as session,
        await session.open("stay") as desk,
    ):
        door, requests = chanlink.pipe()
        await desk.send(door)
        await work(requests)


try:
    anyio.run(main)
except KeyboardInterrupt:  # Ctrl-C
    pass
