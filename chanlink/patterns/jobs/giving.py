"""Who gets the next job: those who have asked, in turn."""

from collections.abc import Callable
from functools import partial

import anyio
from anyio import CancelScope

from .followers import Followers
from .keeping import Insistence, Room
from .line import Line
from .outcomes import Outcomes
from .store import Begun, Store

AT_A_TIME = 100
"""Jobs that are taken out of the store at a time, at most: their payloads may be long."""


class Giving:
    """One task takes jobs out of the store, as many as were asked for, and gives one to each line in turn."""

    def __init__(
        self,
        store: Store,
        insistence: Insistence,
        room: Room,
        outcomes: Outcomes,
        followers: Followers,
        *,
        attempts: int,
        give_attached: Callable[[Line, Begun], None],
    ) -> None:
        """`attempts` is the number of the last attempt that a job may have."""
        self._store = store
        self._insistence = insistence
        self._room = room
        self._outcomes = outcomes
        self._followers = followers
        self._attempts = attempts
        self._give_attached = give_attached
        self._asking: dict[Line, None] = {}
        """Those that may have asked for some; whose turn is next comes first."""
        self._may_wait = True
        """Whether there may be jobs in the store that wait."""
        self._news = anyio.Event()
        self._scope = CancelScope()
        self._over = anyio.Event()

    def wants(self, line: Line) -> None:
        """It may have asked for jobs."""
        self._asking[line] = None
        self._news.set()

    def forget(self, line: Line) -> None:
        """It is gone."""
        self._asking.pop(line, None)

    def maybe_jobs(self) -> None:
        """Jobs may wait in the store."""
        self._may_wait = True
        self._news.set()

    async def run(self) -> None:
        """Until `stop`."""
        try:
            with self._scope:
                while True:
                    await self._give_some()
        finally:
            self._over.set()

    async def stop(self) -> None:
        """Give nothing more. What is begun meanwhile is lost, as if its worker was."""
        self._scope.cancel()
        await self._over.wait()

    async def _give_some(self) -> None:
        wanted = self._wanted()
        if wanted and self._may_wait:
            await self._begin(wanted)
        else:
            self._news = anyio.Event()
            await self._news.wait()

    def _wanted(self) -> int:
        wanted = 0
        for line in self._asking:
            wanted += line.asked
            if wanted >= AT_A_TIME:  # there may be thousands that have nothing to do
                return AT_A_TIME
        return wanted

    async def _begin(self, wanted: int) -> None:
        self._may_wait = False
        begun = await self._insistence.insist(partial(self._store.begin, wanted))
        self._room.more(-len(begun))
        if len(begun) == wanted:
            self._may_wait = True
        for one in begun:
            self._give(one)

    def _give(self, begun: Begun) -> None:
        if begun.tries > self._attempts:
            self._outcomes.used_up(begun)
            return
        line = self._next_line()
        if line is None:
            self._outcomes.lost(begun, "its worker was lost")
            return
        line.reserve()
        for follower in self._followers.of(begun.id):
            follower.begins(begun.attempt)
        if begun.attached:
            self._give_attached(line, begun)
        elif not line.give(begun):
            self._outcomes.lost(begun, "its worker was lost")

    def _next_line(self) -> Line | None:
        """Whose turn it is. Those that have asked for more come last then."""
        while self._asking:
            line = next(iter(self._asking))
            del self._asking[line]
            if line.asked > 1:
                self._asking[line] = None
            if line.asked:
                return line
        return None
