"""The same message to a hundred sessions: by a broadcast, beside sending it to each."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MESSAGES

SUBSCRIBERS = 100
COUNT = 200
EACH = "sending to each"


def rows() -> list[Row]:
    return [_broadcast(backend) for backend in BACKENDS]


def _broadcast(backend: str) -> Row:
    def task(by: str) -> Task:
        options = {"count": COUNT, "subscribers": SUBSCRIBERS, "by": by}
        return Task("ours_broadcast", "many", options, backend)

    return Row(
        f"broadcast/{backend}",
        "1 KiB to 100 sessions: deliveries",
        MESSAGES,
        task("broadcast"),
        {EACH: task("each")},
        (Goal(">=", 20_000), Goal(">=", 1.1, EACH)),
    )
