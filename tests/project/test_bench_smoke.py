"""What `make bench-smoke` says of figures; measuring is another matter, and no test."""

from collections.abc import Callable, Iterator

import pytest

from tests.bench.results import Goal, Result, Runs
from tests.bench.smoke import check

pytestmark = pytest.mark.slow

BASELINE = {"steady": 2.0, "other": 0.5}


def figures(**of: list[float | None]) -> Callable[[str], float | None]:
    """Measurements that have been made up: of each row one after the other."""
    left: dict[str, Iterator[float | None]] = {name: iter(values) for name, values in of.items()}
    return lambda name: next(left[name])


def result(*, less_is_better: bool, ours: list[float], theirs: list[float], error: str = "") -> Result:
    runs = {"": Runs(ours), "them": Runs(theirs, error=error)}
    return Result("row", "", "us", less_is_better, [Goal("<=", 1.5, "them"), Goal(">=", 100)], runs)


def test_what_fell_by_more_than_a_quarter_every_time_fails_by_name() -> None:
    said: list[str] = []
    assert check(BASELINE, figures(steady=[1.4, 1.49, 1.3], other=[0.5]), said.append) == ["steady"]
    assert "1.490" in said[0]
    assert "FELL" in said[0]
    assert "FELL" not in said[1]


def test_what_fell_only_once_is_measured_again_and_passes() -> None:
    assert check(BASELINE, figures(steady=[1.0, 1.0, 1.9], other=[0.3, 0.4]), str) == []


def test_a_quarter_less_and_any_gain_pass_at_once() -> None:
    assert check(BASELINE, figures(steady=[1.5], other=[5.0]), str) == []


def test_a_peer_that_is_missing_is_skipped_by_name() -> None:
    said: list[str] = []
    assert check(BASELINE, figures(steady=[None], other=[0.1, None, None]), said.append) == ["other"]
    assert "steady" in said[0]
    assert "skipped" in said[0]


def test_an_advantage_is_more_when_we_are_better_whatever_the_unit() -> None:
    fast = result(less_is_better=True, ours=[10, 20, 30], theirs=[40, 40, 40])
    assert fast.advantage("them") == pytest.approx(2.0)
    assert result(less_is_better=False, ours=[10, 20, 30], theirs=[40, 40, 40]).advantage("them") == pytest.approx(0.5)
    assert fast.advantage("nobody") is None
    assert result(less_is_better=True, ours=[10], theirs=[], error="gone").advantage("them") is None


def test_a_goal_is_about_our_figure_or_its_ratio_to_a_peer_and_a_miss_is_told() -> None:
    slow = result(less_is_better=True, ours=[80, 80], theirs=[40, 40])
    assert slow.missed() == ["row: <= 1.5 x them", "row: >= 100"]
    assert result(less_is_better=True, ours=[100, 100], theirs=[90, 90]).missed() == []
    assert result(less_is_better=True, ours=[100], theirs=[], error="gone").met(Goal("<=", 1.5, "them")) is None


def test_a_side_that_fails_has_no_figures_and_is_told_with_the_missed_goals() -> None:
    broken = result(less_is_better=True, ours=[10], theirs=[])
    broken.runs["them"] = Runs(error="failed: no answer", failed=True)
    assert broken.missed() == ["row: them failed: no answer", "row: >= 100"]
    assert broken.advantage("them") is None
