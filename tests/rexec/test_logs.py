"""The log of all modules."""

import logging
from collections.abc import Iterator

import pytest

import chanlink
from examples.rexec.logs import log_problems_only, logger


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    chanlinks = logging.getLogger("chanlink")
    handlers, filters = chanlinks.handlers[:], logging.lastResort.filters[:] if logging.lastResort else []
    yield
    chanlinks.handlers[:] = handlers
    if logging.lastResort:
        logging.lastResort.filters[:] = filters


def test_what_the_other_side_has_said_is_printable_there(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("%s sent a bad request", "\x1b[31malice\n")
    assert "\x1b" not in caplog.messages[0]
    assert "\n" not in caplog.messages[0]


def test_a_client_logs_nothing_of_chanlink_on_its_own_but_what_others_log() -> None:
    log_problems_only()
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("chanlink").handlers)
    assert logging.lastResort is not None
    assert any(isinstance(one, chanlink.PrintableLog) for one in logging.lastResort.filters)
