"""``python -m tests.bench [NAME ...]``: all rows, or those named, as one table and as JSON in bench-results/."""

import argparse
import cProfile
import json
import logging
import platform
import pstats
import sys
import time
from pathlib import Path

from . import channels, handshakes, messages, rexec, traps
from .harness import ROOT, Bench, Missing, Result, Row, measure, table

GROUPS = (rexec, messages, channels, handshakes, traps)
RESULTS = ROOT / "bench-results"
SERVER_PROFILE = RESULTS / "server.prof"


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.ERROR)
    RESULTS.mkdir(exist_ok=True)
    with Bench(profile_server=SERVER_PROFILE if arguments.profile_server else None) as bench:
        rows = [row for group in GROUPS for row in group.rows(bench) if _wanted(row, arguments.names)]
        if not rows:
            print("no such row; --list lists them", file=sys.stderr)
            return 2
        if arguments.list:
            print("\n".join(f"{row.name:26} {row.what}" for row in rows))
            return 0
        if arguments.profile:
            for row in rows:
                _profile(row)
            return 0
        results = _measure(rows, arguments.quick)
    print(table(results))
    if arguments.profile_server:
        _show(SERVER_PROFILE)
    else:
        _save(results)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="rows or groups of rows: 'roundtrip', 'roundtrip/trio'")
    parser.add_argument("--list", action="store_true", help="list the rows and leave")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--profile", action="store_true", help="profile the client of the named rows instead")
    parser.add_argument("--profile-server", action="store_true", help="profile the server of the named rows instead")
    return parser.parse_args()


def _wanted(row: Row, names: list[str]) -> bool:
    return not names or any(row.name == name or row.name.startswith((name + "/", name + "-")) for name in names)


def _measure(rows: list[Row], quick: bool) -> list[Result]:
    results = []
    for row in rows:
        _progress(row.name)
        results.append(measure(row, min(row.repeats, 2) if quick else row.repeats))
    _progress("")
    return results


def _progress(name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{name:40}\r", end="", file=sys.stderr, flush=True)


def _save(results: list[Result]) -> None:
    about = {"at": time.strftime("%Y-%m-%dT%H:%M:%S"), "python": platform.python_version(), "on": platform.platform()}
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({**about, "rows": [result.as_json() for result in results]}, indent=1))
    print(f"\n{path.relative_to(ROOT)}")


def _profile(row: Row) -> None:
    """Run the client of a row once under cProfile."""
    print(f"{row.name}: {row.what}")
    path = RESULTS / "client.prof"
    try:
        row.ours()  # starts servers and fills caches
        if row.profile is not None:
            row.profile(path)
        else:
            profiler = cProfile.Profile()
            profiler.runcall(row.ours)
            profiler.dump_stats(path)
    except Missing as exc:
        print(exc)
    else:
        _show(path)


def _show(path: Path) -> None:
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    sys.exit(main())
