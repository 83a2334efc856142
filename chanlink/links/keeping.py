"""The task that makes sessions, one after the other, and a task for each that lives.

A session that drains goes on beside the next one, until its peer closes it. What ends a session, or keeps one from
being made, is the business of the link, as long as it is an error of ours: it waits and connects again. Any other
exception is a defect of the program, and ends the block of the link.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup, TaskStatus

from chanlink.backoff import Backoff
from chanlink.errors import (
    CallError,
    ChanlinkError,
    ChannelError,
    ConfigError,
    SessionError,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.printing import printable_logger
from chanlink.session.session import Session
from chanlink.tasks import tasks_beside

from .link import Link

logger = printable_logger(__name__)

Setup = Callable[[Session, TaskGroup], Awaitable[None]]
FINAL = (WrongPeer, UntrustedPeer, ConfigError)
"""What keeps one from connecting and does not become better by itself, or what nobody should get used to."""
OF_A_SESSION = (SessionError, ChannelError, CallError)
"""What a session that breaks does to those that work with it."""


class _Refused(Exception):
    """There will be no session: one of `FINAL` was raised by connecting. In a setup it is an error like others."""

    def __init__(self, problem: ChanlinkError) -> None:
        super().__init__(problem)
        self.problem = problem


class Keeper:
    """Keeps a link. `run` is its task."""

    def __init__(
        self, link: Link, connect: Callable[[], AbstractAsyncContextManager[Session]], setup: Setup | None
    ) -> None:
        self._link = link
        self._connect = connect
        self._setup = setup
        self._backoff = Backoff()
        self._stopped = False
        self._waits: set[CancelScope] = set()
        """Where its tasks wait; each leaves its session in order when it is stopped there."""

    def stop(self) -> None:
        """Make no more sessions, and leave those that there are."""
        self._stopped = True
        self._link.without("closed")
        for scope in self._waits:
            scope.cancel()

    @contextmanager
    def _until_stopped(self) -> Iterator[None]:
        with CancelScope() as scope:
            self._waits.add(scope)
            if self._stopped:
                scope.cancel()
            try:
                yield
            finally:
                self._waits.discard(scope)

    async def run(self) -> None:
        """Return when it was stopped, and all sessions are over."""
        async with anyio.create_task_group() as lives:
            with self._until_stopped():
                await self._make(lives)

    async def _make(self, lives: TaskGroup) -> None:
        while True:
            self._link.without("connecting")
            try:
                session = await lives.start(self._live)
            except _Refused as exc:
                logger.warning("%r gives up: %s", self._link, exc.problem)
                self._link.without("refused", exc.problem)
                return
            except OF_A_SESSION as exc:
                self._link.without("waiting", exc)
            else:
                await self._use(session)
            await anyio.sleep(self._backoff.pause())

    async def _use(self, session: Session) -> None:
        """Until it takes no more channels."""
        began = anyio.current_time()
        async for state in session.states():
            if state == "open":
                self._link.ready(session)
            elif state == "away":
                self._link.away()
            else:
                break
        self._backoff.lived(anyio.current_time() - began)
        if session.state == "draining":
            self._link.without("draining")
        else:
            self._link.without("waiting", await session.wait_closed())

    async def _live(self, *, task_status: TaskStatus[Session]) -> None:
        """One session; it has started when it is set up."""
        started = False
        try:
            async with self._connected() as session, tasks_beside() as tasks:
                try:
                    if self._setup is not None:
                        await self._set_up(self._setup, session, tasks)
                    task_status.started(session)
                    started = True
                    with self._until_stopped():
                        await session.wait_closed()
                finally:
                    tasks.cancel_scope.cancel()
        except (*OF_A_SESSION, BaseExceptionGroup) as exc:
            problem = _of_a_session(exc)
            if not started:
                raise problem from (exc if exc is not problem else exc.__cause__)
            logger.info("a session of %r was left: %s", self._link, problem)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Session, None]:
        connected = False
        try:
            async with self._connect() as session:
                connected = True
                yield session
        except FINAL as exc:
            if connected:
                raise
            raise _Refused(exc) from exc

    async def _set_up(self, setup: Setup, session: Session, tasks: TaskGroup) -> None:
        """Call it. It may wait for something that a lost session can't tell it of: then it is cancelled."""

        async def watch(scope: CancelScope) -> None:
            await session.wait_closed()
            scope.cancel()

        async with tasks_beside() as watching:
            try:
                with CancelScope() as scope:
                    watching.start_soon(watch, scope)
                    await setup(session, tasks)
            finally:
                watching.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise (await session.wait_closed()).again()


def _of_a_session(exc: BaseException) -> ChanlinkError:
    """The first error of a session in a group that holds nothing else; raises any other exception again."""
    group = exc if isinstance(exc, BaseExceptionGroup) else BaseExceptionGroup("", [exc])
    if group.split(OF_A_SESSION)[1] is not None:
        raise exc
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, OF_A_SESSION)
    return error
