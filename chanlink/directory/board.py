"""`Board`: the entries of a store in memory, in the order of their names, and all who follow them.

A store tells one reader, this one; and this tells all others, since what many want to know must not be asked for as
many times. Who begins to follow is led through the names in their order, and is told of changes behind it only: what
comes later on the way is seen then. So somebody who is slow costs what has changed meanwhile, and too much of that is
the end of it: whoever begins again gets what there is.

Whether an entry still lives is looked at here, by our own clock, as stores need not say when one ends.
"""

from bisect import bisect_right, insort
from collections.abc import AsyncGenerator
from heapq import heapify, heappop, heappush

import anyio

from chanlink import StoreError, clock
from chanlink.printing import printable_logger

from .news import Pending, Readers
from .store import Gone, News, Store, Stored

logger = printable_logger(__name__)

MOST_PENDING = 10_000
"""Changes that wait for one follower."""
AGAIN = 1.0
"""Seconds after which a store that has failed is read again."""
LONGEST_SLEEP = 30.0
"""Seconds after which the clock is looked at again: it goes on while the machine sleeps."""


class Board:
    """What there is, and who follows it. `run` keeps it; of one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, dict[bytes, tuple[float, Stored]]] = {}
        """By name and key: until when, and what."""
        self._names: list[str] = []
        """In their order."""
        self._ends: list[tuple[float, str, bytes]] = []
        """A heap: when, and which. Some live longer by now, or are gone."""
        self._count = 0
        self._readers = Readers()
        self._complete = anyio.Event()
        """Set when all that the store had has been read."""
        self._sooner = anyio.Event()
        """Something ends before what was to end first."""

    def __len__(self) -> int:
        return self._count

    async def run(self) -> None:
        """Read the store, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._expire)
            while True:
                try:
                    await self._read()
                except StoreError as exc:
                    logger.warning("the directory can't read what changes: %s", str(exc))
                await anyio.sleep(AGAIN)

    async def _read(self) -> None:
        """Read the store from the beginning. What it does not tell before its marker is gone by now."""
        unseen = {(name, key) for name, entries in self._entries.items() for key in entries}
        async for change in self._store.changes():
            if change is None:
                for name, key in unseen:
                    self._forget(Gone(name, key))
                unseen.clear()
                self._complete.set()
            elif isinstance(change, Gone):
                self._forget(change)
            else:
                unseen.discard((change.name, change.key))
                self._keep(change)

    # --- what there is ---

    def _keep(self, one: Stored) -> None:
        until = clock.now() + one.left
        if one.name not in self._entries:
            insort(self._names, one.name)
        entries = self._entries.setdefault(one.name, {})
        self._count += one.key not in entries
        entries[one.key] = until, one
        if not self._ends or until < self._ends[0][0]:
            self._sooner.set()
        heappush(self._ends, (until, one.name, one.key))
        self._sweep()
        self._readers.tell(one)

    def _sweep(self) -> None:
        """Forget ends that are none any more when they are most: an entry that is renewed leaves one behind."""
        if len(self._ends) > 100 + 2 * self._count:
            self._ends = [
                (until, name, key) for name, entries in self._entries.items() for key, (until, _) in entries.items()
            ]
            heapify(self._ends)

    def _forget(self, gone: Gone) -> None:
        entries = self._entries.get(gone.name, {})
        if entries.pop(gone.key, None) is None:
            return
        self._count -= 1
        if not entries:
            del self._entries[gone.name]
            del self._names[bisect_right(self._names, gone.name) - 1]
        self._readers.tell(gone)

    async def _expire(self) -> None:
        while True:
            self._sooner = anyio.Event()
            now = clock.now()
            while self._ends and self._ends[0][0] <= now:
                _, name, key = heappop(self._ends)
                until, _ = self._entries.get(name, {}).get(key, (now + 1, None))
                if until <= now:
                    self._forget(Gone(name, key))
            wait = min(self._ends[0][0] - now, LONGEST_SLEEP) if self._ends else LONGEST_SLEEP
            with anyio.move_on_after(wait):
                await self._sooner.wait()

    # --- who follows ---

    async def follow(self, prefix: str) -> AsyncGenerator[News, None]:
        """The entries whose names begin so, in the order of their names; None; and then what changes, without end.

        Raises `Overtaken` when too much has changed while it was not asked for more.
        """
        await self._complete.wait()
        way = _Way(prefix)
        self._readers.add(way.pending)
        try:
            while (name := self._next_name(way)) is not None:
                way.goes_to(name)
                for one in self._current(name):
                    yield one
            way.arrives()
            while True:
                yield self._as_of_now(await way.pending.next())
        finally:
            self._readers.discard(way.pending)

    def _next_name(self, way: "_Way") -> str | None:
        """The first one behind where it is, on its way."""
        way.pending.check()
        at = bisect_right(self._names, way.position) if way.position else self._first(way.prefix)
        if at < len(self._names) and self._names[at].startswith(way.prefix):
            return self._names[at]
        return None

    def _first(self, prefix: str) -> int:
        at = bisect_right(self._names, prefix)
        return at - 1 if at and self._names[at - 1] == prefix else at

    def _current(self, name: str) -> list[Stored]:
        now = clock.now()
        return [one._replace(left=until - now) for until, one in self._entries[name].values() if until > now]

    def _as_of_now(self, change: News) -> News:
        """What waited has less time left than it had."""
        if not isinstance(change, Stored):
            return change
        until, one = self._entries.get(change.name, {}).get(change.key, (0.0, change))
        left = until - clock.now()
        return one._replace(left=left) if left > 0 else Gone(change.name, change.key)


class _Way:
    """Where somebody is on the way through the names."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.position = ""
        """The name that was told last; none is empty."""
        self._arrived = False
        self.pending = Pending((), self._wants, MOST_PENDING)

    def _wants(self, name: str) -> bool:
        return name.startswith(self.prefix) and (self._arrived or name <= self.position)

    def goes_to(self, name: str) -> None:
        self.position = name

    def arrives(self) -> None:
        self._arrived = True
