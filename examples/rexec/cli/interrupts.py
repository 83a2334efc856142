"""Ctrl-C, and how a program ends by a signal. Imports next to nothing.

The command ``chanlink`` does the same, but not by public names, so both have it.
"""

import _signal as signal  # type: ignore[import-not-found]  # what `signal` is made of: that takes its time
import os

TYPE_CHECKING = False  # type checkers know this name; typing itself takes its time
if TYPE_CHECKING:
    from typing import NoReturn


def let_interrupts_end_us() -> None:
    """From now on Ctrl-C ends us as it ends a program in C.

    That is right while Python starts, imports and ends: an exception would show a traceback then.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def let_interrupts_raise() -> None:
    """From now on Ctrl-C is an exception, so that what is begun is undone. If it was ignored, it still is."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Signalled(Exception):
    """A signal ends us, after what is begun was undone."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def die_of(number: int) -> "NoReturn":
    """End as a process does that got this signal: a shell that runs a script ends the script then."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # it is blocked, or we are the first process of a container
