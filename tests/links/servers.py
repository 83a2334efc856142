"""A server that can be started again at the same address, and the interface that it serves."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import anyio

import chanlink
from chanlink import ByteStream, Identity, Link, Peer, Trust
from tests.echo import echo

ALICE, SERVER, OTHER = Identity.generate("alice"), Identity.generate("server"), Identity.generate("other")


class Work(Protocol):
    async def number(self) -> int: ...

    async def slowly(self) -> int: ...

    @chanlink.idempotent
    async def safely(self) -> int: ...

    def counting(self) -> AsyncGenerator[int, None]: ...

    async def length(self, body: ByteStream) -> int: ...


WORK = chanlink.Interface(Work)


class Worker:
    """One process of a server, as it were: its number is what distinguishes it from the next one."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.begun = anyio.Event()
        self.go = anyio.Event()

    async def number(self) -> int:
        return self._number

    async def slowly(self) -> int:
        self.begun.set()
        await self.go.wait()
        return self._number

    async def safely(self) -> int:
        return await self.slowly()

    async def counting(self) -> AsyncGenerator[int, None]:
        yield self._number
        await self.slowly()
        yield self._number

    async def length(self, body: ByteStream) -> int:
        return sum([len(data) async for data in body])


async def upper(stream: ByteStream, peer: Peer) -> None:
    async for data in stream:
        await stream.send(data.upper())


class Server:
    """Where it listens, and what it is now."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.count = 0
        self.worker: Worker
        self.listener: chanlink.Listener

    @asynccontextmanager
    async def running(
        self, identity: Identity = SERVER, trust: Trust | None = None, services: dict[str, Any] | None = None
    ) -> AsyncIterator[Worker]:
        self.count += 1
        worker = Worker(self.count)
        services = services or {"work": WORK.serving(worker), "echo": echo, "upper": chanlink.streams(upper)}
        trust = trust or Trust.of(ALICE.public_key)
        async with chanlink.listen(self.address, identity=identity, trust=trust, services=services) as listener:
            self.address = listener.addresses[0]
            self.worker, self.listener = worker, listener
            yield worker

    def link(self, **options: Any) -> AbstractAsyncContextManager[Link]:
        return chanlink.reconnecting(self.address, identity=ALICE, peer=SERVER.public_key, **options)


async def until_state(link: Link, *wanted: str) -> list[str]:
    """The states until one of these, which is the last."""
    seen = []
    async for state in link.states():
        seen.append(state)
        if state in wanted:
            break
    return seen
