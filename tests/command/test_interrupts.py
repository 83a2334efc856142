"""Signals: what ends the command, what is an exception in it, and what it leaves ignored.

Whole programs and every signal are tried in ``tests/kinds/test_signals.py``.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator

import anyio
import pytest

from chanlink.command.interrupts import ENDING, heeded, heeding, let_interrupts_end_us, let_interrupts_raise
from tests.command.calls import ROOT


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Whatever a test does to signals ends with it."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


FIRST = """
import os, sys
before = set(sys.modules)
sys.path.insert(0, "")
import {module}
print(*(name for name in set(sys.modules) - before if not "{module}".startswith(name)))
"""


@pytest.mark.parametrize("module", ["chanlink_command", "examples.rexec.cli.interrupts"])
def test_before_it_is_said_what_an_interrupt_does_nothing_is_imported_that_takes_time(module: str) -> None:
    """Python alone has begun, without what environments add to it: whatever comes meanwhile is a traceback."""
    command = [sys.executable, "-I", "-S", "-c", FIRST.format(module=module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_was_ignored_is_not_heeded() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert heeded(signal.SIGHUP, signal.SIGTERM) == [signal.SIGTERM]


def test_an_interrupt_ends_us_or_is_an_exception_and_if_it_was_ignored_neither() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    let_interrupts_end_us()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    let_interrupts_raise()
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_interrupts_end_us()
    let_interrupts_raise()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.anyio
async def test_signals_are_told_and_those_that_were_ignored_are_not() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with heeding(signal.SIGHUP, signal.SIGTERM) as signals:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert await anext(signals) == signal.SIGTERM
    with heeding(signal.SIGHUP) as signals:  # nothing at all is left
        signal.raise_signal(signal.SIGHUP)
        with anyio.move_on_after(0.01) as scope:
            await anext(signals)
        assert scope.cancelled_caught


def test_to_die_of_a_signal_is_to_have_died_of_it() -> None:
    program = "import signal; from chanlink.command.interrupts import die_of; die_of(signal.SIGTERM)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -signal.SIGTERM
