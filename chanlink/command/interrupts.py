"""Signals: when Ctrl-C is an exception, what was ignored when we were started, and how to end by one.

rexec does the same, as an example that uses public names only, so both have it.
"""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import anyio

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They ask a program to end."""


def let_interrupts_end_us() -> None:
    """From now on Ctrl-C ends us as it ends a program in C.

    That is right while Python starts, imports and ends: an exception then is a traceback, which nobody wants to read.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _DEFAULT)


def let_interrupts_raise() -> None:
    """From now on Ctrl-C is an exception, so that what is begun is undone. If it was ignored, it still is."""
    if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, _end):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """Those that were not ignored when we were started, as ``nohup`` and scripts do; the others stay ignored."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def heeding(*numbers: signal.Signals) -> Iterator[AsyncIterator[signal.Signals]]:
    """As `anyio.open_signal_receiver`; but one that was ignored when we were started stays so."""
    if heeded(*numbers):
        with anyio.open_signal_receiver(*heeded(*numbers)) as signals:
            yield signals
    else:
        yield _none()


async def _none() -> AsyncIterator[signal.Signals]:
    await anyio.sleep_forever()
    yield signal.SIGTERM  # never; without it this would be no iterator


def die_of(number: int) -> NoReturn:
    """End as a process does that got this signal: a shell that runs a script ends the script then."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # it is blocked, or we are the first process of a container


def end_though_first() -> None:
    """The first process of a container gets no signal that it has not asked for."""
    if os.getpid() == 1:
        for number in heeded(*ENDING):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


_DEFAULT = _end if os.getpid() == 1 else signal.SIG_DFL
