"""RPyC over TCP, as it comes: blocking, without encryption."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer

from tests.bench.meter import Meter
from tests.bench.payload import TINY

Where = dict[str, Any]


class Echo(rpyc.Service):
    def exposed_echo(self, data: bytes) -> bytes:
        return data


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    server = ThreadedServer(Echo, hostname="127.0.0.1", port=0)
    threading.Thread(target=server.start, daemon=True).start()
    yield {"host": "127.0.0.1", "port": server.port}
    server.close()


async def round_trip(where: Where, meter: Meter, *, count: int) -> None:
    connection = rpyc.connect(where["host"], where["port"])
    try:
        echo = connection.root.echo
        for _ in range(100):
            echo(TINY)
        with meter.over(count):
            for _ in range(count):
                echo(TINY)
    finally:
        connection.close()


WORKS = {"round_trip": round_trip}
