"""What all peers do that run commands: their ``where`` has a command line (``command``) before which nothing is needed.

``into`` and ``out_of`` pump bytes through a `dd` there, and ``cold`` runs ``true`` there; each starts the peer's client
as a process of its own, as a shell does.
"""

import subprocess
import sys
from typing import Any

from tests.bench.meter import Meter

Where = dict[str, Any]
PIECE = 1024 * 1024


def source(size: int) -> list[str]:
    return ["dd", "if=/dev/zero", "bs=1M", f"count={size // PIECE}", "status=none"]


SINK = ["dd", "of=/dev/null", "bs=1M"]


async def into(where: Where, meter: Meter, *, count: int) -> None:
    """From a `dd` here into one there."""
    pump(where, meter, source(count), [*program(where, meter), *SINK], count)


async def out_of(where: Where, meter: Meter, *, count: int) -> None:
    """From a `dd` there into one here."""
    pump(where, meter, [*program(where, meter), *source(count)], SINK, count)


async def cold(where: Where, meter: Meter, *, count: int) -> None:
    """Run ``true``, this many times, each with a connection of its own."""
    command = [*program(where, meter), "true"]
    run(command)
    with meter.over(count):
        for _ in range(count):
            run(command)


def run(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, capture_output=True)


def program(where: Where, meter: Meter) -> list[str]:
    """The command line."""
    return with_profile(where["command"], meter.profile)


def with_profile(command: list[str], path: str | None) -> list[str]:
    """A command line that writes a profile, if one is wanted and it is a program of Python's."""
    if path is None or command[:1] != [sys.executable]:
        return command
    return [sys.executable, "-m", "cProfile", "-o", path, *command[1:]]


def pump(where: Where, meter: Meter, there: list[str], back: list[str], count: int) -> None:
    """``there | back``; the last of the two `dd` says whether all has arrived."""
    size = count // PIECE * PIECE
    with meter.over(size):
        sending = subprocess.Popen(there, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        receiving = subprocess.Popen(back, stdin=sending.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert sending.stdout is not None
        sending.stdout.close()
        said = receiving.communicate()[0].decode()
        sending.wait()
    if f"{size} bytes" not in said or sending.returncode or receiving.returncode:
        raise RuntimeError(f"not all has arrived: {said.strip()}")


WORKS = {"into": into, "out_of": out_of, "cold": cold}
