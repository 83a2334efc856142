"""What a queue says of itself: how many jobs it has, who works, and what has failed."""

from typing import Any, NamedTuple

from .way import no_queue

WORDS = ("waiting", "running", "done", "failed", "cancelled")
"""What a job is, as a queue says when it has changed that."""
MOST_NAMED = 100
"""Workers that a status names, and jobs of each of them."""


class WorkerStatus(NamedTuple):
    """A worker, as its queue sees it."""

    name: str
    """That of its peer."""
    slots: int
    """How many jobs it takes at a time."""
    running: list[str]
    """The ids of its jobs, at most 100."""


class QueueStatus(NamedTuple):
    """A moment in the life of a queue: how many jobs are in each state, and who works."""

    waiting: int
    """Jobs whose turn has not come."""
    delayed: int
    """Those that wait for the time that a retry has asked for."""
    running: int
    """Those that a worker has, or may have."""
    done: int
    """Those with a result."""
    failed: int
    """Those that have failed, by whatever code."""
    workers: list[WorkerStatus]
    """At most 100."""
    submitters: int
    """Clients that have brought jobs, and are there."""


class FailedJob(NamedTuple):
    """A job whose outcome is that it has failed."""

    id: str
    """Its name."""
    code: str
    """A short word: as `JobFailed` has it."""
    text: str
    """An explanation, which may be empty; another side's words."""
    attempt: int
    """The number of the last one."""


def read_status(message: Any) -> QueueStatus:
    """Raises `JobLost` for what is none."""
    match message:
        case {"workers": list() as workers} if len(workers) <= MOST_NAMED:
            counts = {name: message.get(name) for name in QueueStatus._fields if name != "workers"}
            if all(type(count) is int for count in counts.values()):
                return QueueStatus(workers=[_read_worker(worker) for worker in workers], **counts)
    raise no_queue("status", message)


def _read_worker(worker: Any) -> WorkerStatus:
    match worker:
        case {"name": str() as name, "slots": int() as slots, "running": list() as running}:
            if len(running) <= MOST_NAMED and all(type(id) is str for id in running):
                return WorkerStatus(name, slots, running)
    raise no_queue("worker", worker)


def read_failed(message: Any) -> list[FailedJob]:
    """Raises `JobLost` for what is no list of them."""
    if type(message) is not list:
        raise no_queue("list of jobs", message)
    return [_read_failed_job(entry) for entry in message]


def _read_failed_job(entry: Any) -> FailedJob:
    match entry:
        case {"id": str() as id, "code": str() as code, "text": str() as text, "attempt": int() as attempt}:
            return FailedJob(id, code, text, attempt)
    raise no_queue("failed job", entry)


def read_word(message: Any) -> str:
    """What a job is. Raises `JobLost` for what is no word for that."""
    if type(message) is str and message in WORDS:
        return message
    raise no_queue("state of a job", message)
