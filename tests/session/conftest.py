"""What tests of sessions share."""

import pytest


@pytest.fixture
def one_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the hello is the same everywhere; security/test_suites.py has the others."""
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")
