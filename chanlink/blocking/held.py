"""An async context manager that one task of the event loop enters and leaves, for a ``with`` block of a thread."""

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskStatus

from .portal import Portal

T = TypeVar("T")


class Held(AbstractContextManager[T], Generic[T]):
    """It is entered with this block, and left as this block is: by the same exception. In a forked process: not.

    An exception of a signal handler may come before ``__exit__`` has begun, and a second one while the first is seen
    to. So it is left, too, when nobody holds this any more.
    """

    def __init__(self, portal: Portal, block: AbstractAsyncContextManager[T, bool | None]) -> None:
        self._portal = portal
        self._stay = _Stay(portal, block)

    def __enter__(self) -> T:
        try:
            return self._portal.run(self._stay.begin)
        except BaseException:
            self._portal.run(self._stay.break_off)
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        if self._portal.is_forked:
            return False
        try:
            return self._portal.run(partial(self._stay.end, exc))
        except BaseException:
            self._portal.run(self._stay.break_off)
            raise
        finally:
            if exc is not None:
                exc.__traceback__ = tb  # it went through the event loop, where its cause is not to be found

    def __del__(self) -> None:
        if "_stay" in self.__dict__ and not self._stay.over:
            self._portal.poke(self._stay.stop)  # in whatever thread this is: so nobody waits


class _Stay(Generic[T]):
    """What happens in the event loop: it does not hold the `Held`, so that it is told when nobody else does."""

    def __init__(self, portal: Portal, block: AbstractAsyncContextManager[T, bool | None]) -> None:
        self._portal = portal
        self._block = block
        self._why: BaseException | None = None
        self._error: BaseException | None = None
        self._suppressed = False
        self._scope: anyio.CancelScope | None = None
        self._enough: anyio.Event
        self._left: anyio.Event
        self.over = True
        """Whether there is nothing to leave: it was not entered, or has been left."""

    async def begin(self) -> T:
        self._enough, self._left = anyio.Event(), anyio.Event()
        self._scope, self.over = anyio.CancelScope(), False
        try:
            value: T = await self._portal.tasks.start(self._hold)
        except BaseException:
            self._is_left()  # it may never have begun
            raise
        return value

    async def _hold(self, *, task_status: TaskStatus[T]) -> None:
        entered = False
        assert self._scope is not None
        try:
            with self._scope:
                async with self._block as value:
                    task_status.started(value)
                    entered = True
                    await self._enough.wait()
                    if self._why is not None:
                        raise self._why
                self._suppressed = True
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:
            if not entered:
                raise
            self._error = exc
        finally:
            self._is_left()

    def _is_left(self) -> None:
        self.over = True
        self._left.set()

    async def end(self, why: BaseException | None) -> bool:
        self._why = why
        self._enough.set()
        await self._left.wait()
        if self._error is not None and self._error is not why:
            raise self._error
        return self._suppressed

    def stop(self) -> None:
        """Leave it soon, by a cancellation."""
        if self._scope is not None:
            self._scope.cancel()

    async def break_off(self) -> None:
        """Leave it, by a cancellation."""
        self.stop()
        if self._scope is not None:
            await self._left.wait()
