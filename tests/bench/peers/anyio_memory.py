"""anyio's memory object streams."""

from typing import Any

import anyio

from tests.bench.meter import Meter

Where = dict[str, Any]


async def pipe(where: Where, meter: Meter, *, count: int, capacity: int) -> None:
    await through(*anyio.create_memory_object_stream[int](capacity), meter, count)


async def through(sender: Any, receiver: Any, meter: Meter, count: int) -> None:
    """Small numbers from one task to another."""

    async def send() -> None:
        async with sender:
            for n in range(count):
                await sender.send(n)

    with meter.over(count):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            async for _ in receiver:
                pass


WORKS = {"pipe": pipe}
