"""Kill so many times, and say what was seen. The status is 1 when an answer was wrong, or was lost."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import anyio

from tests.command.calls import make_keys
from tests.etcd import new_cluster

from .campaign import Campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.directory_kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="how often something is killed (default: 30)")
    parser.add_argument("--readers", type=int, default=8, help="who look up at the same time (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when (default: 0)")
    options = parser.parse_args()
    logging.disable()  # each session that was lost
    with tempfile.TemporaryDirectory() as home, new_cluster(3) as cluster:
        campaign = Campaign(make_keys(Path(home)), cluster, options.seed)
        outcome = anyio.run(campaign.run, options.rounds, options.readers, 1.0)
    print(
        f"{options.rounds} killed; {outcome.lookups:,} lookups in {outcome.seconds:.0f} s, "
        f"{outcome.lookups / outcome.seconds:,.0f} a second, of which {outcome.retried:,} were asked twice; "
        f"{outcome.registered:,} registered; {len(outcome.wrong)} wrong, {len(outcome.lost)} lost"
    )
    for problem in [*outcome.wrong, *outcome.lost][:20]:
        print(problem)
    return 1 if outcome.wrong or outcome.lost else 0


if __name__ == "__main__":
    sys.exit(main())
