"""What is copied, and what all peers do that copy: a folder with one large file, or with many small ones."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.meter import Meter

from . import commands

PIECE = 2**20
Command = Callable[[Path, Path], list[str]]
"""The command line that copies a folder to a new place."""


def copy(meter: Meter, command: Command, what: str, count: int) -> None:
    """Copy ``count`` bytes in one file (``large``), or this many files of 1 kB (``small``), on one disk."""
    with tempfile.TemporaryDirectory(prefix="chanlink-bench-") as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.mkdir()
        made = _large(source, count) if what == "large" else _small(source, count)
        words = command(source, target)
        with meter.over(made):
            commands.run(words)
        if len(list(target.iterdir())) != len(list(source.iterdir())):
            raise RuntimeError("not all was copied")


def _large(source: Path, size: int) -> int:
    with (source / "file").open("wb") as file:
        for _ in range(size // PIECE):
            file.write(os.urandom(PIECE))
    return size // PIECE * PIECE


def _small(source: Path, count: int) -> int:
    for number in range(count):
        (source / str(number)).write_bytes(os.urandom(1_000))
    return count
