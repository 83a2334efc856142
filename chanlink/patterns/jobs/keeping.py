"""How a queue uses its store: it insists on what nobody else would do again, and knows how much room there is."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from chanlink import clock
from chanlink.errors import StoreError
from chanlink.printing import printable_logger

from .store import Store

logger = printable_logger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0
"""Seconds before a store is asked again."""
LOOK_AGAIN = 1.0
"""Seconds for which the counts of a full store are believed."""

T = TypeVar("T")


class Insistence:
    """Asks a store until it answers. Of each streak of failures the log has the first one, and the end."""

    def __init__(self) -> None:
        self._failing = False

    async def insist(self, verb: Callable[[], Awaitable[T]]) -> T:
        """What it returns, in the end."""
        wait = FIRST_WAIT
        while True:
            try:
                found = await verb()
            except StoreError as exc:
                self.failed(exc)
            else:
                self._worked()
                return found
            await anyio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def failed(self, error: StoreError) -> None:
        """The store could not do it."""
        if not self._failing:
            self._failing = True
            logger.error("the store of a work queue fails, and will be asked again and again: %s", str(error))

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            logger.warning("the store of a work queue works again")


class Room:
    """How many jobs may be added: no more than `most` shall wait, those included that are delayed.

    What is known is how many there were when the store was asked last, and what this queue has done since. If that is
    too many it is asked again.
    """

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most
        self._waiting = most  # asks first
        self._asked = 0.0
        self._fewer = True
        self._turn = anyio.Lock(fast_acquire=True)

    async def left(self, wanted: int) -> int:
        """How many more may be added, of those that are wanted. Raises `StoreError`."""
        if self._waiting + wanted > self._most:
            async with self._turn:  # who comes meanwhile wants to know it, too
                await self._look(wanted)
        return max(self._most - self._waiting, 0)

    async def _look(self, wanted: int) -> None:
        """Ask the store, if its answer may be another one than the last time."""
        if self._waiting + wanted > self._most and (self._fewer or clock.now() - self._asked > LOOK_AGAIN):
            counts = await self._store.counts()
            self._fewer, self._asked = False, clock.now()
            self._waiting = counts["waiting"] + counts["delayed"]

    def more(self, jobs: int) -> None:
        """So many wait that did not before; or fewer, if it is less than 0."""
        self._waiting = max(self._waiting + jobs, 0)

    def unsure(self) -> None:
        """Others may have added some."""
        self._waiting, self._fewer = self._most, True

    def maybe_fewer(self) -> None:
        """Some may have ended that waited."""
        self._fewer = True
