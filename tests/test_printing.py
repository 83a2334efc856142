"""Words of others as they may stand on a terminal and in a log."""

import io
import logging
import re
import traceback

import pytest

import chanlink
from chanlink.command.actions import benchmark, forwarding
from chanlink.printing import CHAIN_MAX, printable, printable_logger, printable_traceback
from examples.rexec.logs import logger as rexec_logger
from tests.kinds.hostile import EVIL, assert_harmless
from tests.rexec.servers import ROOT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("größer, 長い", "größer, 長い"),
        ("\x1b[2J", "\\x1b[2J"),
        ("one\ntwo", "one\\ntwo"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udc80", "\\udc80"),
        ("a \\ and a '", "a \\ and a '"),
    ],
)
def test_what_cannot_be_printed_becomes_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert shown.isprintable()


def _raise_all(text: str) -> None:
    error = ValueError(text)
    error.add_note(text)
    try:
        try:
            raise error
        except ValueError as exc:
            raise ExceptionGroup(text, [RuntimeError(text), ExceptionGroup(text, [OSError(5, text, text)])]) from exc
    except Exception:
        raise SyntaxError(text, (text, 1, 1, text, 1, 2)) from None


def test_what_a_service_fails_with_is_harmless_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever writes a service raises what a peer said, sooner or later; all loggers of the library are like that."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger = printable_logger("chanlink.kinds")
    logger.addHandler(handler)
    try:
        for raising in (_raise_all, int, {}.__getitem__):
            try:
                raising(EVIL)
            except Exception:
                logger.exception("the service %s failed for %s", EVIL, "alice")
    finally:
        logger.removeHandler(handler)
    assert_harmless(out.getvalue(), "a log")
    assert out.getvalue().count("Traceback (most recent call last):") >= 3
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [SyntaxError, ValueError, KeyError]


def test_a_traceback_is_as_long_as_pythons_and_ends() -> None:
    error: Exception | None = None
    for number in range(3):
        try:
            raise ValueError(f"number {number}") from error
        except ValueError as exc:
            error = exc
    assert error is not None
    ours, python = printable_traceback(error), "".join(traceback.format_exception(error))
    for line in python.splitlines():
        if line and "cause" not in line:
            assert line in ours
    error.__cause__.__cause__.__cause__ = error  # type: ignore[union-attr]
    assert printable_traceback(error).count("number 2") == 1
    for number in range(1000):
        before, error = error, RuntimeError(str(number))
        error.__cause__ = before
    assert printable_traceback(error).count("RuntimeError") == CHAIN_MAX


def test_every_logger_is_printable() -> None:
    """A module that makes a logger of its own would be one that nobody has thought of."""
    made = {}
    for path in [*(ROOT / "chanlink").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]:
        for line in re.findall(r"^.*getLogger.*$", path.read_text(), re.MULTILINE):
            made.setdefault(path.name, []).append(line.strip())
    assert set(made) == {
        "printing.py",
        "logs.py",
        "sessions.py",
        "benchmark.py",
        "forwarding.py",
        "daemon_process.py",  # what it logs is made printable by its handlers
    }, made
    for logger in (
        *map(
            logging.getLogger,
            (
                "chanlink.session.session",
                "chanlink.session.driver",
                "chanlink.session.services",
                "chanlink.session.listening",
                "chanlink.session.greeter",
            ),
        ),
        benchmark.logger,
        forwarding.logger,
        rexec_logger,
    ):
        assert [one for one in logger.filters if isinstance(one, chanlink.PrintableLog)], logger
