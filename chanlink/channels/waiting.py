"""What waits at a core: tasks, cases of a select, relays; and the ends that nobody closes any more.

The rules of waiting:

- A wake-up only says "look". The woken task takes without awaiting; if there is more to take it wakes the next one;
  if it is cancelled it passes its wake-up on. So nothing is lost by cancellation of any sort.
- A task that looked and found nothing keeps its place: those that come later don't overtake it for ever.
- A handle that was closed or sent away is void. Its tasks are woken and see that; those of other handles of the
  same core look, and wait on.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, Protocol

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled, current_token

from chanlink.limits import STEPS
from chanlink.tasks import tasks_beside

from .values import End

YIELD_AFTER = 128
"""After this many steps that did not have to wait, a task lets the others run."""
_order = count(1)
EMPTY: Any = object()
"""What a feed returns while it has nothing."""


class Waiter(Protocol):
    """What waits: a task (`Ticket`), a case of a select, a relay."""

    def set(self) -> None:
        """Look: something may have changed."""

    def takes(self) -> bool:
        """Whether `give` may be called now."""

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        """Have this message of a rendezvous; call `undo` if it can't be had after all."""


class Ticket:
    """A task that waits."""

    __slots__ = ("_event", "_undo", "given", "order")

    def __init__(self, order: int | None = None) -> None:
        self._event = anyio.Event()
        self.order = next(_order) if order is None else order
        """Its place among those that wait; one that was woken and found nothing keeps it."""
        self.given = EMPTY
        self._undo: Callable[[], None] | None = None

    def set(self) -> None:
        self._event.set()

    def takes(self) -> bool:
        return True

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        self.given, self._undo = item, undo
        self._event.set()

    async def wait(self, queue: "Waiters") -> None:
        try:
            await self._event.wait()
        except BaseException:
            if queue.discard(self):
                pass
            elif self._undo is not None:
                self._undo()
            else:
                queue.wake()  # it was woken and can't look any more: the next one shall
            raise


class Waiters(dict[Waiter, int]):
    """All that wait for the same thing, each with its place: the one that came first is at the front.

    A dict, so that it costs next to nothing to ask whether anybody waits: it is asked for each message.
    """

    __slots__ = ()

    def add(self, waiter: Waiter, *, first: bool = False) -> None:
        """At the end, or in front of all; one that is here already stays where it is."""
        if waiter not in self:
            self._place(waiter, next(iter(self.values()), 0) - 1 if first else next(_order))

    def _place(self, waiter: Waiter, order: int) -> None:
        if order > next(reversed(self.values()), 0):  # nearly always
            self[waiter] = order
            return
        behind = {other: place for other, place in self.items() if place > order}
        for other in behind:
            del self[other]
        self[waiter] = order
        self.update(behind)

    def discard(self, waiter: Waiter) -> bool:
        """Forget it; False if it has been woken, or never was here."""
        return self.pop(waiter, EMPTY) is not EMPTY

    def wake(self) -> None:
        """Wake the first one, if any."""
        for waiter in self:
            del self[waiter]
            waiter.set()
            return

    def wake_all(self) -> None:
        if self:
            waiting = list(self)
            self.clear()
            for waiter in waiting:
                waiter.set()

    def taker(self) -> Waiter | None:
        """The first one that can be given a message, taken out of the queue."""
        for waiter in self:
            if waiter.takes():
                del self[waiter]
                return waiter
        return None

    async def wait(self, ticket: Ticket | None = None) -> Any:
        """Wait until woken; returns what was given, or `EMPTY`."""
        if ticket is None:
            ticket = Ticket()
        self._place(ticket, ticket.order)
        await ticket.wait(self)
        return ticket.given


def _nothing() -> bool:
    """What is done before a wait in memory."""
    return False


