"""What is built on channels and sessions, and could have been built by a user: patterns of working together.

    watch           one value that changes, and all who want to know what it is now
    broadcast       each message to each subscriber;  subscription: what a subscriber holds
    jobs            a work queue: jobs, and those who bring them and work on them

    audience        the subscribers of a pattern

A file here uses public names only. It takes them from the rooms that define them, since ``chanlink/__init__.py``
imports it; what it needs of the inside nevertheless is listed in ``tests/test_layers.py``, each with a reason.
"""

from .broadcast import Broadcast, Policy, broadcast, cut, drop_oldest, subscribe, wait
from .jobs.client import QueueClient, queue_client
from .jobs.job import Job
from .jobs.memory import MemoryStore
from .jobs.postgres.store import PostgresStore
from .jobs.queue import WorkQueue, work_queue
from .jobs.sqlite import SQLiteStore
from .jobs.status import FailedJob, QueueStatus, WorkerStatus
from .jobs.ticket import Ticket
from .jobs.worker import Jobs
from .subscription import Subscription
from .watch import Watch, follow, watch

__all__ = [
    "Broadcast",
    "FailedJob",
    "Job",
    "Jobs",
    "MemoryStore",
    "Policy",
    "PostgresStore",
    "QueueClient",
    "QueueStatus",
    "SQLiteStore",
    "Subscription",
    "Ticket",
    "Watch",
    "WorkQueue",
    "WorkerStatus",
    "broadcast",
    "cut",
    "drop_oldest",
    "follow",
    "queue_client",
    "subscribe",
    "wait",
    "watch",
    "work_queue",
]
