"""A few of the kills at random moments; ``make kills`` has hundreds."""

import sys
import tempfile
from pathlib import Path

import pytest

from tests.kills.campaign import campaign


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_kills_at_random_moments_leave_no_process_no_gap_and_no_wrong_status() -> None:
    with tempfile.TemporaryDirectory(prefix="rexec-kills-") as folder:
        seen = campaign(Path(folder), 16, seed=24)
    assert sum(seen.values()) == 16
    assert len(seen) > 4, seen
