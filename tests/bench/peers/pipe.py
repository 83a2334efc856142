"""No peer at all: commands run here, and `dd | dd` is a pipe."""

import sys
from typing import Any

from tests.bench.meter import Meter

from . import commands

Where = dict[str, Any]


async def into(where: Where, meter: Meter, *, count: int) -> None:
    await commands.into({"command": []}, meter, count=count)


async def command(where: Where, meter: Meter, *, count: int) -> None:
    """fork and exec, this many times."""
    with meter.over(count):
        for _ in range(count):
            commands.run(["true"])


async def interpreter(where: Where, meter: Meter, *, count: int, program: str) -> None:
    """Start an interpreter with a program, this many times."""
    command = [sys.executable, "-c", program]
    commands.run(command)
    with meter.over(count):
        for _ in range(count):
            commands.run(command)


WORKS = {"into": into, "command": command, "interpreter": interpreter}
