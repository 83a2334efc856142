"""chanlink: what many open channels in a session and many sessions on a server cost."""

import gc
import statistics
from contextlib import AsyncExitStack
from itertools import takewhile
from typing import Any

import anyio

import chanlink
from tests.bench.meter import Meter

from .ours import Where, connect, serve, trips

__all__ = ["WORKS", "serve"]

KIB = 1024
BATCH = 50
"""Channels that are opened and closed before the last one is waited for."""
AT_ONCE = 100
"""Ends in a message, and sessions that are being opened."""
FEW = 10


def steps(most: int) -> list[int]:
    """10, 100, ... and the last."""
    return [*takewhile(lambda step: step < most, (FEW * 10**n for n in range(10))), most]


def _found(meter: Meter, series: list[tuple[int, float, float, float]]) -> None:
    (_, few, *_), (_, many, client, server) = series[0], series[-1]
    meter.found(many, series=series, growth=many / few, client=client, server=server)


# --- channels -----------------------------------------------------------------------------------


async def channels(where: Where, meter: Meter, *, count: int, cycles: int) -> None:
    """At each step, with this many idle channels open: what opening and closing one costs, and KiB for each on
    a side."""
    series = []
    async with connect(where) as session, await session.open("keep") as keeper:
        kept: list[chanlink.Sender[Any]] = []
        await open_and_close(session, meter, cycles)
        first = meter.both_memories()
        for step in steps(count):
            await _open_idle(keeper, kept, step - len(kept))
            client, server = (used - before for used, before in zip(meter.both_memories(), first, strict=True))
            took = await open_and_close(session, meter, cycles)
            series.append((step, took, client / KIB / step, server / KIB / step))
        for sender in kept:
            sender.close()
    _found(meter, series)


async def _open_idle(keeper: chanlink.Sender[Any], kept: list[chanlink.Sender[Any]], count: int) -> None:
    """Channels whose other ends the server holds, and that nobody uses."""
    while count > 0:
        pairs = [chanlink.pipe() for _ in range(min(count, AT_ONCE))]
        await keeper.send({"ends": [receiver for _, receiver in pairs]})
        kept += [sender for sender, _ in pairs]
        count -= len(pairs)
    await keeper.flush()


async def open_and_close(session: chanlink.Session, meter: Meter, count: int) -> float:
    """Microseconds of processor time of both ends for each: open, one message, close. Garbage collection is in it."""
    gc.collect()
    with meter.over(count):
        for _ in range(count // BATCH):
            for _ in range(BATCH):
                sender = await session.open("count")
                sender.send_nowait(None)
                sender.close()
            await sender.flush()
    return (meter.cpu or 0.0) / count * 1e6


# --- sessions -----------------------------------------------------------------------------------


async def sessions(where: Where, meter: Meter, *, count: int, trips: int) -> None:
    """At each step, with this many idle sessions: the round trip of one more, and KiB for each on a side."""
    series = []
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(connect(where))
        echo = await _Echo.open(one)
        await echo.round_trips(trips)
        first = meter.both_memories()
        opened = 0
        async with anyio.create_task_group() as idle:
            for step in steps(count):
                await _open_sessions(where, idle, step - opened)
                opened = step
                client, server = (used - before for used, before in zip(meter.both_memories(), first, strict=True))
                took = await echo.round_trips(trips)
                series.append((step, took, client / KIB / step, server / KIB / step))
            idle.cancel_scope.cancel()
    _found(meter, series)


async def _open_sessions(where: Where, tasks: anyio.abc.TaskGroup, count: int) -> None:
    async def keep(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with connect(where):
            task_status.started()
            await anyio.sleep_forever()

    for begun in range(0, count, AT_ONCE):
        async with anyio.create_task_group() as starting:
            for _ in range(min(AT_ONCE, count - begun)):
                starting.start_soon(tasks.start, keep)


class _Echo:
    """A channel to the server and one back."""

    def __init__(self, sender: chanlink.Sender[Any], answers: chanlink.Receiver[Any]) -> None:
        self._sender, self._answers = sender, answers

    @classmethod
    async def open(cls, session: chanlink.Session) -> "_Echo":
        sender = await session.open("echo")
        answers_to, answers = chanlink.pipe()
        await sender.send({"reply": answers_to})
        return cls(sender, answers)

    async def round_trips(self, count: int) -> float:
        """The median, in microseconds."""
        gc.collect()
        return statistics.median(await trips(self._sender, self._answers, count))


WORKS = {"channels": channels, "sessions": sessions}
