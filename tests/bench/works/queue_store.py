"""What one more job costs a store when many wait, beside the same when none does; and the memory that they hold."""

from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import figure

COUNT = 6_000
MANY = 1_000_000
NONE, FEWER, IN_MEMORY = "none wait", "100,000 wait", "in memory"
VERBS = {"add": "is added", "begin": "begins", "end": "comes to its outcome"}


def rows() -> list[Row]:
    return [*[_verb(name) for name in VERBS], _held()]


def _verb(name: str) -> Row:
    return Row(
        f"queue-store-{name}/asyncio",
        f"a job {VERBS[name]} while a million wait in SQLite, on the disk each time, 24 at a time",
        figure("us of processor"),
        _task("disk", MANY, name),
        {NONE: _task("disk", 0, name), FEWER: _task("disk", 100_000, name)},
        (Goal("<=", 1.5, NONE),),
        repeats=1,
    )


def _held() -> Row:
    return Row(
        "queue-store-held/asyncio",
        "memory that a million waiting jobs hold",
        figure("MiB"),
        _task("disk", MANY, "held"),
        {IN_MEMORY: _task("memory", MANY, "held")},
        (Goal("<=", 0.1, IN_MEMORY),),
        repeats=1,
    )


def _task(kept: str, waiting: int, pick: str) -> Task:
    options = {"count": COUNT, "waiting": waiting, "kept": kept}
    return Task("ours_store", "jobs", options, fresh=True, pick=pick)
