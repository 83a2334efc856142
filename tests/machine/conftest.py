"""The machine has its own way with the collection of garbage; the tests after it find theirs again."""

from collections.abc import Iterator

import pytest

from tests.conftest import keep_tests_apart


@pytest.fixture(scope="package", autouse=True)
def _tests_are_kept_apart_again() -> Iterator[None]:
    yield
    keep_tests_apart()
