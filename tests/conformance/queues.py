"""A work queue at the far side of a route, and whoever uses it at the near side."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

import chanlink
from chanlink import ConnectionLost, Identity, Sender, SessionLost, Trust
from chanlink.patterns import queue_client, work_queue
from chanlink.testing.sessions import PEER
from tests.patience import PATIENCE

from .routes import DIRECT, HANDED, LOCAL, RELAYED, Places, Route, _over_each

Client = Callable[..., Any]
"""Makes a client of the queue, by its types."""
CLIENT, SERVER = Identity.generate("client"), Identity.generate("server")


class Way:
    """What a session is to whoever opens channels: each leads over the route to the queue."""

    def __init__(self, places: Places, queue: Any, tasks: TaskGroup) -> None:
        self.places = places
        self._queue = queue
        self._tasks = tasks
        self._one_at_a_time = anyio.Lock()

    async def open(self, service: str) -> Sender[Any]:
        """As `Session.open`."""
        try:
            async with self._one_at_a_time:
                sender, receiver = await self.places.channel()
        except SessionLost as exc:
            raise ConnectionLost("the session is over") from exc
        self._tasks.start_soon(self._queue, receiver, PEER)
        return sender


def link() -> AbstractAsyncContextManager[Any]:
    """A route of its own: a `Link`, which connects again."""
    raise AssertionError("made by reached")


over_each = _over_each([*LOCAL, *DIRECT, *HANDED, *RELAYED, link])


@asynccontextmanager
async def reached(route: Route, *types: Any, **options: Any) -> AsyncIterator[tuple[Any, Client]]:
    """A queue, and clients of it."""
    with anyio.fail_after(PATIENCE):
        async with work_queue(*types, **options) as queue, _way(route, queue) as way:

            def client(*types: Any) -> Any:
                return queue_client(way, "jobs", *types)

            yield queue, client


@asynccontextmanager
async def _way(route: Route, queue: Any) -> AsyncIterator[Any]:
    if route is not link:
        async with route() as places, anyio.create_task_group() as tasks:
            yield Way(places, queue, tasks)
            tasks.cancel_scope.cancel()
        return
    trust = Trust.of(CLIENT.public_key)
    async with (
        chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, services={"jobs": queue}) as listener,
        chanlink.reconnecting(listener.addresses[0], identity=CLIENT, peer=SERVER.public_key) as way,
    ):
        yield way


@asynccontextmanager
async def working(jobs: Any, run: Callable[[Any], Awaitable[object]], *, slots: int = 1) -> AsyncIterator[Any]:
    """A worker, in the block, that runs each job in a task of its own."""
    async with jobs.jobs(slots=slots) as work, anyio.create_task_group() as tasks:

        async def take() -> None:
            async for job in work:
                tasks.start_soon(run, job)

        tasks.start_soon(take)
        yield work
        tasks.cancel_scope.cancel()
