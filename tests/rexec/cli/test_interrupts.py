"""Ctrl-C, and how a program ends by a signal."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from examples.rexec.cli.interrupts import let_interrupts_end_us, let_interrupts_raise
from tests.rexec.servers import ROOT


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_they_end_us_and_raise_again() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    let_interrupts_end_us()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    let_interrupts_raise()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_interrupts_end_us()
    let_interrupts_raise()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGPIPE])
def test_a_process_ends_by_the_signal_that_it_dies_of(number: signal.Signals) -> None:
    code = f"from examples.rexec.cli.interrupts import die_of\ndie_of({number:d})"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -number


def test_one_that_is_blocked_is_a_status_as_in_a_shell() -> None:
    block = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2])\n"
    code = f"{block}from examples.rexec.cli.interrupts import die_of\ndie_of(2)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 130
