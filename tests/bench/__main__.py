"""``python -m tests.bench [NAME ...]``: all rows, or those named, as one table and as JSON in bench-results/.

Those of capacity have to be named.
"""

import argparse
import cProfile
import os
import platform
import pstats
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import page, results
from .ends import ROOT
from .harness import Bench, Row, Task, measure
from .meter import Missing
from .results import Result
from .works import all_rows
from .works.capacity import CAPACITY, PREFIX

RESULTS = ROOT / "bench-results"
QUICK = 0.2

EXAMPLES = """\
examples:
  python -m tests.bench --list                     the names of all rows
  python -m tests.bench round-trip-tcp true        some of them; a name stands for all that begin with it
  python -m tests.bench --quick one-way/trio       less work and two runs: a first impression
  python -m tests.bench --profile bytes-aegis256/trio
  python -m tests.bench --page                     everything, and renew docs/explanation/performance.md
  python -m tests.bench capacity --page            what clients cost a server, and renew docs/explanation/capacity.md
  python -m tests.bench --from bench-results/A.json bench-results/B.json --page
"""


def main() -> int:
    options = _parse()
    if options.saved:
        about, found = _saved(options.saved)
    else:
        rows = [row for row in all_rows() if _wanted(row.name, options.names)]
        if not rows:
            print("no such row; --list lists them", file=sys.stderr)
            return 2
        if options.list or options.profile or options.profile_server:
            for row in rows:
                print(f"{row.name:32} {row.what}")
                if not options.list:
                    _profile(row, server=options.profile_server)
            return 0
        about, found = _measured(rows, options.quick)
    print(results.table(found))
    if not about["complete"]:
        print("interrupted: the other rows were not measured", file=sys.stderr)
        return 130
    if options.page:
        write = page.write_capacity if options.names == [CAPACITY] else page.write_table
        write(about, found)
    return _check(found) if options.check else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows, or what their names begin with")
    parser.add_argument("--list", action="store_true", help="list the rows and leave")
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, and two runs of each")
    parser.add_argument("--check", action="store_true", help="list the goals that were missed, and exit with status 1")
    parser.add_argument("--page", action="store_true", help="put the tables into the pages of docs/explanation")
    parser.add_argument(
        "--from",
        dest="saved",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="take saved results instead of measuring; of a row that is in several files, the last one",
    )
    parser.add_argument("--profile", action="store_true", help="profile our client in the named rows instead")
    parser.add_argument("--profile-server", action="store_true", help="profile our server in the named rows instead")
    options = parser.parse_args()
    if options.page and not options.saved and (options.names not in ([], [CAPACITY]) or options.quick):
        parser.error("--page needs all rows in full, or all of capacity: or join saved results by --from")
    return options


def _wanted(name: str, wanted: Sequence[str]) -> bool:
    if not wanted:
        return not name.startswith(PREFIX)
    return any(name == one or name.startswith((one + "/", one + "-")) for one in wanted)


# --- measuring ----------------------------------------------------------------------------------


def _measured(rows: list[Row], quick: bool) -> tuple[dict[str, Any], list[Result]]:
    began = time.monotonic()
    about = {
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        "on": platform.platform(),
        "cores": os.cpu_count(),
        "load before": os.getloadavg()[0],
        "quick": quick,
    }
    found: list[Result] = []
    with Bench(scale=QUICK if quick else 1.0) as bench, suppress(KeyboardInterrupt):  # what there is by then is kept
        for row in rows:
            _progress(f"{len(found) + 1}/{len(rows)} {row.name}")
            found.append(measure(bench, row, min(row.repeats, 2) if quick else row.repeats))
    _progress("")
    about["complete"] = len(found) == len(rows)
    about["seconds"] = round(time.monotonic() - began)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    results.save(path, about, found)
    print(f"{path.relative_to(ROOT)} ({about['seconds']} s)\n")
    return about, found


def _saved(paths: list[Path]) -> tuple[dict[str, Any], list[Result]]:
    """The results of several runs joined; what they were measured on is that of the first."""
    runs = [results.load(path) for path in paths]
    found = {result.name: result for _, some in runs for result in some}
    return {**runs[0][0], "complete": True}, list(found.values())


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:60}\r", end="", file=sys.stderr, flush=True)


def _check(found: list[Result]) -> int:
    missed = [line for result in found for line in result.missed()]
    print(f"\n{len(missed)} goals missed" + "".join(f"\n  {line}" for line in missed))
    return 1 if missed else 0


# --- profiles -----------------------------------------------------------------------------------


def _profile(row: Row, *, server: bool) -> None:
    """Run our side of a row once under cProfile, and show where the time of one end went."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "profile.prof"
    path.unlink(missing_ok=True)
    try:
        if isinstance(row.ours, Task):
            with Bench(profile_server=path) if server else Bench(profile=path) as bench:
                bench.run(row.ours, 0)
        else:
            profiler = cProfile.Profile()
            profiler.runcall(row.ours)
            profiler.dump_stats(path)
    except Missing as exc:
        print(exc)
    else:
        pstats.Stats(str(path)).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    sys.exit(main())
