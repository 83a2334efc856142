"""chanlink: messages of a channel with a type beside plain ones, and what each of the two ends takes."""

import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

import chanlink
from tests.bench.meter import Meter, Missing, processor
from tests.bench.payload import DATA, FLAT

from . import ours
from .services import SERVICES, count_many

Where = dict[str, Any]


class Struct(msgspec.Struct):
    id: int
    name: str
    price: float
    count: int
    note: str


@dataclasses.dataclass
class Data:
    id: int
    name: str
    price: float
    count: int
    note: str


TYPES: dict[str, Any] = {"plain": Any, "struct": Struct, "dataclass": Data}


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    async def structs(messages: chanlink.Receiver[Struct], peer: chanlink.Peer) -> None:
        await count_many(messages, peer)

    async def dataclasses_(messages: chanlink.Receiver[Data], peer: chanlink.Peer) -> None:
        await count_many(messages, peer)

    SERVICES.update({"plain": count_many, "struct": structs, "dataclass": dataclasses_})
    async with ours.serve(folder) as where:
        yield where


async def typed(
    where: Where, meter: Meter, *, count: int, end: str, sent: str = "plain", received: str = "plain"
) -> None:
    """The same data again and again; finds the processor time of one end, ``sending`` or ``receiving``."""
    if meter.server is None:
        raise Missing("measuring processor time needs Linux")
    pid = os.getpid() if end == "sending" else meter.server
    value = DATA[FLAT] if sent == "plain" else TYPES[sent](**DATA[FLAT])
    async with ours.connect(where) as session, await session.open(received, TYPES[sent]) as sender:
        await sender.send(value)
        await sender.flush()
        spent = processor(pid)
        for _ in range(count):
            await sender.send(value)
        sender.close()
        await sender.flush()
        meter.found((processor(pid) - spent) / count * 1e6)


WORKS = {"typed": typed}
