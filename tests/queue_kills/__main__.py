"""``python -m tests.queue_kills [--rounds 100] [--seed N] [STORE ...]``."""

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path

from .campaign import QUEUES, campaign


def main() -> None:
    parser = argparse.ArgumentParser("tests.queue_kills")
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(QUEUES)}; all, if none is named")
    parser.add_argument("--rounds", type=int, default=100, help="how often something bad happens to each")
    parser.add_argument("--seed", default=str(random.randrange(1_000_000)))
    options = parser.parse_args()
    if unknown := set(options.stores) - set(QUEUES):
        parser.error(f"no such store: {', '.join(unknown)}")
    print(f"seed {options.seed}", flush=True)
    for store in options.stores or QUEUES:
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix=f"chanlink-{store}-kills-"))
        print(f"{store}: {folder}, which is kept if a promise is broken", flush=True)
        report = campaign(folder, store, options.rounds, options.seed)
        shutil.rmtree(folder)
        took = time.monotonic() - began
        print(f"{store}: {report.jobs} jobs, {report.attempts} attempts, each job with one outcome ({took:.0f} s)")
        for name, counts in (("outcomes", report.outcomes), ("happened", report.happened)):
            print(f"  {name}: {', '.join(f'{count} {what}' for what, count in counts.most_common())}", flush=True)


if __name__ == "__main__":
    main()
