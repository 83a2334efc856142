"""A client and a worker of a queue that speak the protocol (section 14) by raw messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

import chanlink
from chanlink import Receiver, Sender
from chanlink.patterns.jobs.payloads import pack, unpack_as
from chanlink.patterns.jobs.queue import WorkQueue, work_queue
from chanlink.testing import session_pair
from tests.patience import PATIENCE


class Asker:
    """Brings jobs, and asks for others."""

    def __init__(self, requests: Sender[Any]) -> None:
        self.requests = requests

    async def ask(self, ask: str, **entries: Any) -> Receiver[Any]:
        """The answer."""
        sender, receiver = chanlink.pipe()
        await self.requests.send({"ask": ask, "answer": sender, **entries})
        return receiver

    async def submit(self, job: object, **entries: Any) -> Receiver[Any]:
        return await self.ask("submit", job=pack(job), **entries)

    async def answer(self, ask: str, **entries: Any) -> Any:
        """The answer of one message."""
        receiver = await self.ask(ask, **entries)
        with anyio.fail_after(PATIENCE):
            (found,) = [message async for message in receiver]
        return found

    async def work(self, slots: int = 1, ask: int | None = None) -> "Worker":
        """A worker, which has asked for as many jobs as it has slots if not said otherwise."""
        says, heard = chanlink.pipe()
        worker = Worker(says, await self.ask("work", slots=slots, says=heard))
        ask = slots if ask is None else ask
        if ask:
            await worker.say(ask=ask)
        return worker


class Worker:
    """A worker's two channels."""

    def __init__(self, says: Sender[Any], notices: Receiver[Any]) -> None:
        self.says = says
        self.notices = notices

    async def say(self, **message: Any) -> None:
        await self.says.send(message)

    async def notice(self) -> dict[str, Any]:
        with anyio.fail_after(PATIENCE):
            found = await self.notices.receive()
        if "payload" in found:
            found["payload"] = unpack_as(found["payload"])
        return found

    async def done(self, key: int, result: object, **more: Any) -> None:
        await self.say(done=key, result=pack(result), **more)

    def close(self) -> None:
        self.says.close()
        self.notices.close()


async def receive(ticket: Receiver[Any]) -> Any:
    with anyio.fail_after(PATIENCE):
        return await ticket.receive()


async def outcome(ticket: Receiver[Any]) -> dict[str, Any]:
    """The last message of a ticket."""
    with anyio.fail_after(PATIENCE):
        found = [message async for message in ticket][-1]
    if "done" in found:
        found["done"] = unpack_as(found["done"])
    return found


@asynccontextmanager
async def asker(session: chanlink.Session, service: str = "jobs") -> AsyncIterator[Asker]:
    async with await session.open(service) as requests:
        yield Asker(requests)


@asynccontextmanager
async def queue_and_asker(**options: Any) -> AsyncIterator[tuple[WorkQueue[Any, Any], Asker]]:
    async with (
        work_queue(**options) as queue,
        session_pair(services={"jobs": queue}) as (client, _server),
        asker(client) as asks,
    ):
        yield queue, asks
