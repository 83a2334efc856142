"""Those who wait at a core: tasks, cases of a select, relays; and the ends that nobody closes any more.

The rules of waiting (DESIGN 3.3):

- A wake-up only says "look". The woken task takes without awaiting; if there is more to take it wakes the next one;
  if it is cancelled it passes its wake-up on. So nothing is lost by cancellation of any sort.
- Who looked and found nothing waits on where it was: those who came later don't overtake it for ever.
- A handle that was closed or sent away is void. Its tasks are woken and see that; those of other handles of the
  same core look, and wait on.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import anyio
from anyio.lowlevel import current_token

from . import codec

EMPTY: Any = object()
"""What a feed returns while it has nothing."""


class Waiter(Protocol):
    """Who waits: a task (`Ticket`), a case of a select, a relay."""

    def set(self) -> None:
        """Look: something may have changed."""

    def takes(self) -> bool:
        """Whether `give` may be called now."""

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        """Have this message of a rendezvous; call `undo` if it can't be had after all."""


class Ticket:
    """A task that waits."""

    __slots__ = ("_event", "_undo", "given", "since")

    def __init__(self, since: int | None = None) -> None:
        self.since = since
        """Its place in the order of those who came, from an earlier ticket of this task."""
        self._event = anyio.Event()
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
    """Who waits for the same thing, the one that came first at the front; by the order in which they came.

    A dict, so that to ask whether anybody waits costs next to nothing: it is asked for each message.
    """

    __slots__ = ("_came",)

    def __init__(self) -> None:
        super().__init__()
        self._came = 0

    def add(self, waiter: Waiter, *, first: bool = False, since: int | None = None) -> int:
        """Let it wait behind all others, or in front of them, or where it was before; returns its place."""
        if since is None and not first:
            self._came += 1
            self[waiter] = self._came
            return self._came
        place = since or 0
        behind = [other for other, came in self.items() if came > place]
        self[waiter] = place
        for other in behind:
            self[other] = self.pop(other)
        return place

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
        ticket.since = self.add(ticket, since=ticket.since)
        await ticket.wait(self)
        return ticket.given


def _nothing() -> bool:
    """The place of a callback that nobody has set."""
    return False


class Forgotten:
    """Ends that the garbage collector found before anybody closed them.

    `__del__` may run in any thread and in the middle of anything. So it only notes the end here and pokes the event
    loop of those who wait; the rest is done there.
    """

    __slots__ = ("_ends", "_poke", "before_wait")

    def __init__(self) -> None:
        self.before_wait: Callable[[], bool] = _nothing
        """What else is to be done before somebody waits here.  True if something was: look again."""
        self._ends: list[codec.End] = []
        self._poke: Callable[[Callable[[], object]], object] | None = None

    def note(self, end: codec.End) -> None:
        """For `__del__`, in any thread."""
        self._ends.append(end)
        if self._poke is not None:
            with suppress(RuntimeError):  # that event loop is over, and nobody waits there any more
                self._poke(self.settle)

    def watch(self) -> bool:
        """Somebody is about to look here, and perhaps to wait.  True if something was settled just now: look again."""
        if self._poke is None:
            token: Any = current_token().native_token
            self._poke = getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon
        if not self._ends:
            return False
        self.settle()
        return True

    def about_to_wait(self) -> bool:
        """As `watch`, for who has looked and found nothing."""
        return self.watch() or self.before_wait()

    def settle(self) -> bool:
        """For the event loop, or who runs in its place.  True if there was something."""
        found = bool(self._ends)
        while self._ends:
            self._ends.pop().forsake("abandoned")
        return found
