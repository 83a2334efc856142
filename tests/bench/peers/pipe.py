"""No peer at all: commands run here, and `dd | dd` is a pipe."""

import sys
from typing import Any

from tests.bench.meter import Meter

from . import commands

Where = dict[str, Any]


async def into(where: Where, meter: Meter, *, count: int) -> None:
    await commands.into({"command": []}, meter, count=count)


async def command(where: Where, meter: Meter, *, count: int) -> None:
    """fork and exec, so many times."""
    with meter.over(count):
        for _ in range(count):
            commands.run(["true"])


async def interpreter(where: Where, meter: Meter, *, count: int) -> None:
    """Start an interpreter and an event loop of anyio's, so many times."""
    program = [sys.executable, "-c", "import anyio; anyio.run(anyio.sleep, 0)"]
    commands.run(program)
    with meter.over(count):
        for _ in range(count):
            commands.run(program)


WORKS = {"into": into, "command": command, "interpreter": interpreter}
