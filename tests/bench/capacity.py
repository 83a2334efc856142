"""docs/explanation/capacity.md: what was measured, what follows for one core, and for a million sessions."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

from . import results
from .ends import BACKENDS
from .results import Result
from .works.capacity import COSTS, PREFIX

SECOND, MINUTE, HOUR = 1e6, 60.0, 3.6e6
"""Microseconds, seconds, milliseconds."""
GIB = 1024 * 1024
"""KiB."""
MILLION = 1_000_000


class Share(NamedTuple):
    """How many of something one core, or a GiB, is enough for."""

    of: float
    words: str


SHARES = {"us": Share(SECOND, "a second"), "ms": Share(HOUR, "sessions"), "KiB": Share(GIB, "in a GiB")}


def figure(found: list[Result], name: str, backend: str = "asyncio") -> float | None:
    """The median of a row; None if it was not measured."""
    rows = {result.name: result for result in found}
    row = rows.get(f"{PREFIX}{name}/{backend}")
    return statistics.median(row.runs[""].values) if row and row.runs[""].values else None


def costs(found: list[Result]) -> str:
    """What each thing costs, on each event loop, and how many of it one core can do on asyncio; what was measured."""
    first, *others = BACKENDS
    lines = [f"| one of these costs the server | {first} | a core, or a GiB, is enough for | {' | '.join(others)} |"]
    lines.append("| --- " * (len(BACKENDS) + 2) + "|")
    for name, cost in COSTS.items():
        figures = [figure(found, name, backend) for backend in BACKENDS]
        if not any(figures):
            continue
        cells = ["" if each is None else f"{results.short(each)} {cost.unit.name}" for each in figures]
        lines.append(f"| {cost.what} | {' | '.join([cells[0], _share(cost.unit.name, figures[0]), *cells[1:]])} |")
    return "\n".join(lines)


def _share(unit: str, cost: float | None) -> str:
    share = SHARES[unit]
    return "" if cost is None else f"{results.short(share.of / cost)} {share.words}"


class Need(NamedTuple):
    """What a million sessions need, of one sort."""

    what: str
    cost: str
    """The row that it follows from."""
    times: Callable[[float], float]
    unit: str


def _cores(every: float) -> Callable[[float], float]:
    """Each of them once in so many seconds, at so many microseconds."""
    return lambda cost: MILLION / every * cost / SECOND


NEEDS = (
    Need("memory", "memory-1000", lambda kib: kib * MILLION / GIB, "GiB"),
    Need(
        "being there: keys renewed every two minutes, asked every 15 s", "idle", lambda ms: ms * MILLION / HOUR, "cores"
    ),
    Need("a message a minute from each", "message-alone", _cores(MINUTE), "cores"),
    Need("a call a minute from each", "call-alone", _cores(MINUTE), "cores"),
    Need("1 KiB a minute to each, by a broadcast", "broadcast", _cores(MINUTE), "cores"),
    Need("all of them come within ten minutes", "session", _cores(10 * MINUTE), "cores"),
    Need("all of them come within one minute", "session", _cores(MINUTE), "cores"),
)


def million(found: list[Result]) -> str:
    """The sums for a million sessions."""
    lines = ["| for a million sessions | asyncio |", "| --- | --- |"]
    for need in NEEDS:
        cost = figure(found, need.cost)
        amount = "" if cost is None else f"{results.short(need.times(cost))} {need.unit}"
        lines.append(f"| {need.what} | {amount} |")
    return "\n".join(lines)
