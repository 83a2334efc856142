"""``python -m tests.resuming [--kills 10000] [--seed N] [--at-once 8] [--backend trio]``: on all three by default."""

import argparse
import logging
import random
import time
from collections import Counter
from functools import partial

import anyio

from tests.conftest import BACKENDS

from .campaign import campaign, kills, renewing

RENEWING = 10**7
"""Seeds of sessions that renew their keys all the time are so much higher."""


def main() -> None:
    parser = argparse.ArgumentParser("tests.resuming")
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--at-once", type=int, default=8, help="sessions")
    parser.add_argument("--backend", choices=[each.id for each in BACKENDS])
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    logging.getLogger("chanlink").addHandler(logging.NullHandler())  # broken connections are no news
    backends = [each for each in BACKENDS if options.backend in (None, each.id)]
    total: Counter[str] = Counter()
    for backend in backends:
        began = time.monotonic()
        name, backend_options = backend.values[0]  # type: ignore[misc]
        run = partial(campaign, options.kills // len(backends) // 2 + 1, at_once=options.at_once)
        seen = anyio.run(run, options.seed, backend=name, backend_options=backend_options)
        with renewing():
            seen += anyio.run(run, options.seed + RENEWING, backend=name, backend_options=backend_options)
        print(f"{backend.id}: {kills(seen):,} kills in {time.monotonic() - began:.0f} s", flush=True)
        total += seen
    for what, count in sorted(total.items()):
        print(f"{count:>15,}  {what}")
    print("nothing was lost, doubled or out of order; nobody else came in; all sessions ended in order")


if __name__ == "__main__":
    main()
