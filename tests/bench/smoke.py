"""``python -m tests.bench.smoke``: has something become slower? Compares with baseline.json, in under a minute.

What is compared is how many times better or worse than a peer we are, both measured in turn in the same run: the
machine matters little. One that fell by more than a quarter is measured again, twice at most, and then fails by name.
``--renew`` writes a new baseline.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from .harness import Bench, Row, measure
from .works import all_rows

BASELINE = Path(__file__).with_name("baseline.json")
COMPARED = {
    "rexec-in": "pump over TCP, not encrypted",
    "true": "asyncssh",
    "true-cold": "an interpreter with anyio",
    "bytes-aegis256/trio": "TCP",
    "bytes-chachapoly/trio": "TCP",
    "large-1m/asyncio": "pyzmq CURVE, blocking",
    "one-way/asyncio": "TCP, one by one",
    "one-way-for/uvloop": "pyzmq CURVE, asyncio",
    "one-way-tasks/trio": "pyzmq CURVE, asyncio",
    "nested-data-list-of-maps/asyncio": "a flat map",
    "round-trip-tcp/asyncio": "anyio, TCP",
    "round-trip-tcp/uvloop": "anyio, TCP",
    "round-trip-unix/trio": "anyio, a Unix socket",
    "nested/asyncio": "grpc.aio",
    "nested-100/trio": "grpc.aio",
    "connect/asyncio": "anyio, TCP",
    "pipe-64/asyncio": "anyio memory stream",
    "pipe-64/trio": "anyio memory stream",
}
"""The rows, and the peer of each."""
FALL = 0.25
RETRIES = 2
SCALE = 0.25
REPEATS = 5
ROUNDS = 3
"""Of measuring, for a new baseline."""


class Compared(NamedTuple):
    """A row beside the baseline. Figures are advantages: how many times better than the peer we are."""

    name: str
    before: float
    now: float | None
    """None when it could not be measured."""

    @property
    def fell(self) -> bool:
        return self.now is not None and self.now < self.before * (1 - FALL)

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.name:26} skipped: not measured here"
        change = self.now / self.before - 1
        return f"{self.name:26} {self.before:8.3f} -> {self.now:8.3f}  {change:+5.0%}  {'FELL' if self.fell else 'ok'}"


def compare(name: str, before: float, advantage: Callable[[str], float | None]) -> Compared:
    """Measure a row, and again while it seems to have fallen: the best counts."""
    best = Compared(name, before, advantage(name))
    for _ in range(RETRIES):
        if best.now is None or not best.fell:
            break
        best = best._replace(now=max(best.now, advantage(name) or 0.0))
    return best


def check(
    baseline: Mapping[str, float], advantage: Callable[[str], float | None], say: Callable[[str], object]
) -> list[str]:
    """Compare all; returns the names of those that fell."""
    fell = []
    for name, before in baseline.items():
        compared = compare(name, before, advantage)
        say(str(compared))
        if compared.fell:
            fell.append(name)
    return fell


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.smoke", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these rows")
    parser.add_argument("--renew", action="store_true", help="write a new baseline")
    options = parser.parse_args()
    names = options.names or list(COMPARED)
    if unknown := set(names) - set(COMPARED):
        parser.error(f"not compared: {', '.join(unknown)}; there are {', '.join(COMPARED)}")
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    rows = {row.name: row for row in all_rows()}
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    with Bench(scale=SCALE) as bench:

        def advantage(name: str) -> float | None:
            return _advantage(bench, rows[name], COMPARED[name])

        if options.renew:
            return _renew(baseline, names, advantage)
        wanted = {name: before for name, before in baseline.items() if name in names}
        fell = check(wanted, advantage, lambda line: print(line, flush=True))
    if fell:
        print(f"fell by more than {FALL:.0%}: {', '.join(fell)}", file=sys.stderr)
        if load > cores / 2:
            print(f"but the load average was {load:.1f} before: try again when nothing else runs", file=sys.stderr)
    return 1 if fell else 0


def _advantage(bench: Bench, row: Row, peer: str) -> float | None:
    """Without the row's other peers; none at all if we fail."""
    alone = dataclasses.replace(row, peers={peer: row.peers[peer]}, goals=())
    result = measure(bench, alone, REPEATS)
    for label, runs in result.runs.items():
        if runs.error:
            print(f"{row.name}: {label or 'ours'}: {runs.error}", file=sys.stderr)
    return 0.0 if result.runs[""].failed else result.advantage(peer)


def _renew(baseline: dict[str, float], names: list[str], advantage: Callable[[str], float | None]) -> int:
    """The median of several rounds, lest a lucky one set the mark."""
    for name in names:
        rounds = [advantage(name) for _ in range(ROUNDS)]
        figures = [figure for figure in rounds if figure is not None]
        if not figures:
            print(f"{name} was not measured, and stays as it was", file=sys.stderr)
            continue
        baseline[name] = round(statistics.median(figures), 3)
        print(f"{name:26} {baseline[name]:8.3f}", flush=True)
    kept = {name: baseline[name] for name in COMPARED if name in baseline}
    BASELINE.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
