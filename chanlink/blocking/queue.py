"""Work queues for threads: bringing jobs, and working on them. `Session.queue` is where to begin."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from anyio import to_thread

from chanlink import patterns
from chanlink.arguments import expect_function

from .ends import received_here, to_send, within
from .iteration import Iteration
from .portal import Portal

J = TypeVar("J")
R = TypeVar("R")
J_co = TypeVar("J_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)

Attach = Callable[[int], Any]
_END: Any = object()


class QueueClient(Generic[J, R]):
    """A view of a work queue that is a service of the peer. Any number of threads may use it. Made by `Session.queue`.

    Otherwise as `chanlink.patterns.QueueClient`. Each of its methods raises `TimeoutError` after ``timeout`` seconds.
    """

    def __init__(self, portal: Portal, client: patterns.QueueClient[J, R]) -> None:
        self._portal = portal
        self._client = client

    def __repr__(self) -> str:
        return f"<blocking {self._client!r}>"

    def submit(
        self, job: J, *, id: str | None = None, attach: Attach | None = None, timeout: float | None = None
    ) -> "Ticket[R]":
        """Bring a job; returns when the queue has stored it. As `chanlink.patterns.QueueClient.submit`.

        ``attach(attempt)`` is called in a thread of its own, while another one waits at the ticket; an async function
        is called in the event loop. After a `TimeoutError` the job may be there: with the same id it may be submitted
        again.
        """
        if attach is not None:
            expect_function("attach", attach)
            attach = _attaching(attach, self._portal)
        return self._ticket(partial(self._client.submit, job, id=id, attach=attach), timeout)

    def find(self, id: str, timeout: float | None = None) -> "Ticket[R]":
        """A ticket for a job that is there. As `chanlink.patterns.QueueClient.find`."""
        return self._ticket(partial(self._client.find, id), timeout)

    def _ticket(self, make: Callable[[], Awaitable[patterns.Ticket[R]]], timeout: float | None) -> "Ticket[R]":
        ticket = self._portal.run(lambda: within(timeout, make), lambda unwanted: unwanted.close())
        return Ticket(self._portal, ticket)

    def cancel(self, id: str, timeout: float | None = None) -> str:
        """Let a job fail with code ``cancelled``, if it has no outcome. As `chanlink.patterns.QueueClient.cancel`."""
        return self._portal.run(lambda: within(timeout, partial(self._client.cancel, id)))

    def retry(self, id: str, timeout: float | None = None) -> str:
        """Let a job that has failed wait again, its attempts counted anew. As `chanlink.patterns.QueueClient.retry`."""
        return self._portal.run(lambda: within(timeout, partial(self._client.retry, id)))

    def status(self, timeout: float | None = None) -> patterns.QueueStatus:
        """How many jobs the queue has, and who works."""
        return self._portal.run(lambda: within(timeout, self._client.status))

    def failed(self, after: str = "", most: int = 100, timeout: float | None = None) -> list[patterns.FailedJob]:
        """Jobs that have failed. As `chanlink.patterns.QueueClient.failed`."""
        return self._portal.run(lambda: within(timeout, partial(self._client.failed, after, most)))

    def jobs(self, *, slots: int = 1) -> "Jobs[J, R]":
        """Work: iterate over it. So many jobs at a time, for as many threads.

        ::

            for job in queue.jobs():
                with job:
                    job.done(count(job.value))
        """
        return Jobs(self._portal, self._portal.run_sync(lambda: self._client.jobs(slots=slots)))


class Ticket(Generic[R]):
    """Hears what becomes of a job. Any number of threads may use it. As `chanlink.patterns.Ticket`, also as a ``with``.

    A thread has to wait here, for the result or for progress, while what is attached may be asked for.
    """

    def __init__(self, portal: Portal, ticket: patterns.Ticket[R]) -> None:
        self._portal = portal
        self._ticket = ticket

    def __repr__(self) -> str:
        return f"<blocking {self._ticket!r}>"

    @property
    def id(self) -> str:
        """That of its job."""
        return self._ticket.id

    @property
    def new(self) -> bool:
        """Whether this submission has made the job. If not, one of this id was there before, and stands as it was."""
        return self._ticket.new

    def result(self, timeout: float | None = None) -> R:
        """The result, once the job is done. Raises as `chanlink.patterns.Ticket.result`, and `TimeoutError`.

        Nothing is lost by that, nor by an exception of a signal handler: it may be asked for again.
        """
        return self._portal.run(lambda: within(timeout, self._ticket.result))

    def progress(self) -> Iterator[Any]:
        """An iterator of what the worker says of the job: the newest value each time, until there is an outcome."""
        values = self._ticket.progress()

        async def following() -> Any:
            return await anext(values, _END)

        while (value := self._portal.run(following)) is not _END:
            yield value

    def cancel(self, timeout: float | None = None) -> str:
        """Let the job fail with code ``cancelled``, unless it has its outcome. As `QueueClient.cancel`."""
        return self._portal.run(lambda: within(timeout, self._ticket.cancel))

    def close(self) -> None:
        """Hear no more. The job is not touched by that. Twice is harmless."""
        self._portal.run_sync(self._ticket.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._portal.is_forked:
            self.close()


class Jobs(Iteration["Job[J, R]"], Generic[J, R]):
    """The jobs of a worker, for as many threads as it has slots: each job goes to one of them.

    As `chanlink.patterns.Jobs`, and left as any `Iteration`: jobs without an outcome go to other workers then.
    """

    def __init__(self, portal: Portal, jobs: patterns.Jobs[J, R]) -> None:
        super().__init__(portal, partial(_each, portal, jobs))
        self._jobs = jobs

    def __repr__(self) -> str:
        return f"<blocking {self._jobs!r}>"

    def stop(self) -> None:
        """Ask for no more jobs: iterating stops, and what is worked on may have its outcome. Twice is harmless."""
        self._portal.run_sync(self._jobs.stop)


async def _each(portal: Portal, jobs: patterns.Jobs[J, R]) -> "AsyncGenerator[Job[J, R], None]":
    async with jobs as work:
        async for job in work:
            yield Job(portal, job)


class Job(Generic[J_co, R_contra]):
    """An attempt at a job. As `chanlink.patterns.Job`, also as a block, which sees to it that it has an outcome.

    Nothing cancels a thread: one that works for long looks at `stale` now and then.
    """

    def __init__(self, portal: Portal, job: patterns.Job[J_co, R_contra]) -> None:
        self._portal = portal
        self._job = job
        self._attached = received_here(job.attached, portal)

    def __repr__(self) -> str:
        return f"<blocking {self._job!r}>"

    @property
    def id(self) -> str:
        """That of the job: the same for each attempt."""
        return self._job.id

    @property
    def value(self) -> J_co:
        """What was submitted."""
        return self._job.value

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1. From the second one on, another one may have done some of the work."""
        return self._job.attempt

    @property
    def attached(self) -> Any:
        """What the submitter has attached to this attempt; it may hold ends. None if nothing was."""
        return self._attached

    @property
    def stale(self) -> bool:
        """Whether nothing that is said of it would count any more."""
        return self._job.stale

    def done(self, result: R_contra, timeout: float | None = None) -> bool:
        """Say that the job is done; returns whether that counts. As `chanlink.patterns.Job.done`.

        After a `TimeoutError`, or an exception of a signal handler, it was said.
        """
        return self._portal.run(lambda: within(timeout, partial(self._job.done, result)))

    def fail(self, code: str, text: str = "", timeout: float | None = None) -> bool:
        """Say that the job has failed, for ever. As `chanlink.patterns.Job.fail`; otherwise as `done`."""
        return self._portal.run(lambda: within(timeout, partial(self._job.fail, code, text)))

    def retry(self, after: float = 0.0, code: str = "retry", text: str = "", timeout: float | None = None) -> bool:
        """Say that this attempt has failed, and another one is to begin. As `chanlink.patterns.Job.retry`."""
        return self._portal.run(lambda: within(timeout, partial(self._job.retry, after, code, text)))

    def progress(self, value: Any = None, timeout: float | None = None) -> None:
        """Say how far it is, and that it is worked on. As `chanlink.patterns.Job.progress`."""
        self._portal.run(lambda: within(timeout, partial(self._job.progress, value)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._portal.is_forked:
            self._portal.run_sync(lambda: self._job._leave(exc_type))


def _attaching(attach: Attach, portal: Portal) -> Attach:
    """What gives, in the event loop, what a function for threads attaches."""

    async def attaching(attempt: int) -> Any:
        if inspect.iscoroutinefunction(attach):
            given = await attach(attempt)
        else:
            given = await to_thread.run_sync(attach, attempt)
        return to_send(given, portal)

    return attaching
