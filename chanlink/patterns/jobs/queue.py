"""`work_queue`: jobs that are brought, given to workers that ask for them, and come to one outcome each."""

from collections.abc import AsyncGenerator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar, overload

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect, expect_function
from chanlink.channels.channel import Receiver, Sender, pipe
from chanlink.channels.typed import converter_of
from chanlink.errors import ChannelRefused
from chanlink.session.peer import Peer
from chanlink.session.services import Handler
from chanlink.tasks import tasks_beside

from .client import QueueClient
from .core import LAST_COMMIT, Core
from .followers import STOPS
from .memory import MemoryStore
from .requests import ASKS, Ask
from .serving import RequestChannel
from .store import Store

if TYPE_CHECKING:
    from typing_extensions import TypeForm

HERE = "this process"
"""The name of a worker that has no session."""

J = TypeVar("J")
R = TypeVar("R")


@overload
def work_queue(
    *, store: Store | None = None, silence: float = 60.0, attempts: int = 5, most: int = 1_000_000
) -> "AbstractAsyncContextManager[WorkQueue[Any, Any]]": ...


@overload
def work_queue(
    job_type: type[J],
    result_type: type[R],
    *,
    store: Store | None = None,
    silence: float = 60.0,
    attempts: int = 5,
    most: int = 1_000_000,
) -> "AbstractAsyncContextManager[WorkQueue[J, R]]": ...


@overload
def work_queue(
    job_type: "TypeForm[J]",
    result_type: "TypeForm[R]",
    *,
    store: Store | None = None,
    silence: float = 60.0,
    attempts: int = 5,
    most: int = 1_000_000,
) -> "AbstractAsyncContextManager[WorkQueue[J, R]]": ...


def work_queue(
    job_type: Any = Any,
    result_type: Any = Any,
    *,
    store: Store | None = None,
    silence: float = 60.0,
    attempts: int = 5,
    most: int = 1_000_000,
) -> "AbstractAsyncContextManager[WorkQueue[Any, Any]]":
    """An async context manager; gives a `WorkQueue`, to which jobs are brought and which gives them to workers.

    A job is given to one worker at a time, at least once, and has one outcome: the first that a worker says, or that it
    was cancelled. It is given again when its worker is lost, has said nothing of it for `silence` seconds, or wants
    that; after `attempts` attempts it has failed, ``attempts-used-up``. No more than `most` jobs may wait.

    `store` keeps the jobs, and belongs to the block: a `MemoryStore` if there is none, with which they are gone behind
    it. With the types of jobs and results, each is checked as it comes to the queue. Leaving the block ends what
    others wait for, with code ``draining``; what has begun is given again by the next queue that has the store.

    Raises `TypeError`, `ValueError`, what `pipe` does for a type, and `ConfigError` for a store that can't be used.
    """
    for name, value in (("silence", silence), ("attempts", attempts), ("most", most)):
        expect(name, value, *((int, float) if name == "silence" else (int,)))
        if not value > 0:
            raise ValueError(f"{name} must be more than 0")
    for item_type in (job_type, result_type):
        converter_of(item_type)
    if store is not None:
        expect_function("store.begin", getattr(store, "begin", None))
    store = MemoryStore() if store is None else store
    return _block(store, job_type, result_type, silence=silence, attempts=attempts, most=most)


@asynccontextmanager
async def _block(
    store: Store, job_type: Any, result_type: Any, *, silence: float, attempts: int, most: int
) -> "AsyncGenerator[WorkQueue[Any, Any], None]":
    async with store, tasks_beside() as tasks:
        core = Core(store, job_type, result_type, silence=silence, attempts=attempts, most=most, tasks=tasks)
        queue = WorkQueue[Any, Any](core, tasks, job_type, result_type)
        core.start()
        try:
            yield queue
        finally:
            await queue._leave()
            tasks.cancel_scope.cancel()


class WorkQueue(QueueClient[J, R]):
    """The queue itself, and a client of it in this process. Made by `work_queue`.

    It is a service, ``services={"jobs": queue}``, of which others are clients by `queue_client`. What a client may do
    is here, too: `submit` jobs, work on `jobs`, and so on; behind the block all of that raises `JobRefused` with code
    ``draining``. All of it belongs to the event loop of the block.
    """

    def __init__(self, core: Core, tasks: TaskGroup, job_type: Any, result_type: Any) -> None:
        super().__init__(_Here(self), "jobs", job_type, result_type)
        self._core = core
        self._tasks = tasks
        self._context = copy_context()
        """Not that of whoever opens a channel: a service that does has a session, which may be draining."""
        self._left = False
        self._serving: dict[CancelScope, None] = {}
        """The channels of requests."""
        self._idle = anyio.Event()
        """Set when there are none, behind the block."""

    def __repr__(self) -> str:
        return f"<WorkQueue with {len(self._core.lines)} workers>"

    async def __call__(self, requests: Receiver[Any], peer: Peer) -> None:
        """The service. See `queue_client`."""
        await self._serve(requests, peer.name, ASKS)

    def service(self, *asks: Ask) -> Handler:
        """A service of this queue that takes no other requests than these.

        ``submit``, ``find``, ``cancel``, ``retry``, ``status``, ``failed`` and ``work``; others are refused,
        ``not-allowed``. Raises `ValueError` for what is none of them.
        """
        for ask in asks:
            expect("asks", ask, str)
            if ask not in ASKS:
                raise ValueError(f"asks: {', '.join(ASKS)} are those that there are, not {ask!r:.70}")

        async def serve(requests: Receiver[Any], peer: Peer) -> None:
            await self._serve(requests, peer.name, asks)

        return serve

    async def _serve(self, requests: Receiver[Any], name: str, asks: Collection[Ask]) -> None:
        with CancelScope() as scope:
            self._serving[scope] = None
            try:
                if not self._left:
                    async with anyio.create_task_group() as lines:
                        await RequestChannel(self._core, requests, name, asks, lines).serve()
            finally:
                del self._serving[scope]
                if not self._serving:
                    self._idle.set()
        if self._left:
            requests.refuse(*STOPS)

    def _open_here(self) -> Sender[Any]:
        """A channel of requests in this process."""
        if self._left:
            raise ChannelRefused(*STOPS)
        requests, receiver = pipe()
        self._context.run(self._tasks.start_soon, self._serve, receiver, HERE, ASKS)
        return requests

    async def _leave(self) -> None:
        """Nothing more comes in, and all who wait are told."""
        self._left = True
        for scope in [*self._serving]:
            scope.cancel()
        for follower in self._core.followers.all():
            follower.fail(*STOPS)
        with CancelScope(shield=True), anyio.move_on_after(LAST_COMMIT):
            if self._serving:
                self._idle = anyio.Event()
                await self._idle.wait()
        await self._core.settle()


class _Here:
    """The way to a queue in its own process."""

    def __init__(self, queue: WorkQueue[Any, Any]) -> None:
        self._queue = queue

    async def open(self, service: str) -> Sender[Any]:
        """As `Session.open`."""
        await checkpoint()
        return self._queue._open_here()
