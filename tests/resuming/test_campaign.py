"""A short run of the campaign, by plans that hypothesis draws and shortens; `make resume-kills` is a long one."""

import random
from collections import Counter
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chanlink.security.resuming.ledger import Ledger
from tests.conftest import BACKENDS

from .acts import KINDS, Act
from .campaign import KEPT, Plan, kills, play, renewing

acts = st.builds(Act, st.sampled_from(KINDS), st.booleans(), st.integers(0, 30_000), st.floats(0, 1))
plans = st.builds(
    Plan, st.integers(0, 1_000), st.lists(acts, min_size=1, max_size=8), st.integers(0, 2), st.sampled_from(KEPT)
)


def run(plan: Plan, backend: tuple[str, dict[str, Any]]) -> Counter[str]:
    name, options = backend
    return anyio.run(play, plan, backend=name, backend_options=options)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_lost_doubled_or_turned_round_whatever_is_done_to_connections(
    backend: tuple[str, dict[str, Any]],
) -> None:
    done: Counter[str] = Counter()

    @settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(plans)
    def sessions(plan: Plan) -> None:
        done.update(run(plan, backend))

    sessions()
    assert kills(done) >= 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_keys_may_be_renewed_all_the_time_meanwhile(backend: tuple[str, dict[str, Any]]) -> None:
    chance = random.Random(0)
    plan = Plan(
        0, [Act("reset", chance.random() < 0.5, chance.randrange(100_000, 500_000), 0.0) for _ in range(10)], 1, KEPT[1]
    )
    with renewing():
        done = run(plan, backend)
    assert done["epochs"] > done["connections"]


@pytest.mark.parametrize("wrong", [-1, 1], ids=["too early", "too late"])
def test_it_would_notice_what_is_sent_again_from_a_wrong_place(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Ledger.send_again
    monkeypatch.setattr(Ledger, "send_again", lambda ledger, count: right(ledger, count + wrong))
    plan = Plan(0, [Act("reset", True, 20_000 + 1_000 * n, 0.0) for n in range(5)], 0, KEPT[-1])
    with pytest.raises(BaseExceptionGroup):
        run(plan, ("asyncio", {}))
