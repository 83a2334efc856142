# either.py
import itertools

import anyio
import chanlink

from books import BOOKS


async def read_aloud(lines: chanlink.Sender[str]) -> None:
    try:
        async with lines:
            for line in itertools.cycle(BOOKS["My Shadow"]):
                await lines.send(line)
                await anyio.sleep(0.1)
    except chanlink.ChannelRefused:
        print("reader: nobody listens any more")


async def ring(bell: chanlink.Sender[str]) -> None:
    async with bell:
        await anyio.sleep(0.5)
        await bell.send("it is bedtime")


async def main() -> None:
    lines, heard = chanlink.pipe()
    bell, rings = chanlink.pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_aloud, lines)
        tasks.start_soon(ring, bell)
        async with heard, rings:
            while True:
                chosen = await chanlink.select(heard, rings)
                if chosen.channel is rings:
                    print("but", chosen.value)
                    break
                print("heard:", chosen.value)


anyio.run(main)
