"""``python -m tests.bench [NAME ...]``: all rows, or those named, as one table and as JSON in bench-results/."""

import argparse
import json
import os
import platform
import pstats
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import results
from .ends import ROOT
from .harness import Bench, Row, measure
from .meter import Missing
from .results import Result
from .works import bulk, commands, crowded, handshakes, mixed, one_way, pipes, round_trip, slow_link, traps

WORKS = (commands, one_way, bulk, round_trip, mixed, slow_link, crowded, pipes, handshakes, traps)
RESULTS = ROOT / "bench-results"
QUICK = 0.2


def main() -> int:
    options = _parse()
    RESULTS.mkdir(exist_ok=True)
    rows = [row for work in WORKS for row in work.rows() if _wanted(row, options.names)]
    if not rows:
        print("no such row; --list lists them", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{row.name:26} {row.what}" for row in rows))
        return 0
    found = _measure(rows, options.quick)
    print(results.table(found))
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    results.save(path, _about(options.quick), found)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="rows or groups of rows: 'roundtrip', 'roundtrip/trio'")
    parser.add_argument("--list", action="store_true", help="list the rows and leave")
    parser.add_argument("--quick", action="store_true", help="less work, and no repetitions")
    return parser.parse_args()


def _wanted(row: Row, names: Sequence[str]) -> bool:
    return not names or any(row.name == name or row.name.startswith((name + "/", name + "-")) for name in names)


def _measure(rows: list[Row], quick: bool) -> list[Result]:
    found = []
    with Bench(scale=QUICK if quick else 1.0) as bench:
        for row in rows:
            _progress(row.name)
            found.append(measure(bench, row, min(row.repeats, 2) if quick else row.repeats))
    _progress("")
    return found


def _progress(name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{name:40}\r", end="", file=sys.stderr, flush=True)


def _about(quick: bool) -> dict[str, object]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "python": platform.python_version(),
        "on": platform.platform(),
        "quick": quick,
    }


if __name__ == "__main__":
    sys.exit(main())
