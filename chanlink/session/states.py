"""The states of a session, one after the other, for whoever wants to follow them, or to stop at one of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Literal, TypeVar

from anyio import CancelScope
from anyio.lowlevel import checkpoint

from chanlink.channels.waiting import Waiters

State = Literal["open", "away", "draining", "closed"]
"""Of a session. Draining: one of the two takes no more top-level channels from the other; all else goes on."""


S = TypeVar("S", bound=str)


class States(AsyncIterator[S], Generic[S]):
    """Gives the state that there is, and then each other one, until ``closed``, which is the last.

    One that was over before it was asked for is left out.
    """

    def __init__(self, state: Callable[[], S], changes: Waiters) -> None:
        self._state = state
        self._changes = changes
        self._given: S | None = None

    async def __anext__(self) -> S:
        await checkpoint()
        if self._given == "closed":
            raise StopAsyncIteration
        while (state := self._state()) == self._given:
            await self._changes.wait()
        self._given = state
        return state


class Followers:
    """Those who follow the state of one session, and those who stop when it takes no more."""

    def __init__(self, state: Callable[[], State], takes_no_more: Callable[[], bool]) -> None:
        self._state = state
        self._takes_no_more = takes_no_more
        self._following = Waiters()
        self._until_draining: set[CancelScope] = set()

    def states(self) -> States[State]:
        """As `Session.states`."""
        return States(self._state, self._following)

    @contextmanager
    def cancel_when_draining(self) -> Iterator[CancelScope]:
        """As `Session.cancel_when_draining`."""
        with CancelScope() as scope:
            self._until_draining.add(scope)
            self._stop_unwanted()
            try:
                yield scope
            finally:
                self._until_draining.discard(scope)

    def changed(self) -> None:
        """There is another state, or may be."""
        self._following.wake_all()
        self._stop_unwanted()

    def _stop_unwanted(self) -> None:
        if self._takes_no_more():
            for scope in self._until_draining:
                scope.cancel()
