"""One server process: it shares its port with the next one, and SIGTERM stops it in order."""

import signal
import sys
from functools import partial
from pathlib import Path

import anyio

import chanlink

from .work import WORK


class Worker:
    """Says by which process a call was carried out."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def work(self, seconds: float) -> int:
        await anyio.sleep(seconds)
        return self._number


async def serve(folder: Path, port: int, number: int) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port, reuse_port=True)
    serving = partial(
        chanlink.serve,
        {"work": WORK.serving(Worker(number))},
        listener,
        identity=chanlink.Identity.load(folder / "server"),
        trust=chanlink.Trust.load(folder / "client.pub"),
        signals=(signal.SIGTERM,),
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(serving)
        print("listening", flush=True)


if __name__ == "__main__":
    anyio.run(serve, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), backend=sys.argv[4])
