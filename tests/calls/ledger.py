"""A server whose calls leave a trace in a file: ``python -m tests.calls.ledger FOLDER``."""

import os
import sys
from pathlib import Path
from typing import Protocol

import anyio

import chanlink


class Ledger(Protocol):
    async def write(self, number: int, seconds: float) -> int: ...


LEDGER = chanlink.Interface(Ledger)


class FileLedger:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def write(self, number: int, seconds: float) -> int:
        os.write(self._file, f"began {number}\n".encode())
        await anyio.sleep(seconds)
        os.write(self._file, f"ended {number}\n".encode())
        return number


async def main(folder: Path) -> None:
    client = chanlink.Identity.load(folder / "client")
    await chanlink.serve(
        # Few at a time: so some requests wait in the channel.
        {"ledger": LEDGER.serving(FileLedger(folder / "ledger"), calls=8)},
        f"unix:{folder}/socket",
        identity=chanlink.Identity.load(folder / "server"),
        trust=chanlink.Trust.of(client.public_key),
    )


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
