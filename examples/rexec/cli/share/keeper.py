"""The keeper of shared sessions; see `messages`.

It lives as long as it has a session or a call. A session is kept while calls use it, and for the time that the last of
them said.
"""

import fcntl
import math
import os
import signal
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio import TASK_STATUS_IGNORED, CancelScope
from anyio.abc import TaskStatus, UNIXSocketStream

import chanlink

from ...attempts import Attempt
from ...room import make_room
from ..arguments import Options
from ..connecting import Destination, Disconnected, connected_to
from ..loop import run_loop
from ..signals import heeding
from .call import answer_call

FIRST_CALL = 10.0
"""Seconds in which the client that has started the keeper has to call it."""


def keep(listening: socket.socket, path: str) -> None:
    """Serve whatever connects to this socket, which is at ``path``; returns when there is nothing to keep."""
    make_room()  # each call has seven
    run_loop(Keeper(listening, path).run)


class _Kept:
    """A session, and how many calls use it."""

    def __init__(self, where: Destination, session: chanlink.Session) -> None:
        self.where = where
        self.session = session
        self.users = 0
        self.idle_for = 0.0
        self.life = CancelScope()

    @asynccontextmanager
    async def used(self, idle_for: float) -> AsyncGenerator[chanlink.Session, None]:
        self.idle_for = idle_for
        self.users += 1
        self.life.deadline = math.inf
        try:
            yield self.session
        finally:
            self.users -= 1
            if not self.users:
                self.life.deadline = anyio.current_time() + self.idle_for


class Keeper:
    """Serves calls until nothing is left to keep."""

    def __init__(self, listening: socket.socket, path: str) -> None:
        self._listening = listening
        self._path = path
        self._kept: dict[Destination, _Kept] = {}
        self._opening: defaultdict[Destination, anyio.Lock] = defaultdict(anyio.Lock)
        self._calls = 0
        self._left = False

    async def run(self) -> None:
        self._listening.setblocking(False)
        with heeding(signal.SIGTERM, signal.SIGINT) as signals:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._accept)
                self._tasks.start_soon(self._expect_first_call)
                await anext(signals)
                self.stop()

    def stop(self) -> None:
        """End at once; commands that still run are stopped."""
        self._leave()
        self._tasks.cancel_scope.cancel()

    async def _accept(self) -> None:
        while True:
            await anyio.wait_readable(self._listening)
            self._accept_waiting()

    def _accept_waiting(self) -> None:
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._listening.accept()
                self._calls += 1
                self._tasks.start_soon(self._answer, connection)

    async def _answer(self, connection: socket.socket) -> None:
        try:
            async with await UNIXSocketStream.from_socket(connection) as stream:
                await answer_call(stream, self)
        finally:
            self._calls -= 1
            self._end_if_idle()

    # --- sessions ---

    @asynccontextmanager
    async def session(self, where: Destination, options: Options) -> AsyncGenerator[chanlink.Session, None]:
        """A session with a server: the one that is kept, or a new one, which is kept from now on."""
        async with self._opening[where]:
            kept = self._kept.get(where)
            if kept is None or kept.life.cancel_called:
                opening = Attempt(self._tasks.start, self._keep, where, options)
                await opening()
                kept = opening.result()
        async with kept.used(options.share_for) as session:
            yield session

    async def _keep(
        self, where: Destination, options: Options, *, task_status: TaskStatus[_Kept] = TASK_STATUS_IGNORED
    ) -> None:
        kept = None
        try:
            async with connected_to(where, options) as session:
                kept = self._kept[where] = _Kept(where, session)
                task_status.started(kept)
                with kept.life:
                    await session.wait_closed()
        except Disconnected:
            if kept is None:
                raise
        finally:
            if kept is not None and self._kept.get(where) is kept:
                del self._kept[where]
            self._end_if_idle()

    def describe(self) -> list[str]:
        """A line for each session."""
        lines = []
        for kept in self._kept.values():
            left = kept.life.deadline - anyio.current_time()
            state = f"{kept.users} running" if kept.users else f"idle, closed in {max(left, 0):.0f} s"
            lines.append(f"{kept.where.name}\t{kept.where.address}\t{state}\tprocess {os.getpid()}")
        return lines

    # --- the end ---

    async def _expect_first_call(self) -> None:
        await anyio.sleep(FIRST_CALL)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._calls and not self._kept:
            self._leave()
            self._accept_waiting()  # calls that had found us before
            if not self._calls:
                self._tasks.cancel_scope.cancel()

    def _leave(self) -> None:
        """From now on nobody finds us. A client that starts a keeper holds the lock."""
        if not self._left:
            self._left = True
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with suppress(FileNotFoundError):
                    os.unlink(self._path)
            finally:
                os.close(lock)
