"""`PostgresStore`, as its queue sees it.

Two connections, each used by one thread at a time: verbs go in groups over one (grouped.py, moves.py), and a task looks
by the other one at what has happened elsewhere (watching.py).
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.to_thread
from anyio import AsyncContextManagerMixin, CancelScope

from chanlink.arguments import expect
from chanlink.errors import StoreError
from chanlink.patterns.jobs.grouped import Grouped
from chanlink.patterns.jobs.store import STATES, Begun, Changes, End, Known, NewJob, State
from chanlink.printing import printable_logger
from chanlink.tasks import tasks_beside

from . import statements
from .connection import Database
from .moves import Ask, Begin, Move, Moves, Step, row_of
from .rows import Rows
from .schema import prepare, schema_of
from .watching import Watching

if TYPE_CHECKING:
    from psycopg import Connection

T = TypeVar("T")

logger = printable_logger(__name__)

GRACE = 2.0
"""Seconds to say goodbye in."""
WEEK = 7 * 24 * 3600.0
FOREVER = 1e9
"""Seconds: as much as the database can count."""


class PostgresStore(AsyncContextManagerMixin):
    """Keeps the jobs of a queue in a PostgreSQL database (13 or newer). Needs ``chanlink[postgres]``.

    `conninfo` is what psycopg takes: ``postgresql://user@host/name``, or ``host=... dbname=...``. A database may have
    several queues, each with its name: `queue`, of a-z, 0-9, - and _. All that one has is in a schema of its own,
    ``chanlink_queue_`` and the name, which is created if it is missing.

    Any number of processes may have the same queue, each with a store of its own. What one of them runs comes back to
    the others `lease` seconds after its last sign of life, and clocks need not agree for that. A database that does not
    answer within a lease counts as one that failed.

    An ended job is known for `keep` seconds; the oldest are forgotten before that when there are more than
    `most_ended`. The payload of a job that is done is forgotten at once. An outcome is as safe as the database keeps
    what it has committed (its ``synchronous_commit``).

    It must reach the server itself, or a pooler that gives it a session of its own. Raises `ConfigError` if psycopg is
    missing, or for a `conninfo` that is none; `TypeError` and `ValueError`. Entering raises `ConfigError` for tables of
    another version, or a server that is too old, and `StoreError` if the database can't be reached.
    """

    def __init__(
        self,
        conninfo: str,
        queue: str = "default",
        *,
        lease: float = 15.0,
        keep: float = WEEK,
        most_ended: int = 1_000_000,
    ) -> None:
        expect("conninfo", conninfo, str)
        expect("queue", queue, str)
        expect("lease", lease, int, float)
        expect("keep", keep, int, float)
        expect("most_ended", most_ended, int)
        if not 0 < lease < FOREVER or not keep >= 0 or most_ended < 0:
            raise ValueError("lease is more than 0, and keep and most_ended are at least 0")
        self._schema = schema_of(queue)
        self._lease = lease
        self._keep = min(keep, FOREVER)
        self._most_ended = most_ended
        self._verbs = Database(conninfo, self._schema, patience=lease)
        self._looks = Database(conninfo, self._schema, patience=lease, listens=True)
        self._group = Grouped(nullcontext)

    def __repr__(self) -> str:
        return f"<PostgresStore {self._schema}>"

    @property
    def lease(self) -> float:
        """As `Store.lease`."""
        return self._lease

    # --- verbs ---

    async def add(self, jobs: Sequence[NewJob]) -> Sequence[Known]:
        """As `Store.add`."""
        return await self._do([Move(job.id, Rows.add, job) for job in jobs])

    async def begin(self, most: int) -> Sequence[Begun]:
        """As `Store.begin`."""
        begun: list[Begun]
        (begun,) = await self._do([Begin(most)])
        return begun

    async def renew(self, progress: Mapping[str, bytes]) -> None:
        """As `Store.renew`."""
        said = [Move(job_id, Rows.says, (job_id, value)) for job_id, value in progress.items()]
        await self._do([*said, Ask(statements.BEAT, {"beat": statements.random_number()}, len)])

    async def end(self, ends: Sequence[End]) -> Sequence[bool]:
        """As `Store.end`."""
        return await self._do([Move(end.id, Rows.end, end) for end in ends])

    async def cancel(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.cancel`."""
        return await self._do([Move(job_id, Rows.cancel, job_id) for job_id in ids])

    def changes(self) -> AsyncIterator[Changes]:
        """As `Store.changes`."""
        return self._watching.changes()

    # --- questions ---

    async def find(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.find`."""
        return await self._do([Move(job_id, Rows.find, job_id, reads=True) for job_id in ids])

    async def retry(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """As `Store.retry`."""
        return await self._do([Move(job_id, Rows.retry, job_id) for job_id in ids])

    async def counts(self) -> Mapping[State, int]:
        """As `Store.counts`."""
        counts: dict[State, int]
        (counts,) = await self._do([Ask(statements.COUNTS, {}, lambda rows: dict(zip(STATES, rows[0], strict=True)))])
        return counts

    async def failed(self, after: str, most: int) -> Sequence[Known]:
        """As `Store.failed`."""
        values = {"after": after.encode(), "most": most}
        failed: list[Known]
        (failed,) = await self._do([Ask(statements.FAILED, values, lambda rows: [row_of(row).known() for row in rows])])
        return failed

    async def _do(self, steps: Sequence[Step]) -> list[Any]:
        return await self._group.call(self._moves.do, steps)

    # --- life ---

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        me = str(uuid.uuid4())
        leaving, guarding = anyio.Event(), CancelScope(shield=True)
        async with tasks_beside() as tasks:
            tasks.start_soon(self._guard, leaving, guarding)
            try:
                snapshot = await self._in_thread(partial(self._enter, me=me))
                async with self._running(me, snapshot):
                    try:
                        yield self
                    finally:
                        leaving.set()
                await self._say_goodbye(me)
            finally:
                guarding.cancel()
                self._looks.close()
                self._verbs.close()

    @asynccontextmanager
    async def _running(self, me: str, snapshot: str) -> AsyncGenerator[None]:
        self._moves = Moves(self._verbs, me)
        self._watching = Watching(
            self._looks, me, snapshot, lease=self._lease, keep=self._keep, most_ended=self._most_ended
        )
        async with self._group.running(), tasks_beside() as tasks:
            tasks.start_soon(self._watching.run)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                self._looks.cut()  # whatever it is looking for: nothing is lost by that

    async def _guard(self, leaving: anyio.Event, guarding: CancelScope) -> None:
        """Sees to it that nobody waits for ever, also when it is cancelled: a database that was stopped, or a way to it
        that was cut, says nothing, and threads wait for it."""
        with guarding:
            while not leaving.is_set():
                for database in (self._verbs, self._looks):
                    database.interrupt_what_hangs()
                with anyio.move_on_after(self._lease / 4):
                    await leaving.wait()
            await anyio.sleep(GRACE)
            for database in (self._verbs, self._looks):
                database.cut()

    async def _say_goodbye(self, me: str) -> None:
        """What ran here goes to others at once, if the database is there; otherwise after the lease."""
        with CancelScope(shield=True):
            try:
                await self._in_thread(partial(self._leave, me=me))
            except StoreError as exc:
                logger.info("a queue could not say goodbye: %s", exc)

    async def _in_thread(self, work: "Callable[[Connection], T]") -> T:
        return await anyio.to_thread.run_sync(self._verbs.use, work, limiter=anyio.CapacityLimiter(1))

    # --- in the thread ---

    def _enter(self, connection: "Connection", me: str) -> str:
        """The snapshot from which on it is to be told what others do."""
        prepare(connection, self._schema)
        values = {"me": me, "beat": statements.random_number()}
        with connection.transaction():
            for statement in (statements.BEAT, statements.TAKE_BACK, statements.LEAVE_HOME):
                connection.execute(statement, values)
        ((snapshot,),) = connection.execute(statements.SNAPSHOT).fetchall()
        return str(snapshot)

    def _leave(self, connection: "Connection", me: str) -> None:
        values = {"me": me, "channel": self._schema, "said": me}
        with connection.transaction():
            for statement in (statements.LEAVE, statements.TAKE_BACK, statements.LEAVE_HOME, statements.NOTIFY):
                connection.execute(statement, values)
