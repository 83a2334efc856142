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


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1970-01-01 00:00:00 UTC"), (2**63, "the end of time"), (2**64 - 1, "the end of time")]
)
def test_any_moment_is_a_text(seconds: int, text: str) -> None:
    assert clock.as_text(seconds) == text


def test_where_clocks_differ_ours_says_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.9)
    assert clock.which_is_wrong().endswith("ours says 2027-01-15 08:00:00 UTC")


def test_the_time_of_day_comes_in_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 7.9)
    assert clock.since_1970() == 7
