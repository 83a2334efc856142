"""The pages that show figures: their tables, each between two marks."""

import statistics
from pathlib import Path
from typing import Any

from . import capacity, results
from .ends import ROOT
from .results import Result, Runs

PAGE = ROOT / "docs/explanation/performance.md"
COMPARISON = ROOT / "docs/explanation/comparison.md"
CAPACITY = ROOT / "docs/explanation/capacity.md"
FIGURES = ROOT / "tests/bench/results.json"
"""Every single figure of the run that the page tells of."""
CAPACITY_FIGURES = ROOT / "tests/bench/capacity.json"
TABLE = "<!-- The table: `python -m tests.bench --page` writes it. -->", "<!-- The end of the table. -->"
SUMS = "<!-- The sums: `python -m tests.bench --page` writes them. -->", "<!-- The end of the sums. -->"


COMPARED = ("gRPC", "ZeroMQ", "ZeroMQ, asyncio", "RPyC", "asyncssh")
"""Those beside us in the table of comparison.md."""
PEERS = {
    "gRPC": "grpc.aio",
    "ZeroMQ": "pyzmq CURVE, blocking",
    "ZeroMQ, asyncio": "pyzmq CURVE, asyncio",
}
"""What the rows call them, if not so."""
COMPARED_ROWS = {
    "one-way/asyncio": "messages of 100 bytes, one way",
    "large-1m/asyncio": "messages of 1 MiB",
    "round-trip-tcp/asyncio": "100 bytes there and back",
    "call/asyncio": "a call of a method",
    "call-100/asyncio": "a call, of 100 at a time",
    "handshake": "connections, both sides proved",
    "true": "a remote command, `true`",
}


def write_table(about: dict[str, Any], found: list[Result]) -> None:
    """Put the tables into the pages, with what they were measured on, and keep all figures."""
    put(PAGE, performance(about, found))
    put(COMPARISON, comparison(found))
    results.save(FIGURES, about, found)


def performance(about: dict[str, Any], found: list[Result]) -> str:
    return f"{measured_on(about)}\n\n{_compact(results.table(found))}"


def write_capacity(about: dict[str, Any], found: list[Result]) -> None:
    """The same for the page about capacity."""
    put(CAPACITY, costs(about, found))
    put(CAPACITY, capacity.million(found), SUMS)
    results.save(CAPACITY_FIGURES, about, found)


def costs(about: dict[str, Any], found: list[Result]) -> str:
    return f"{measured_on(about)}\n\n{capacity.costs(found)}"


def put(page: Path, text: str, marks: tuple[str, str] = TABLE) -> None:
    """Between the marks of a page."""
    before, _, rest = page.read_text().partition(marks[0])
    _, mark, after = rest.partition(marks[1])
    if not mark:
        raise ValueError(f"{page} has no place for it: {marks[0]}")
    page.write_text(f"{before}{marks[0]}\n\n{text}\n\n{marks[1]}{after}")


def shown(page: Path, marks: tuple[str, str] = TABLE) -> str:
    """What stands between the marks of a page."""
    return page.read_text().partition(marks[0])[2].partition(marks[1])[0].strip()


def comparison(found: list[Result]) -> str:
    """Some rows of the table, with those that we are compared with as columns."""
    rows = {result.name: result for result in found}
    lines = [f"| | chanlink | {' | '.join(COMPARED)} |", "| --- " * (len(COMPARED) + 2) + "|"]
    for name, what in COMPARED_ROWS.items():
        row = rows[name]
        sides = [row.runs.get(side) for side in ("", *(PEERS.get(peer, peer) for peer in COMPARED))]
        lines.append(f"| {what} | {' | '.join(_median(row, side) for side in sides)} |")
    return "\n".join(lines)


def _median(row: Result, side: Runs | None) -> str:
    if side is None or side.error or not side.values:
        return ""
    return f"{results.short(statistics.median(side.values))} {row.unit}"


def measured_on(about: dict[str, Any]) -> str:
    return (
        f"Measured at {about['at']} on {about['cores']} cores, CPython {about['python']}, {about['on']}; load average"
        f" before the run {about['load before']:.1f}. The run took {about['seconds'] / 60:.0f} minutes."
    )


def _compact(table: str) -> str:
    """Without the spaces that align it."""
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return "\n".join("| " + " | ".join("---" if set(cell) == {"-"} else cell for cell in row) + " |" for row in rows)
