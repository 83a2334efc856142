"""Byte streams and listeners that the program has made: any of anyio's, such as those of TLS.

What is one of sockets, and nothing else, is used as the sockets that it is made of, by ourselves. Any other listener
accepts by itself, and may have something to do before its byte stream is there: a handshake of TLS is as slow as the
stranger at its other end. So it gets a task group of ours, which lets the acceptor know of a connection before that
begins.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import anyio
from anyio import CancelScope
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketListener, TaskGroup, UNIXSocketStream
from anyio.streams.stapled import MultiListener

from .accepting import OF_ONE_CONNECTION, Acceptor, Listening
from .base import Transport, as_transport, remote_of
from .listen import ListeningSockets
from .sockets import SocketTransport

FAREWELL = 1.0
"""Seconds that such a listener may take to close."""


def given_stream(stream: ByteStream) -> Transport:
    """A transport over this byte stream, which it owns."""
    if isinstance(stream, UNIXSocketStream):  # which has read nothing ahead, unlike that of TCP on asyncio
        return SocketTransport(stream.extra(SocketAttribute.raw_socket))
    return as_transport(stream)


def given_listener(listener: Listener[Any]) -> Listening:
    """What listens by way of this listener, which it owns."""
    parts = listener.listeners if isinstance(listener, MultiListener) else [listener]
    if parts and all(isinstance(part, SocketListener) for part in parts):
        return ListeningSockets([part.extra(SocketAttribute.raw_socket) for part in parts])
    return GivenListener(listener)


class GivenListener:
    """Listens by way of any listener of byte streams."""

    def __init__(self, listener: Listener[Any]) -> None:
        self.addresses: list[str] = []
        """Only who has made it knows how it is reached."""
        self._listener = listener
        self._accepting = CancelScope()

    def start(self, tasks: TaskGroup, acceptor: Acceptor) -> None:
        """As `Listening`. Whatever the listener raises that is no trouble of the system ends this group."""
        tasks.start_soon(self._accept, _Entrance(tasks, acceptor), acceptor)

    def give_waiting(self) -> None:
        """As `Listening`: there is no way to know of any."""

    def close(self) -> None:
        """Listen no more; the listener is closed by the task that was started."""
        self._accepting.cancel()

    async def _accept(self, entrance: "_Entrance", acceptor: Acceptor) -> None:
        try:
            with self._accepting:
                while await self._serve(entrance, acceptor):
                    pass
        finally:
            # Not forcefully: cancelled, anyio's listener of several ones leaves all but the first open.
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._listener.aclose()

    async def _serve(self, entrance: "_Entrance", acceptor: Acceptor) -> bool:
        """Accept until something is in the way. Returns whether to go on."""
        try:
            await self._listener.serve(acceptor.prepared, cast(TaskGroup, entrance))
        except Exception as exc:
            if all(isinstance(one, anyio.ClosedResourceError) for one in _each(exc)):
                return False  # the program has closed it
            problems = [problem for one in _each(exc) if (problem := _of_the_system(one)) is not None]
            if len(problems) < len(_each(exc)):
                raise
            for problem in problems:
                await anyio.sleep(0 if problem.errno in OF_ONE_CONNECTION else acceptor.no_room(problem))
            return True
        return False


def _each(exc: Exception) -> list[Exception]:
    """The errors in a group, as a listener of several listeners raises one; or the one that there is."""
    return [one for part in exc.exceptions for one in _each(part)] if isinstance(exc, ExceptionGroup) else [exc]


def _of_the_system(exc: Exception) -> OSError | None:
    """What the system has said of accepting, if this is it: on trio, anyio's listeners call it broken."""
    problem = exc.__cause__ if isinstance(exc, anyio.BrokenResourceError) else exc
    return problem if isinstance(problem, OSError) else None


class _Entrance:
    """What such a listener gets for a task group: it starts a task for each connection, and that is made known first.

    Not made of anyio's abstract class, in which other methods are abstract from one version to the next.
    """

    def __init__(self, tasks: TaskGroup, acceptor: Acceptor) -> None:
        self._tasks = tasks
        self._acceptor = acceptor

    def start_soon(self, func: Callable[..., Awaitable[object]], *args: object, name: object = None) -> None:
        """As that of a task group."""
        streams = [arg for arg in args if isinstance(arg, ByteStream)]
        self._acceptor.preparing(partial(func, *args), remote_of(streams[0]) if streams else None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tasks, name)
