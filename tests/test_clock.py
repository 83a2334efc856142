"""The clock of sessions."""

import sys
import time

import pytest

from chanlink import clock


def test_it_never_goes_back_and_is_not_the_time_of_day() -> None:
    times = [clock.now() for _ in range(1_000)]
    assert times == sorted(times)
    assert times[-1] < time.time()


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="there is no clock that runs through a suspension")
def test_it_runs_on_while_the_machine_is_suspended() -> None:
    """The system says which clock does that: on Linux one counts the time of suspensions, too."""
    which = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
    before = time.clock_gettime(which)
    now = clock.now()
    assert before <= now <= time.clock_gettime(which)


def test_the_time_of_day_comes_in_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 7.9)
    assert clock.since_1970() == 7
