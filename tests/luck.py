"""Chance in the tests: another one each time by hand, the same each time in CI.

There a change is not to fail for the day's luck; by hand, luck may find something. CI is where the variable ``CI`` is
set, as `.ci/run` and most forges do; hypothesis goes by it, too, and takes its profile ``ci``. When processes and
threads get their turns stays luck: no test may depend on that.
"""

import os
import random

import pytest
from trio._core import _run as trio_run


def in_ci() -> bool:
    return "CI" in os.environ


def same_luck(name: str) -> None:
    """Begin a test with the dice of its name: those of `random`, and those by which trio chooses the next task."""
    random.seed(name)
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio_run._r.seed(name)


def pytest_runtest_call(item: pytest.Item) -> None:
    """After the fixtures: those of a module are made for the first of its tests that runs."""
    if in_ci():
        same_luck(item.nodeid)
