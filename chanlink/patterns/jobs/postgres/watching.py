"""What the other stores of a queue do, and what time does: one task, and a connection of its own.

**News.** Each change of a running or ended job has the number of its transaction beside it. Numbers are given when a
transaction begins to write, and so what is committed later may have a smaller one; but each snapshot says which were
under way. So a look asks for what its last snapshot has not seen, which is exact. Others notify when there is something
to see; a look now and then is enough when that is lost.

**Who is dead** needs no clocks that agree. Each store counts its beats up in the database. Who has seen no other
number there for a lease, by its own clock, while it was awake itself and looked, buries that store: its row goes, and
what it ran waits again. Whoever was only suspended finds that, and is back with its next beat.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from chanlink import clock
from chanlink.errors import StoreError
from chanlink.patterns.jobs.store import Changes
from chanlink.printing import printable_logger

from . import statements
from .connection import Database
from .others import Others

if TYPE_CHECKING:
    from psycopg import Connection

logger = printable_logger(__name__)

LOOK = 1.0
"""Seconds between two looks that nobody has asked for."""
PAUSE = 0.01
"""Seconds between two looks at least: a busy queue notifies all the time."""
CHECKS = 6
"""How often in a lease the others are looked at."""
FORGET = 500
"""So many ended jobs in a transaction."""
COUNTED = 100_000
"""A server counts a few millions of ended jobs in a second: it does that for some hundredths of the time."""
MOST_FORGOTTEN = 20 * FORGET
"""At once: then it is looked again, first."""
LOST_TRANSACTIONS = 10_000
"""A standby that takes over may not have the newest transactions, and their numbers come again: look so far back."""


class _Seen(NamedTuple):
    """What a look has found."""

    jobs: bool
    due: float
    """In how many seconds the next delayed job is due."""
    ended: list[str]
    running: list[str]


class Watching:
    """Looks, and tells. `run` is its task, `changes` for whoever wants to know."""

    def __init__(
        self, database: Database, me: str, snapshot: str, *, lease: float, keep: float, most_ended: int
    ) -> None:
        """`snapshot`: what comes after it is news, in the words of the server."""
        self._database = database
        self._same: dict[str, object] = {"me": me, "keep": keep, "most_ended": most_ended}
        self._me = me
        self._lease = lease
        self._thread = anyio.CapacityLimiter(1)
        self._connection: Connection | None = None
        """That of the last look."""
        self._since, self._under_way = _read_snapshot(snapshot)
        """The first number that the last snapshot knew nothing of, and those before it that were under way."""
        self._others = Others(lease)
        self._keep = keep
        self._most_ended = most_ended
        self._check_at = 0.0
        self._forget_at = 0.0
        self._jobs = False
        self._ended: dict[str, None] = {}
        self._progressed: dict[str, None] = {}
        self._news = anyio.Event()

    async def changes(self) -> AsyncIterator[Changes]:
        """As `Store.changes`."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            changes = Changes(self._jobs, list(self._ended), list(self._progressed))
            self._jobs, self._ended, self._progressed = False, {}, {}
            yield changes

    async def run(self) -> None:
        """Ends by being cancelled."""
        failing = False
        while True:
            try:
                seen = await anyio.to_thread.run_sync(self._database.use, self._look, limiter=self._thread)
                failing = False
                self._tell(seen)
                await self._wait(seen.due)
            except StoreError as exc:
                await checkpoint_if_cancelled()
                if not failing:
                    logger.warning("what other queues do is not seen: %s", exc)
                failing = True
                await anyio.sleep(LOOK)

    def _tell(self, seen: _Seen) -> None:
        if seen.jobs or seen.ended or seen.running:
            self._jobs = self._jobs or seen.jobs
            self._ended |= dict.fromkeys(seen.ended)
            self._progressed |= dict.fromkeys(seen.running)
            self._news.set()

    async def _wait(self, due: float) -> None:
        """Until it is time to look."""
        await anyio.sleep(PAUSE)
        with anyio.move_on_after(min(due, LOOK) - PAUSE):
            while not any(text != self._me for text in self._database.heard()):
                await self._database.readable()

    # --- in the thread ---

    def _look(self, connection: "Connection") -> _Seen:
        if self._connection is not None and connection is not self._connection:
            self._start_over(connection)
        self._connection = connection
        if clock.now() >= self._check_at:
            self._check(connection)
            self._check_at = clock.now() + self._lease / CHECKS
        if clock.now() >= self._forget_at:
            self._forget(connection)
        with connection.pipeline():
            connection.execute(statements.RELEASE, self._same)
            asked = {"since": str(self._since), "under_way": [str(number) for number in self._under_way]}
            found = connection.cursor(binary=True).execute(statements.LOOK, self._same | asked)
        ((snapshot, jobs, due, ended, running),) = found.fetchall()
        self._since, self._under_way = _read_snapshot(snapshot)
        return _Seen(jobs, LOOK if due is None else due, _texts(ended), _texts(running))

    def _start_over(self, connection: "Connection") -> None:
        """With a new connection: nobody knows what has come by the old one, and to which server this one leads."""
        ((snapshot,),) = connection.execute(statements.SNAPSHOT).fetchall()
        since, _ = _read_snapshot(snapshot)
        self._since = max(0, min([since, self._since, *self._under_way]) - LOST_TRANSACTIONS)
        self._under_way = []

    def _check(self, connection: "Connection") -> None:
        """Of the others, and of the clock."""
        beats: dict[str, int] = dict(connection.execute(statements.BEATS, self._same).fetchall())
        dead = self._others.look(beats, clock.now())
        with connection.transaction():
            for store, beat in dead.items():
                connection.execute(statements.BURY, {"dead": store, "beat": beat})
            for statement in (statements.TAKE_BACK, statements.LEAVE_HOME, statements.NOT_BEFORE_ASKED):
                connection.execute(statement, self._same)

    def _forget(self, connection: "Connection") -> None:
        ((oldest,),) = connection.execute(statements.OLDEST, self._same).fetchall()
        values = self._same | {"oldest": oldest, "most": FORGET}
        for _ in range(MOST_FORGOTTEN // FORGET):
            if connection.execute(statements.FORGET, values).rowcount < FORGET:
                self._forget_at = clock.now() + max(LOOK, min(self._most_ended / COUNTED, self._keep))
                return


def _read_snapshot(text: str) -> tuple[int, list[int]]:
    """The first number that is in no way part of it, and those that were under way. ``xmin:xmax:xip,xip``."""
    _, end, under_way = text.split(":")
    return int(end), [int(number) for number in under_way.split(",") if number]


def _texts(ids: list[bytes]) -> list[str]:
    return [job_id.decode() for job_id in ids]
