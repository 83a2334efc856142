"""`make machine STEPS=100000`: as many steps, shared between the three backends, and the figures."""

import argparse
import logging
import time
from collections import Counter
from itertools import cycle, product

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.conftest import BACKENDS

from .driver import Plan, plans, run

ROUND = 250
"""Plans that hypothesis draws at a time."""


def one_round(backend: str, options: dict[str, object], sealed: bool, seed: int) -> Counter[str]:
    total: Counter[str] = Counter()

    @hypothesis.seed(seed)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(plans)
    def machine(plan: Plan) -> None:
        total.update(run(plan, backend, sealed=sealed, **options))
        total["plans"] += 1

    machine()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each has the next one")
    arguments = parser.parse_args()
    logging.getLogger("chanlink").addHandler(logging.NullHandler())  # cut sessions are no news
    total: Counter[str] = Counter()
    began = time.monotonic()
    for number, (sealed, backend) in enumerate(cycle(product((False, True), BACKENDS))):
        name, options = backend.values[0]  # type: ignore[misc]
        counts = one_round(name, options, sealed, arguments.seed + number)
        total += counts
        total[f"steps on {backend.id}"] += counts["steps"]
        total["steps over sockets, in records"] += sealed * counts["steps"]
        print(f"{total['steps']:>9,} steps, {time.monotonic() - began:.0f} s", flush=True)
        if total["steps"] >= arguments.steps:
            break
    for what, count in sorted(total.items()):
        print(f"{count:>12,}  {what}")
    print("no promise was broken")


if __name__ == "__main__":
    main()
