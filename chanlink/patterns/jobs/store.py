"""What a queue needs of whatever keeps its jobs: six verbs, by which jobs move on, and four questions of people.

A store knows nothing of workers, tickets, types or silence: it knows what state each job is in, and whose turn is next.
All that it is given and gives are bytes and plain values. Its own mistakes are `StoreError`; then nothing of that one
call has happened, or all of it has (the connection broke in the moment of the commit), and the queue asks again:
`add`, `end`, `cancel` and `retry` may be repeated. It is the same when a call is cancelled.

Several tasks of the queue call verbs at the same time; a store that commits joins what comes together into one
transaction. A queue is the only user of its store object, but maybe not of what is behind it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

State = Literal["waiting", "delayed", "running", "done", "failed"]
"""``delayed``: waits for the time that a retry has asked for."""
STATES: tuple[State, ...] = ("waiting", "delayed", "running", "done", "failed")
CANCELLED = "cancelled"
"""The code of a failure that is no worker's."""


class NewJob(NamedTuple):
    """A job that is brought."""

    id: str
    payload: bytes
    attached: bool
    """Its attempts begin only in the queue that was the last one to `add` it, as long as that lives."""


class Done(NamedTuple):
    """An outcome."""

    result: bytes


class Failed(NamedTuple):
    """An outcome."""

    code: str
    text: str


class Again(NamedTuple):
    """No outcome: the job waits for its next attempt, at least so many seconds."""

    after: float


class Known(NamedTuple):
    """What is known of a job."""

    id: str
    state: State
    attempt: int
    """The number of the newest attempt; 0 before the first one."""
    outcome: Done | Failed | None
    progress: bytes | None
    """What another queue has given to `renew`."""
    new: bool
    """Whether this `add` has made it."""


class Begun(NamedTuple):
    """An attempt that has begun."""

    id: str
    payload: bytes
    attempt: int
    attached: bool
    since: int = 0
    """The newest attempt when the job was last let begin anew by `retry`: those up to this one are not counted."""

    @property
    def number(self) -> int:
        """As `attempt`."""
        return self.attempt

    @property
    def tries(self) -> int:
        """How many of those that are counted there were, with this one."""
        return self.attempt - self.since


class End(NamedTuple):
    """What became of an attempt."""

    id: str
    attempt: int
    outcome: Done | Failed | Again


class Changes(NamedTuple):
    """What has happened without this queue, or while time went by."""

    jobs: bool
    """Maybe there are jobs to begin: some were added elsewhere, or are not delayed any more, or their queue is dead."""
    ended: Sequence[str]
    """The ids of jobs that came to their outcome by another queue."""
    progressed: Sequence[str]
    """Those for which `find` has another progress or attempt."""


class Store(Protocol):
    """Keeps the jobs of one queue. An async context manager, which the queue enters and leaves.

    Entering raises `ConfigError` for what can't be used: a file that belongs to another queue or version, say; and
    `StoreError` for what perhaps could be, later.
    """

    @property
    def lease(self) -> float | None:
        """How many seconds after its last `renew` a queue counts as dead, so that others begin its jobs anew; None
        when no other queue can use what is behind this store."""

    async def add(self, jobs: Sequence[NewJob]) -> Sequence[Known]:
        """Bring jobs; returns when they are kept. One whose id is known stands as it is, but for where an attached job
        may begin; and an id may be twice in a call."""

    async def begin(self, most: int) -> Sequence[Begun]:
        """Begin an attempt of up to so many jobs: of those that wait, in the order in which they came or came back.
        What had begun in a call that raised `StoreError` was given to nobody, and the store lets it wait again by
        itself: with its next verb, its next start, or when another queue takes it for dead."""

    async def renew(self, progress: Mapping[str, bytes]) -> None:
        """This queue lives, and its running jobs say this. Called thrice in a lease. When the lease was over
        before, it begins anew; its jobs have gone to others by then."""

    async def end(self, ends: Sequence[End]) -> Sequence[bool]:
        """Which of these count.

        `Done` and `Failed` count if the job has no outcome yet, whichever the attempt; `Again` if it is running its
        newest attempt, which is that one. What was counted before counts again, if it is the same, and of the same
        attempt. An unknown id does not count.
        """

    async def cancel(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """Fail what has no outcome with `CANCELLED`. What the jobs are now; None for those that are not known."""

    def changes(self) -> AsyncIterator[Changes]:
        """An endless iterator, which one task reads all the time. What the other verbs return is not in it.

        It raises no `StoreError`: what it could not look at, it looks at later.
        """

    # --- questions ---

    async def find(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """What the jobs are now."""

    async def retry(self, ids: Sequence[str]) -> Sequence[Known | None]:
        """Let what has failed wait again, its attempts counted anew, as `Begun.since` says. What the jobs are now, as
        `cancel`. Their numbers go on: a number that came again would let an old attempt speak for a new one."""

    async def counts(self) -> Mapping[State, int]:
        """How many jobs are in each of the `STATES`."""

    async def failed(self, after: str, most: int) -> Sequence[Known]:
        """Jobs that have failed, but for those that were cancelled, by id from behind `after`, at most so many."""

    # --- life ---

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> bool | None: ...
