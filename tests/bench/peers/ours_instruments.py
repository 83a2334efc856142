"""chanlink: messages, channels and calls with instruments on both sides, of one kind or none."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import chanlink
from chanlink.observing import Instrument
from tests.bench.meter import Meter, Missing
from tests.bench.payload import TINY

from .ours import MANY
from .ours_calls import ANSWERS, Answering
from .services import SERVICES

Where = dict[str, Any]


def traces() -> Instrument:
    """Spans that are made, and thrown away in place of being exported."""
    try:
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError:
        raise Missing("opentelemetry is not installed") from None
    from chanlink.observing.opentelemetry import Traces

    return Traces(TracerProvider())


KINDS: dict[str, Callable[[], list[Instrument]]] = {
    "none": list,
    "no-op": lambda: [Instrument()],
    "opentelemetry": lambda: [traces()],
}


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    """A listener for each kind of instrument."""
    server, client = chanlink.Identity.generate("bench-server"), chanlink.Identity.generate("bench-client")
    client.save(folder / "client")
    services = {**SERVICES, "calls": ANSWERS.serving(Answering())}
    trust = chanlink.Trust.of(client.public_key)
    async with AsyncExitStack() as listeners:
        addresses = {}
        for kind, instruments in KINDS.items():
            listener = await listeners.enter_async_context(
                chanlink.listen(
                    "tcp://127.0.0.1:0",
                    identity=server,
                    trust=trust,
                    services=services,
                    limits=MANY,
                    instruments=instruments(),
                )
            )
            addresses[kind] = listener.addresses[0]
        yield {"addresses": addresses, "key": str(server.public_key), "identity": str(folder / "client")}


def connect(where: Where, kind: str) -> AbstractAsyncContextManager[chanlink.Session]:
    return chanlink.connect(
        where["addresses"][kind],
        identity=chanlink.Identity.load(where["identity"]),
        peer=chanlink.PublicKey.parse(where["key"]),
        limits=MANY,
        instruments=KINDS[kind](),
    )


async def messages(where: Where, meter: Meter, *, count: int, kind: str) -> None:
    async with connect(where, kind) as session, await session.open("count") as sender:
        with meter.over(count):
            for _ in range(count):
                await sender.send(TINY)
            sender.close()
            await sender.flush()


async def channels(where: Where, meter: Meter, *, count: int, kind: str) -> None:
    """One after the other, each with one message, which was taken when the next one is opened."""
    async with connect(where, kind) as session:
        with meter.over(count):
            for _ in range(count):
                async with await session.open("count") as sender:
                    await sender.send(TINY)
                    await sender.flush()


async def calls(where: Where, meter: Meter, *, count: int, kind: str) -> None:
    async with connect(where, kind) as session:
        client = ANSWERS.client(session, "calls")
        with meter.over(count):
            for n in range(count):
                await client.answer(n)


WORKS = {"messages": messages, "channels": channels, "calls": calls}
