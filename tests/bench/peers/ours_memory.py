"""chanlink without a session: pipes in memory."""

import chanlink
from tests.bench.meter import Meter

from .anyio_memory import Where, through


async def pipe(where: Where, meter: Meter, *, count: int, capacity: int) -> None:
    await through(*chanlink.pipe(capacity), meter, count)


WORKS = {"pipe": pipe}
