"""chanlink: calls of a method of an interface; and the same as a plain message with a reply channel, beside them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio

from chanlink.calls import Interface
from tests.bench.meter import Meter

from . import ours
from .services import SERVICES

Where = dict[str, Any]


class Answers(Protocol):
    async def answer(self, n: int) -> dict[str, int]: ...


class Answering:
    async def answer(self, n: int) -> dict[str, int]:
        return {"answer": n}


ANSWERS: Interface[Answers] = Interface(Answers)


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    SERVICES["calls"] = ANSWERS.serving(Answering())
    async with ours.serve(folder) as where:
        yield where


async def call(where: Where, meter: Meter, *, count: int, in_flight: int = 1) -> None:
    async with ours.connect(where) as session:
        client = ANSWERS.client(session, "calls")

        async def calls(number: int) -> None:
            for n in range(number, count, in_flight):
                await client.answer(n)

        await calls(count - 1)
        with meter.over(count):
            async with anyio.create_task_group() as group:
                for number in range(in_flight):
                    group.start_soon(calls, number)


WORKS = {"call": call, "nested": ours.nested}
