"""Work queues: a submitter, the queue and three workers, each a process; beside Celery and SAQ."""

from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import CALLS, figure

IN_FLIGHT = 200
WAITING, CYCLES = 1_000_000, 2_000
LINK = (0.1, 1e9)
"""The round trip in seconds, and a rate at which jobs take no time."""
STORES = {
    "memory": ("in memory", 9_000, 3_000),
    "sqlite": ("kept in SQLite", 4_500, 1_000),
    "postgres": ("kept in PostgreSQL", 2_000, 500),
}
"""By the name of the row: what it says, how many jobs, how many a second are wanted."""
PEER_COUNT = 2_000


def rows() -> list[Row]:
    return [*(_empty(store) for store in STORES), _start(), *_waiting()]


def _empty(store: str) -> Row:
    where, count, goal = STORES[store]
    peers = {} if store == "postgres" else {"Celery with Redis": _celery(kept=store == "sqlite")}
    peers["SAQ with PostgreSQL" if store == "postgres" else "SAQ with Redis"] = _saq(store)
    return Row(
        f"queue-{store}/asyncio",
        f"empty jobs {where}, 3 workers of 8 slots",
        CALLS,
        Task("ours_queue", "jobs", {"count": count, "store": store, "in_flight": IN_FLIGHT}, fresh=True),
        peers,
        (Goal(">=", goal), *(Goal(">=", 1.0, peer) for peer in peers)),
        repeats=2,
    )


def _celery(*, kept: bool) -> Task:
    return Task("celery_redis", "jobs", {"count": PEER_COUNT, "kept": kept}, fresh=True)


def _saq(store: str) -> Task:
    store = {"sqlite": "kept"}.get(store, store)
    return Task("saq_both", "jobs", {"count": PEER_COUNT, "store": store, "in_flight": IN_FLIGHT}, fresh=True)


def _start() -> Row:
    return Row(
        "queue-start/asyncio",
        "from submit to the start at a worker that waits, over a link of 100 ms round trip",
        figure("round trips"),
        Task("ours_queue_start", "start", {"count": 5, "round_trip": LINK[0]}, link=LINK),
        {},
        (Goal("<=", 2),),
        repeats=1,
    )


def _waiting() -> list[Row]:
    def task(pick: str) -> Task:
        return Task("ours_queue", "waiting", {"count": WAITING, "cycles": CYCLES}, fresh=True, pick=pick)

    return [
        Row(
            "queue-waiting-growth/asyncio",
            "processor time of the queue for one more job: with 1,000,000 waiting in SQLite, to with 10",
            figure("times"),
            task("growth"),
            {},
            (Goal("<=", 1.2),),
            repeats=1,
        ),
        Row(
            "queue-waiting-memory/asyncio",
            "memory of the queue's process for 1,000,000 jobs that wait in SQLite",
            figure("MiB"),
            task("memory"),
            {},
            (Goal("<=", 16),),
            repeats=1,
        ),
    ]
