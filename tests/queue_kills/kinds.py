"""What the jobs are, by their ids: whoever brings one again brings the same."""

import random

SHARES = {
    "quick": 60,
    "slow": 12,
    "attached": 8,
    "silent": 6,
    "flaky": 5,
    "again": 5,
    "bad": 4,
}
"""How many in a hundred, and none of the deadly ones: of these there is one now and then."""
DEADLY = "deadly"
EVERY = 150
"""One in so many is deadly, since each kills some workers."""
CANCELLED = 0.03


def kind_of(job: str, number: int, seed: str) -> str:
    """`number` is that of the job."""
    if number % EVERY == EVERY - 1:
        return DEADLY
    return random.Random(f"{seed} {job}").choices(list(SHARES), list(SHARES.values()))[0]


def is_cancelled(job: str, seed: str) -> bool:
    """Whether its submitter cancels it."""
    return random.Random(f"{seed} {job} cancelled").random() < CANCELLED
