"""asyncio's event loop calls a reader by itself, each time that there is something to read."""

import select
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, NoReturn

import anyio

try:
    from sniffio import current_async_library_cvar
except ImportError:  # then anyio does without, too
    current_async_library_cvar = None  # type: ignore[assignment]


class Watch:
    """asyncio's event loop calls `look` when a descriptor is readable, as long as a task waits for the end of that."""

    def __init__(self, loop: Any, descriptor: int, look: Callable[[], None]) -> None:
        self._loop, self._descriptor, self._look = loop, descriptor, look
        self._over = anyio.Event()
        self._problem: Exception = anyio.ClosedResourceError()
        context = copy_context()
        if current_async_library_cvar is not None:  # sniffio knows asyncio by its tasks, and this is called outside
            context.run(current_async_library_cvar.set, "asyncio")
        self._ended = _ended(descriptor) if type(loop).__module__.partition(".")[0] == "uvloop" else lambda: False
        context.run(loop.add_reader, descriptor, self._call)

    def _call(self) -> None:
        try:
            self._look()
            while not self._over.is_set() and self._ended():
                self._look()  # uvloop does not call again, though there may be something to read yet
        except Exception as exc:
            self.end(exc)
        except BaseException:  # Ctrl-C: it leaves the event loop, which may go on, but what was read is lost
            self.end(anyio.BrokenResourceError())
            raise

    def end(self, problem: Exception) -> None:
        if not self._over.is_set():
            self._loop.remove_reader(self._descriptor)
            self._problem = problem
            self._over.set()

    async def until_over(self) -> NoReturn:
        try:
            await self._over.wait()
        finally:
            self.end(self._problem)
        raise self._problem


def _ended(descriptor: int) -> Callable[[], bool]:
    """Whether a connection was reset, or has ended both ways: there is no more to read than what has come.

    SO_ERROR would also tell of a network that is not there just now: what has come is all there is to read for a long
    time then, and no end.
    """
    waiting = select.poll()
    waiting.register(descriptor, 0)
    return lambda: bool(waiting.poll(0))
