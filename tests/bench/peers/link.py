"""A link with a long way and little room, in user space: a proxy that delays what passes, and lets little through.

What it is like is in ``link.json`` in its folder: the server behind it (``host``, ``port``), the ``round_trip`` in
seconds, and the ``rate`` in bits a second, each way. What does not fit into the link waits in the sockets, so that
the sender feels the pressure; bytes are on their way for half a round trip, and nothing is lost.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

PIECE = 16_384
SLACK = 0.005
"""Seconds by which bytes may go in early, and what a sleep that was too long has lost may be made up for."""


class Way:
    """One direction of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, rate: float) -> None:
        self._reader, self._writer = reader, writer
        self._delay, self._a_byte = delay, 8 / rate
        self._on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(int(2 * delay * rate / 8 / PIECE) + 64)

    async def run(self) -> None:
        await asyncio.gather(self._enter(), self._leave())

    async def _enter(self) -> None:
        """Bytes go in one after the other, each for its time."""
        free_at = time.monotonic()
        data = b"."
        while data:
            with suppress(ConnectionError):
                data = await self._reader.read(PIECE)
            free_at = max(free_at, time.monotonic() - SLACK) + len(data) * self._a_byte
            if (ahead := free_at - time.monotonic()) > SLACK:
                await asyncio.sleep(ahead)
            await self._on_the_way.put((free_at + self._delay, data))

    async def _leave(self) -> None:
        with suppress(ConnectionError):
            while True:
                at, data = await self._on_the_way.get()
                if (early := at - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                if not data:
                    self._writer.write_eof()
                    return
                self._writer.write(data)
                await self._writer.drain()


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[dict[str, Any]]:
    like = json.loads((folder / "link.json").read_text())

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(like["host"], like["port"])
        pairs = ((reader, there_writer), (there_reader, writer))
        try:
            await asyncio.gather(*(Way(*pair, like["round_trip"] / 2, like["rate"]).run() for pair in pairs))
        finally:
            writer.close()
            there_writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield {"port": server.sockets[0].getsockname()[1]}
    server.close()


WORKS: dict[str, Any] = {}