class Loop:
    """Ends that the garbage collector found before anybody closed them; and the event loop of the tasks that wait.

    `__del__` may run in any thread and in the middle of anything. So it only notes the end here and pokes the event
    loop of the tasks that wait; the rest is done there.
    """

    __slots__ = ("_before_wait", "_ends", "_poke", "check_cancelled")

    def __init__(self, before_wait: Callable[[], bool] = _nothing) -> None:
        """`before_wait` does what else is to be done before somebody waits here; True if there was something."""
        self.check_cancelled: Callable[[], Awaitable[None]] = checkpoint_if_cancelled
        """anyio's function; once somebody has waited, that of its event loop, which is not looked up each time then."""
        self._before_wait = before_wait
        self._ends: list[End] = []
        self._poke: Callable[[Callable[[], object]], object] | None = None

    def note(self, end: End) -> None:
        """For `__del__`, in any thread."""
        self._ends.append(end)
        if self._poke is not None:
            with suppress(RuntimeError):  # that event loop is over, and nobody waits there any more
                self._poke(self.settle)

    def watch(self) -> bool:
        """Somebody is about to look here, and perhaps to wait. True if something was settled just now: look again."""
        if self._poke is None:
            token = current_token()
            native: Any = token.native_token
            self._poke = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
            self.check_cancelled = token.backend_class.checkpoint_if_cancelled
        if not self._ends:
            return False
        self.settle()
        return True

    def about_to_wait(self) -> bool:
        """As `watch`, for a task that has looked and found nothing."""
        return self.watch() or self._before_wait()

    def settle(self) -> bool:
        """For the event loop, or a task that runs in its place. True if there was something."""
        found = bool(self._ends)
        while self._ends:
            self._ends.pop()._forsake("abandoned")
        return found


class Steps:
    """Counts the steps of those that use a core, or select, so that one that never has to wait lets the others run."""

    __slots__ = ("loop", "steps")

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.steps = 0

    def step(self) -> Awaitable[None]:
        """Await it: it notices a cancellation each time, and yields now and then (each time would double the cost)."""
        self.steps += 1
        if self.steps < YIELD_AFTER:
            return self.loop.check_cancelled()
        self.steps = 0
        return checkpoint()

    def worked(self, steps: int) -> None:
        """Something took as long as this many steps: a long message."""
        self.steps += steps

    def wait_in(self, loop: Loop) -> None:
        """Tasks that wait here look after the ends that are abandoned there, from now on."""
        self.loop = loop

    def takes_over(self, other: "Steps") -> None:
        """What took long there counts here."""
        if other.was_long():
            self.steps = YIELD_AFTER

    def was_long(self) -> bool:
        """Whether it is time for others to run; the caller lets them, so that it is none here any more."""
        long = self.steps >= YIELD_AFTER
        if long:
            self.steps = 0
        return long


class Countdown:
    """Seconds that are left; when they have gone by, `scope` is cancelled."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.scope = CancelScope()
        self._timer: Any = None

    def shorten(self, seconds: float) -> None:
        """No more than this are left."""
        self.left = min(self.left, seconds)

    def start(self, loop: Any) -> None:
        """Count by timers of asyncio's event loop, until `stop`: a task costs more than most of what is limited."""
        self._wait(loop, self.left / STEPS)

    def _wait(self, loop: Any, step: float) -> None:
        if self.left > 0:
            seconds = min(step, self.left)
            self._timer = loop.call_later(seconds, self._waited, loop, step, seconds)
        else:
            self.scope.cancel()

    def _waited(self, loop: Any, step: float, seconds: float) -> None:
        self.left -= seconds
        self._wait(loop, step)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def run(self) -> None:
        """Count in a task, until it is cancelled."""
        step = self.left / STEPS
        while self.left > 0:
            await anyio.sleep(min(step, self.left))
            self.left -= step
        self.scope.cancel()


@asynccontextmanager
async def within(seconds: float) -> AsyncGenerator[Countdown, None]:
    """As `anyio.move_on_after`, an async context manager: but what arrives while our event loop stands still is in
    time."""
    countdown, loop = Countdown(seconds), current_token().native_token
    if hasattr(loop, "call_later"):
        with countdown.scope:
            countdown.start(loop)
            try:
                yield countdown
            finally:
                countdown.stop()
        return
    async with tasks_beside() as tasks:
        tasks.start_soon(countdown.run)
        try:
            with countdown.scope:
                yield countdown
        finally:
            tasks.cancel_scope.cancel()
