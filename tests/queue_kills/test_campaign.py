"""The short form of ``make queue-kills``: the same bad days each time, though not in the same moments."""

from pathlib import Path

import pytest

from tests.bench.meter import LINUX

from .campaign import campaign
from .database import is_here

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not LINUX, reason="kills and stops processes as Linux does")]


@pytest.mark.parametrize("store", ["memory", "sqlite", "postgres"])
def test_each_job_has_one_outcome_whatever_happens_to_its_queue_and_its_workers(store: str, tmp_path: Path) -> None:
    if store == "postgres" and not is_here():
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    report = campaign(tmp_path / "campaign", store, rounds=3, seed="short")
    assert report.jobs > 0
    assert report.outcomes["done"] > 0
    assert report.attempts >= report.outcomes["done"]
