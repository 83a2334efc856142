"""What clients cost one server process: processor time of the server alone, and memory.

They are measured when asked for by name (`make capacity`): they take a quarter of an hour, with those that wait for
what idle sessions do.
"""

from typing import Any, NamedTuple

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.units import Unit, figure

CAPACITY = "capacity"
PREFIX = f"{CAPACITY}-"
MICROSECONDS, MILLISECONDS, KIB = figure("us"), figure("ms"), figure("KiB")


class _Cost(NamedTuple):
    work: str
    what: str
    unit: Unit
    options: dict[str, Any]
    repeats: int = 3
    pick: str = ""


COSTS = {
    "session": _Cost("connections", "a session: connect, handshake, close", MICROSECONDS, {"count": 1_000}),
    "succession": _Cost(
        "succession", "a link that goes over to the next server", MICROSECONDS, {"count": 1_000}, repeats=1
    ),
    "channel": _Cost("channels", "a channel to a service: open, one message, close", MICROSECONDS, {"count": 10_000}),
    "reply": _Cost(
        "nested", "a request with a reply channel, 100 in flight", MICROSECONDS, {"count": 10_000, "in_flight": 100}
    ),
    "call": _Cost("calls", "a call of a method, 100 in flight", MICROSECONDS, {"count": 10_000, "in_flight": 100}),
    "call-alone": _Cost(
        "calls_of_many",
        "a call of a method, one at a time of each of 300 sessions",
        MICROSECONDS,
        {"count": 20_000, "sessions": 300},
    ),
    "message": _Cost(
        "messages",
        "a message of 100 bytes, one after the other",
        MICROSECONDS,
        {"count": 200_000, "service": "count-many"},
    ),
    "message-alone": _Cost(
        "messages_of_many",
        "a message of 100 bytes, one at a time of each of 300 sessions",
        MICROSECONDS,
        {"count": 20_000, "sessions": 300},
    ),
    "broadcast": _Cost(
        "broadcast",
        "1 KiB to one of 300 subscribers, each with a session",
        MICROSECONDS,
        {"count": 50, "subscribers": 300, "by": "broadcast"},
    ),
    "megabyte-in": _Cost("bytes_in", "a megabyte that comes", MICROSECONDS, {"count": 500_000_000}),
    "megabyte-out": _Cost("bytes_out", "a megabyte that goes", MICROSECONDS, {"count": 500_000_000}),
    "idle": _Cost(
        "idle", "an hour of a session that does nothing", MILLISECONDS, {"count": 1_000, "seconds": 120}, repeats=1
    ),
    "memory-1000": _Cost("memory", "memory of a session, of 1,000", KIB, {"count": 1_000}, repeats=1),
    "memory-10000": _Cost("memory", "memory of a session, of 10,000", KIB, {"count": 10_000}, repeats=1),
    "memory-channel": _Cost(
        "memory_of_channels",
        "memory of a channel that does nothing",
        KIB,
        {"count": 20_000, "cycles": 1_000},
        repeats=1,
        pick="server",
    ),
}


def rows() -> list[Row]:
    return [_row(name, cost, backend) for name, cost in COSTS.items() for backend in BACKENDS]


def _row(name: str, cost: _Cost, backend: str) -> Row:
    task = Task("ours_capacity", cost.work, cost.options, backend, fresh=True, pick=cost.pick)
    return Row(f"{PREFIX}{name}/{backend}", cost.what, cost.unit, task, repeats=cost.repeats)
