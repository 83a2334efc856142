"""Many open channels in a session, many sessions on a server."""

from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import figure

LOOPS = ("asyncio", "trio")  # on uvloop they are as on asyncio, and each takes most of a minute
TIMES, KIB = figure("times"), figure("KiB")
CHANNELS = {"count": 100_000, "cycles": 4_000}
"""Half a second a step: with many tasks about, one full garbage collection would be most of a shorter time."""
SESSIONS = {"count": 5_000, "trips": 2_000}


def rows() -> list[Row]:
    return [row for backend in LOOPS for row in (*_channels(backend), *_sessions(backend))]


def _channels(backend: str) -> list[Row]:
    def task(pick: str) -> Task:
        return Task("ours_crowded", "channels", CHANNELS, backend, fresh=True, pick=pick)

    return [
        Row(
            f"channels-growth/{backend}",
            "processor time to open, send one message and close: with 100,000 channels open, to with 10",
            TIMES,
            task("growth"),
            {},
            (Goal("<=", 1.2),),
            repeats=1,
        ),
        *(
            Row(
                f"channels-memory-{side}/{backend}",
                f"an idle channel, on the side of the {side}",
                KIB,
                task(side),
                {},
                (Goal("<=", 2),),
                repeats=1,
            )
            for side in ("client", "server")
        ),
    ]


def _sessions(backend: str) -> list[Row]:
    def task(pick: str) -> Task:
        return Task("ours_crowded", "sessions", SESSIONS, backend, fresh=True, pick=pick)

    return [
        Row(
            f"sessions-growth/{backend}",
            "round trip on a session: with 5,000 idle ones on the same server, to with 10",
            TIMES,
            task("growth"),
            {},
            (Goal("<=", 1.2),),
            repeats=1,
        ),
        *(
            Row(
                f"sessions-memory-{side}/{backend}",
                f"an idle session, on the side of the {side}",
                KIB,
                task(side),
                {},
                (Goal("<=", 48),),
                repeats=1,
            )
            for side in ("server", "client")
        ),
    ]
