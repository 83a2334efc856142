"""Signals that are heeded."""

import os
import signal

import anyio
import pytest

from examples.rexec.cli.signals import heeding
from tests.rexec.servers import PATIENCE


@pytest.mark.anyio
async def test_the_signals_that_are_heeded_are_those_that_were_not_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with heeding(signal.SIGUSR1, signal.SIGUSR2) as signals:
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            with anyio.fail_after(PATIENCE):
                assert await anext(signals) == signal.SIGUSR2
        with heeding(signal.SIGUSR1) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            with anyio.move_on_after(0.01) as waiting:
                await anext(signals)
            assert waiting.cancelled_caught
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)
