"""``python -m tests.kills [--rounds 500] [--seed N]``."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from .campaign import campaign


def main() -> None:
    parser = argparse.ArgumentParser("tests.kills")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rexec-kills-") as folder:
        seen = campaign(Path(folder), options.rounds, options.seed)
    for what, count in sorted(seen.items()):
        print(f"{count:5}  {what}")
    print(f"{sum(seen.values())} rounds in {time.monotonic() - began:.0f} s: no process left, no gap, no wrong status")


if __name__ == "__main__":
    main()
