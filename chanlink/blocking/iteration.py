"""An async iterator that one task of the event loop goes through, and a thread that asks it for item after item.

One task, since an async generator may hold a task group or a cancel scope open from one item to the next.
"""

from collections.abc import AsyncIterable, Callable
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio

from .ends import received_here
from .jobs import NOTHING
from .portal import Portal

T = TypeVar("T")


class Iteration(Generic[T]):
    """Goes through what an async function yields, an item at a time: the next one is not begun before it is asked for.

    Made by `Loop.iterate`. Left early (by ``close``, as a ``with`` block, or when nobody holds it any more), the async
    generator is closed. So it is when an exception of a signal handler comes while the next item is waited for. Threads
    may share it: each item goes to one of them, and all see the end; `RuntimeError` when another one has left it.
    """

    def __init__(self, portal: Portal, function: Callable[[], AsyncIterable[T]]) -> None:
        self._portal = portal
        self._walk = _Walk(portal, function)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """The next item. Raises what the generator raises."""
        try:
            item: T = self._portal.run(self._walk.next)
        except BaseException:
            self.close()
            raise
        if item is NOTHING:
            raise StopIteration
        return item

    def close(self) -> None:
        """Leave the generator, and wait until it is closed. Twice is harmless."""
        self._portal.run(self._walk.break_off)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._portal.is_forked:
            self.close()

    def __del__(self) -> None:
        if "_walk" in self.__dict__:
            self._portal.poke(self._walk.stop)  # in whatever thread this is: so nobody waits


class _Walk:
    """What happens in the event loop: it does not hold the `Iteration`, so that it sees when nobody else does."""

    def __init__(self, portal: Portal, function: Callable[[], AsyncIterable[Any]]) -> None:
        self._portal = portal
        self._function = function
        self._scope: anyio.CancelScope | None = None
        self._item: Any = NOTHING
        self._error: BaseException | None = None
        self._broken_off = False
        self._asked: anyio.Event
        self._answered: anyio.Event
        self._over: anyio.Event
        self._turn = anyio.Lock(fast_acquire=True)

    async def next(self) -> Any:
        """The next item, or `NOTHING` at the end."""
        if self._scope is None and not self._broken_off:
            self._begin()
        async with self._turn:  # of another thread, perhaps: each of them gets an item of its own
            if not self._broken_off:
                self._asked.set()
                await self._answered.wait()
            if self._broken_off:  # which is no end
                raise RuntimeError("this iteration was left")
            if not self._over.is_set():
                self._answered = anyio.Event()
            if self._error is not None:
                raise self._error
            item, self._item = self._item, NOTHING
            return item

    def _begin(self) -> None:
        self._scope = anyio.CancelScope()
        self._asked, self._answered, self._over = anyio.Event(), anyio.Event(), anyio.Event()
        self._portal.tasks.start_soon(self._run, self._scope)

    async def _run(self, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._go_through()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # whatever it is, it is for the thread that asks
            self._error = exc
        finally:
            self._over.set()
            self._answered.set()

    async def _go_through(self) -> None:
        async with AsyncExitStack() as stack:
            items: Any = self._function()
            if hasattr(items, "aclose"):
                await stack.enter_async_context(aclosing(items))
            iterator = aiter(items)
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                try:
                    self._item = received_here(await anext(iterator), self._portal)
                except StopAsyncIteration:
                    return
                self._answered.set()

    def stop(self) -> None:
        """Close the generator soon."""
        self._broken_off = True
        if self._scope is not None:
            self._scope.cancel()

    async def break_off(self) -> None:
        """Close the generator."""
        self.stop()
        if self._scope is not None:
            await self._over.wait()
