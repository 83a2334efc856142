"""chanlink: the same messages to many sessions, by a broadcast or by sending to each."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

import chanlink
from chanlink.patterns import broadcast, wait
from tests.bench.meter import Meter

from . import ours
from .services import SERVICES

Where = dict[str, Any]
PATIENT = wait(60)
KIB = 1_024


def message(n: int) -> dict[str, Any]:
    """1 KiB of plain data, as a page or a log would tell of an event."""
    items = [{"id": 1_000 + n, "name": "n" * 24, "price": 12.5, "tags": ["new", "red"]} for _ in range(12)]
    return {"n": 100_000 + n, "kind": "order", "items": items, "note": "x" * 199}


assert len(chanlink.encode(message(0))) == KIB


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    async with broadcast(PATIENT) as news:
        senders: list[chanlink.Sender[Any]] = []

        async def each(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
            async for sender in requests:
                senders.append(sender)

        async def go(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
            async for request in requests:
                for n in range(request["count"]):
                    if request["broadcast"]:
                        await news.send(message(n))
                    else:
                        item = [message(n)]
                        for sender in senders:
                            await sender.send(item)
                while senders:
                    senders.pop().close()

        SERVICES.update(news=news, each=each, go=go)
        async with ours.serve(folder) as where:
            yield where


async def many(where: Where, meter: Meter, *, count: int, subscribers: int, by: str) -> None:
    """So many messages, each to so many sessions."""
    async with AsyncExitStack() as stack:
        receivers: list[chanlink.Receiver[Any]] = []
        for _ in range(subscribers):
            session = await stack.enter_async_context(ours.connect(where))
            sender, receiver = chanlink.pipe()
            async with await session.open("news" if by == "broadcast" else "each") as requests:
                await requests.send(sender)
                await requests.flush()
            receivers.append(receiver)

        async def read(receiver: chanlink.Receiver[Any]) -> None:
            for _ in range(count):
                await receiver.receive()

        async with await session.open("go") as go:
            with meter.over(count * subscribers):
                await go.send({"count": count, "broadcast": by == "broadcast"})
                async with anyio.create_task_group() as readers:
                    for receiver in receivers:
                        readers.start_soon(read, receiver)
        for receiver in receivers:
            receiver.close()


WORKS = {"many": many}
