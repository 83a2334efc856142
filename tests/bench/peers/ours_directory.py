"""chanlink: a directory, whose names are looked up by a session that is kept; and entries that are followed."""

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

import chanlink
from chanlink.directory import Directory, Entry, SQLiteStore, directory_services
from chanlink.directory.interface import LOOKING_UP, looking_up
from tests.bench.meter import Meter, Missing

from . import ours

Where = dict[str, Any]
NAMES = 100
PLACE = ["tcp://192.0.2.1:9323"]
SERVICES = ["echo", "time"]


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    server, client = chanlink.Identity.generate("bench-server"), chanlink.Identity.generate("bench-client")
    client.save(folder / "client")
    options: dict[str, Any] = {"identity": server, "trust": chanlink.Trust.of(client.public_key)}
    async with (
        directory_services(SQLiteStore(folder / "entries.db", names_per_key=1_000)) as services,
        chanlink.listen("tcp://127.0.0.1:0", services=services, **options) as listener,
    ):
        host, _, port = listener.addresses[0].removeprefix("tcp://").rpartition(":")
        where = {"host": host, "port": int(port)}
        yield {**where, "key": str(server.public_key), "identity": str(folder / "client")}


def directory(where: Where) -> Directory:
    key, identity = chanlink.PublicKey.parse(where["key"]), chanlink.Identity.load(where["identity"])
    return Directory(f"tcp://{where['host']}:{where['port']}", identity=identity, peer=key)


async def lookups(where: Where, meter: Meter, *, count: int, in_flight: int = 1) -> None:
    """Look names up that are there. Finds how many a second of processor time of the server.

    The requests are those of a client, without what that does with the answers: it is the server that is measured.
    """
    async with directory(where) as registers, ours.connect(where) as session:
        for number in range(NAMES):
            await registers.register(f"web{number}", PLACE, SERVICES)
        client = looking_up().client(session, LOOKING_UP)

        async def some(first: int) -> None:
            for number in range(first, count, in_flight):
                [_] = await client.lookup(f"web{number % NAMES}")

        await some(count - 1)
        with meter.over(count):
            async with anyio.create_task_group() as tasks:
                for first in range(in_flight):
                    tasks.start_soon(some, first)
    if meter.server_cpu is None:
        raise Missing("measuring processor time needs Linux")
    meter.found(count / meter.server_cpu)


async def seen(where: Where, meter: Meter, *, count: int) -> None:
    """Register, again and again, while somebody else follows. Finds the median of how many ms that takes."""
    took: list[float] = []
    async with directory(where) as servers, directory(where) as clients, aclosing(clients.changes("seen")) as changes:
        await servers.register("seen", PLACE, SERVICES)
        async for change in changes:
            if change is None:
                break
        for _ in range(count):
            began = time.perf_counter()
            await servers.register("seen", PLACE, SERVICES)
            found = await anext(changes)
            assert isinstance(found, Entry)
            took.append(time.perf_counter() - began)
    meter.found(statistics.median(took) * 1e3)


WORKS = {"lookups": lookups, "seen": seen}
