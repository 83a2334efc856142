"""A queue that says what a test wants it to, of its clients' messages as they come: protocol section 14, by hand."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio

import chanlink
from chanlink import Peer, Receiver, Sender
from chanlink.patterns import QueueClient, queue_client
from chanlink.patterns.jobs.payloads import pack
from chanlink.testing import session_pair
from tests.patience import PATIENCE

NEW = {"state": "waiting", "attempt": 0, "new": True}
"""How a ticket begins."""


class Line(NamedTuple):
    """A worker, as the queue sees it."""

    says: Receiver[Any]
    notices: Sender[Any]

    async def says_next(self) -> Any:
        """What it says next."""
        with anyio.fail_after(PATIENCE):
            return await self.says.receive()

    async def give(self, key: int, value: object = None, **entries: Any) -> None:
        """Give it a job."""
        job = {"job": key, "id": f"job-{key}", "attempt": 1, "payload": pack(value)}
        await self.notices.send(job | entries)

    async def tell(self, **notice: Any) -> None:
        """Say something else."""
        await self.notices.send(notice)

    def close(self) -> None:
        """Be gone, in order."""
        self.says.close()
        self.notices.close()


class ScriptedQueue:
    """A service: what comes is handed over to the test, and nothing is answered by itself."""

    def __init__(self) -> None:
        self._comes, self._came = chanlink.pipe()

    async def __call__(self, requests: Receiver[Any], peer: Peer) -> None:
        async for message in requests:
            await self._comes.send(message)

    def close(self) -> None:
        """Nothing more comes."""
        self._comes.close()
        self._came.close()

    async def request(self, ask: str) -> dict[str, Any]:
        """The next request, which is this one."""
        with anyio.fail_after(PATIENCE):
            message: dict[str, Any] = await self._came.receive()
        assert message["ask"] == ask
        return message

    async def ticket(self, ask: str = "submit", **first: Any) -> Sender[Any]:
        """The next request gets a ticket."""
        answer: Sender[Any] = (await self.request(ask))["answer"]
        await answer.send(NEW | first)
        return answer

    async def line(self) -> Line:
        """The next request is that of a worker."""
        message = await self.request("work")
        return Line(message["says"], message["answer"])


@asynccontextmanager
async def scripted(
    job_type: Any = Any, result_type: Any = Any
) -> AsyncGenerator[tuple[QueueClient[Any, Any], ScriptedQueue]]:
    """A client of such a queue, over a session."""
    queue = ScriptedQueue()
    async with session_pair(services={"jobs": queue}) as (session, _):
        try:
            yield queue_client(session, "jobs", job_type, result_type), queue
        finally:
            queue.close()
