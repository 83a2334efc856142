"""``python -m tests.rolling [--rate 1000] [--servers 6] [--seconds 5] [--links 4] [--backend asyncio]``."""

import argparse
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import anyio

from .rolling import roll


def main() -> None:
    parser = argparse.ArgumentParser("tests.rolling")
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--servers", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--links", type=int, default=4)
    parser.add_argument("--backend", default="asyncio")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rolling-") as folder:
        seen = anyio.run(partial(roll, Path(folder), **vars(options)), backend=options.backend)
    for number, count in sorted(seen.by_server.items()):
        print(f"{count:6} calls by server {number}")
    total = seen.by_server.total()
    print(f"{total} calls, {total / seen.seconds:.0f} a second; the longest took {seen.longest * 1e3:.0f} ms")
    print(f"{len(seen.lost)} lost")
    if seen.lost:
        for what, count in Counter(map(repr, seen.lost)).items():
            print(f"{count:6} {what}")
        sys.exit(1)


if __name__ == "__main__":
    main()
