"""chanlink: small messages beside a bulk stream, and memory while a slow reader is fed."""

import statistics

import anyio

import chanlink
from tests.bench.meter import Meter
from tests.bench.payload import PIECE

from .ours import Where, connect, serve, trips

__all__ = ["WORKS", "serve"]

MIB = 1024 * 1024
SETTLED = 128 * MIB
"""Bytes after which every window and buffer has its size."""


async def beside_bulk(where: Where, meter: Meter, *, count: int, bulk: str) -> None:
    """Round trips on an idle session, then on one that a stream fills ``up`` or ``down``; both in microseconds."""
    async with connect(where) as session, anyio.create_task_group() as tasks:
        sender = await session.open("echo")
        answers_to, answers = chanlink.pipe()
        await sender.send({"reply": answers_to})
        await trips(sender, answers, count // 10)
        idle = await trips(sender, answers, count)
        stream = await session.open_stream("discard" if bulk == "up" else "pour")
        tasks.start_soon(_fill if bulk == "up" else _drain, stream)
        await trips(sender, answers, count // 10)
        loaded = await trips(sender, answers, count)
        tasks.cancel_scope.cancel()
    worst = loaded[int(len(loaded) * 0.99)]
    meter.found(worst / statistics.median(idle), idle=_percentiles(idle), loaded=_percentiles(loaded))


def _percentiles(took: list[float]) -> list[float]:
    return [took[min(len(took) * percent // 100, len(took) - 1)] for percent in range(101)]


async def _fill(stream: chanlink.ByteStream) -> None:
    piece = bytes(PIECE)
    while True:
        await stream.send(piece)


async def _drain(stream: chanlink.ByteStream) -> None:
    async for _ in stream:
        pass


async def slow_reader(where: Where, meter: Meter, *, count: int) -> None:
    """Bytes to a reader who pauses; MiB by which the two ends together grow once all buffers have their size."""
    piece = bytes(PIECE)
    series = []
    async with connect(where) as session:
        stream = await session.open_stream("discard-slowly")
        for n in range(count // PIECE):
            if n % 64 == 0:
                series.append((n * PIECE / MIB, *(used / MIB for used in meter.both_memories())))
            await stream.send(piece)
        await stream.send_eof()
        await stream.receive()
    at_first = max(client + server for sent, client, server in series if sent * MIB <= min(SETTLED, count / 8))
    most = max(client + server for _, client, server in series)
    meter.found(max(most - at_first, 0.0), series=series)


WORKS = {"beside_bulk": beside_bulk, "slow_reader": slow_reader}
