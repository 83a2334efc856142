"""`queue_client`: the side of those who bring jobs to a work queue, and of those who work."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload
from uuid import uuid4

from chanlink.arguments import expect, expect_function
from chanlink.channels.typed import converter_of

from .payloads import pack
from .requests import MAX_FAILED, MAX_ID, MAX_SLOTS
from .status import FailedJob, QueueStatus, read_failed, read_status, read_word
from .ticket import Attach, Ticket
from .way import Opens, Way
from .worker import Jobs

if TYPE_CHECKING:
    from typing_extensions import TypeForm

J = TypeVar("J")
R = TypeVar("R")


@overload
def queue_client(target: Opens, service: str) -> "QueueClient[Any, Any]": ...


@overload
def queue_client(target: Opens, service: str, job_type: type[J]) -> "QueueClient[J, Any]": ...


@overload
def queue_client(target: Opens, service: str, job_type: "TypeForm[J]") -> "QueueClient[J, Any]": ...


@overload
def queue_client(target: Opens, service: str, job_type: type[J], result_type: type[R]) -> "QueueClient[J, R]": ...


@overload
def queue_client(
    target: Opens, service: str, job_type: "TypeForm[J]", result_type: "TypeForm[R]"
) -> "QueueClient[J, R]": ...


def queue_client(target: Opens, service: str, job_type: Any = Any, result_type: Any = Any) -> "QueueClient[Any, Any]":
    """What brings jobs to a `work_queue` that is a service, and works on them.

    `target` is a `Session`, or a `Link`: then it goes on with the next session when one is lost. Anything else that has
    ``await target.open(service)`` will do. The types are those of the queue; raises `InterfaceError` for what can't be
    the type of a message, and `ConfigError` when msgspec is not installed (``chanlink[typed]``).
    """
    expect("service", service, str)
    expect_function("target.open", getattr(target, "open", None))
    for item_type in (job_type, result_type):
        converter_of(item_type)
    return QueueClient(target, service, job_type, result_type)


class QueueClient(Generic[J, R]):
    """A view of a queue that is a service. Made by `queue_client`. It owns nothing, and need not be closed.

    What it asks for raises `JobRefused` when the queue does not do it, or when nobody took the request: with the code
    of the channel then (``no-such-service``), or ``no-session`` or ``session-lost``. `JobLost` when the way to the
    queue was lost, and nobody knows whether it was done; each may be asked for again without harm. `LimitReached` when
    too many channels are open.
    """

    def __init__(self, target: Opens, service: str, job_type: Any, result_type: Any) -> None:
        self._way = Way(target, service)
        self._service = service
        self._job_type = job_type
        self._result_type = result_type

    def __repr__(self) -> str:
        return f"<QueueClient of {self._service!r}>"

    async def submit(self, job: J, *, id: str | None = None, attach: Attach | None = None) -> Ticket[R]:
        """Bring a job; returns when the queue has stored it.

        With an ``id``, a name of 1 to 200 characters, it is the same job however often it is submitted: one that is
        there stands as it is, whatever else is submitted. Without, it gets a random one.

        ``attach(attempt)`` gives, for each attempt, what its worker gets as ``job.attached``: it may hold ends. It may
        be an async function; see `Ticket` for who calls it.

        Raises `MessageTypeError`, `EncodeError`, `MessageTooLarge` for a job that can't be sent. Cancelled: it was
        submitted or not; with the same id it may be submitted again.
        """
        if attach is not None:
            expect_function("attach", attach)
        id = uuid4().hex if id is None else _checked_id(id)
        entries: dict[str, Any] = {"ask": "submit", "job": pack(job, self._job_type), "id": id}
        if attach is not None:
            entries["attached"] = True
        return await self._ticket(id, entries, attach)

    async def find(self, id: str) -> Ticket[R]:
        """A ticket for a job that is there. Raises `JobRefused` with code ``unknown-job`` if there is none."""
        return await self._ticket(id, {"ask": "find", "id": _checked_id(id)})

    async def _ticket(self, id: str, entries: dict[str, Any], attach: Attach | None = None) -> Ticket[R]:
        ticket: Ticket[R] = Ticket(self._way, id, entries, self._result_type, attach)
        await ticket._begin()
        return ticket

    async def cancel(self, id: str) -> str:
        """Let a job fail with code ``cancelled``, unless it has its outcome; returns once it has one, and which.

        That is ``cancelled``, or the ``done`` or ``failed`` that it was before.
        """
        return await self._change("cancel", id)

    async def retry(self, id: str) -> str:
        """Let a job that has failed wait again, with as many attempts as a new one. Of another job, nothing happens.

        The numbers of its attempts go on: those after a first one still say so.

        Returns what it is then: ``waiting``, or the ``running`` or ``done`` that it was before.
        """
        return await self._change("retry", id)

    async def _change(self, ask: str, id: str) -> str:
        return read_word(await self._way.answer({"ask": ask, "id": _checked_id(id)}))

    async def status(self) -> QueueStatus:
        """How many jobs the queue has, and who works."""
        return read_status(await self._way.answer({"ask": "status"}))

    async def failed(self, after: str = "", most: int = 100) -> list[FailedJob]:
        """Jobs that have failed, but for those that were cancelled: in the order of their ids, from behind ``after``.

        At most so many, and at most 1,000; fewer if their ids and texts are long, and none when there are no more.
        """
        expect("after", after, str)
        expect("most", most, int)
        if not 1 <= most <= MAX_FAILED:
            raise ValueError(f"most must be 1 to {MAX_FAILED}")
        entries = {"ask": "failed", "most": most} | ({"after": after} if after else {})
        return read_failed(await self._way.answer(entries))

    def jobs(self, *, slots: int = 1) -> Jobs[J, R]:
        """Work: an async context manager, which is iterated over inside its block. So many jobs at a time, 1 to 10,000.

        ::

            async with client.jobs(slots=8) as work, anyio.create_task_group() as tasks:
                async for job in work:
                    tasks.start_soon(run, job)
        """
        expect("slots", slots, int)
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"slots must be 1 to {MAX_SLOTS:,}")
        return Jobs(self._way, slots, self._job_type, self._result_type)


def _checked_id(id: str) -> str:
    expect("id", id, str)
    if not 1 <= len(id) <= MAX_ID:
        raise ValueError(f"the id of a job has 1 to {MAX_ID} characters")
    return id
