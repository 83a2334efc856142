"""`Pending`: what somebody has still to be told; of each entry only the newest.

So what is kept for a reader who is slow is never more than there are entries, or than it may be.
"""

import math
from collections.abc import Callable, Iterable

import anyio

from .problems import Overtaken
from .store import Gone, News, Stored


class Pending:
    """News that wait for one reader."""

    def __init__(
        self,
        current: Iterable[Stored],
        wanted: Callable[[str], bool] = lambda name: True,
        most: float = math.inf,
    ) -> None:
        """Begin with what there is now: entries, all of them wanted. ``wanted`` says of which names news are kept.

        When more than ``most`` wait, nothing is kept any more.
        """
        self._waiting: dict[object, News] = {(one.name, one.key): one for one in current}
        self._waiting[None] = None
        self._wanted = wanted
        self._most = most
        self.overtaken = False
        """Whether too many have waited."""
        self._news = anyio.Event()

    def tell(self, change: Stored | Gone) -> None:
        """Keep a change, in the place of what was kept of the same entry."""
        if self._wanted(change.name) and not self.overtaken:
            which = change.name, change.key
            self._waiting.pop(which, None)  # its turn is now behind what was told before
            self._waiting[which] = change
            self._news.set()
            if len(self._waiting) > self._most:
                self.overtaken = True
                self._waiting.clear()

    def check(self) -> None:
        """Raise `Overtaken` if too many have waited."""
        if self.overtaken:
            raise Overtaken(f"more than {self._most} changes waited")

    async def next(self) -> News:
        """The oldest that waits. Cancelled: it still does. Raises `Overtaken`."""
        self.check()
        while not self._waiting:
            self._news = anyio.Event()
            await self._news.wait()
            self.check()
        return self._waiting.pop(next(iter(self._waiting)))


class Readers:
    """All that are told what changes in this process."""

    def __init__(self) -> None:
        self._readers: set[Pending] = set()

    def add(self, reader: Pending) -> None:
        """Tell it of changes from now on."""
        self._readers.add(reader)

    def discard(self, reader: Pending) -> None:
        """Tell it no more."""
        self._readers.discard(reader)

    def tell(self, change: Stored | Gone) -> None:
        """Tell a change to all of them."""
        for reader in self._readers:
            reader.tell(change)

    def __len__(self) -> int:
        return len(self._readers)
