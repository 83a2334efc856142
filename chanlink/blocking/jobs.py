"""A job: an async function that the event loop runs, and the thread that waits for what it returns.

The thread may be thrown out of its wait by an exception at any moment, also when the function has just returned. So
nobody hands a value over: it stays in the job until the thread says that it has it (`collected`) or has left without
(`left`). Both are mere assignments, since Python runs the handlers of signals after calls: an assignment can't be kept
from happening by one. What the thread calls besides (`give_up`, in the event loop) may be; then it is made up for
before the event loop begins anything that a thread asks for later.
"""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from anyio import CancelScope, get_cancelled_exc_class
from anyio.abc import TaskGroup

T = TypeVar("T")
NOTHING: Any = object()


def ignore(value: object) -> None:
    """For values that may be forgotten."""


def block_was_left() -> RuntimeError:
    return RuntimeError("the block that this belongs to was left, and its event loop has ended")


class Job(Generic[T]):
    """Made by the thread that waits; all but that happens in the event loop."""

    def __init__(
        self,
        function: Callable[[], Awaitable[T]],
        unwanted: Callable[[T], object] = ignore,
    ) -> None:
        """`unwanted` gets a value that nobody waits for any more, in the event loop."""
        self.value: T = NOTHING
        self.error: BaseException | None = None
        self.finished = threading.Lock()
        """Held until there is a value or an error. A lock, since to wait for one costs little, and signals end it."""
        self.settled = threading.Lock()
        """Held until it is over after it was given up."""
        self.collected = False
        """The thread has the value, or the error."""
        self.left = False
        """The thread does not wait any more."""
        self._function = function
        self._unwanted = unwanted
        self._scope: CancelScope | None = None
        self._begun = self._over = self._given_up = False
        self.finished.acquire()
        self.settled.acquire()

    def start(self, tasks: TaskGroup) -> None:
        if not self._given_up:
            self._begun = True
            tasks.start_soon(self._run)

    async def _run(self) -> None:
        try:
            if not self._given_up:
                with CancelScope() as self._scope:
                    self.value = await self._function()
        except get_cancelled_exc_class():
            self.error = block_was_left()
            raise
        except BaseException as exc:  # whatever it is, it is for the thread that waits
            self.error = exc
        finally:
            self._end()

    def look(self) -> bool:
        """Whether it is of use any more; one that was left is given up."""
        if self.left:
            self.give_up()
        return not (self.collected or (self._over and self._given_up))

    def give_up(self) -> None:
        """Nobody waits any more: cancel it, and see to what it returns nevertheless. Twice is harmless."""
        if not self._given_up:
            self._given_up = True
            if self._over:
                self._settle()
            elif not self._begun:
                self._end()
            elif self._scope is not None:
                self._scope.cancel()

    def refuse(self) -> None:
        """The event loop has ended without it."""
        if not self._over:
            self.error = block_was_left()
            self._end()

    def _end(self) -> None:
        self._over = True
        self.finished.release()
        if self._given_up:
            self._settle()

    def _settle(self) -> None:
        value, self.value = self.value, NOTHING
        if value is not NOTHING:
            self._unwanted(value)
        self.settled.release()
