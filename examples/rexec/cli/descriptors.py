"""Standard input, output and error, in whatever state the caller has left them. Imports next to nothing.

The command ``chanlink`` prepares and finishes in the same way, but not by public names, so both have it.
"""

import os
import signal
import sys

from .interrupts import die_of

TYPE_CHECKING = False  # type checkers know this name; typing itself takes its time
if TYPE_CHECKING:
    from typing import TextIO

FAILED = 255
"""The exit status for our own errors, as ssh has it; a command's own status is passed on as it is."""
ROOM = 12
"""Descriptors that even the smallest of our commands needs."""


def prepare() -> None:
    """Call this first."""
    fill_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # A letter that the locale does not have is no reason to fail.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def fill_standard_descriptors() -> None:
    """Open what the caller has closed: else our connection could become standard output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def empty(descriptor: int) -> None:
    """Nobody wants to read this input: from now on it is empty, for us."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, descriptor)
    os.close(null)


def in_background(descriptor: int) -> bool:
    """Whether a terminal is at another job's service: a process that changes its modes then is stopped.

    A terminal that does not control us has no jobs of ours.
    """
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:
        return False


def refuse_output() -> None:
    """If standard output was closed, make printing an error, since nobody would get the output."""
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)  # noqa: SIM115 - writing is EBADF


def complain(problem: str, *, raw: bool = False) -> None:
    """Say in a line on standard error what is wrong; there may be no standard error.

    ``raw``: our terminal is in raw mode, where a line does not end by itself, and something may stand in this one.
    """
    if sys.stderr is not None:
        begin, end = ("\r\n", "\r\n") if raw and sys.stderr.isatty() else ("", "\n")
        try:
            print(f"{begin}rexec: {problem}", file=sys.stderr, flush=True, end=end)
        except OSError:
            _forget(sys.stderr)


def finish(status: int) -> int:
    """Call this last: the exit status, after everything that was printed has left, or could not."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        die_of(signal.SIGPIPE)
    except OSError as exc:
        status = output_failed(exc)
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _forget(sys.stderr)
    return status


def output_failed(error: OSError) -> int:
    """Standard output could not be written: the exit status."""
    _forget(sys.stdout)
    complain(f"can't write to standard output: {error.strerror}")
    return FAILED


def _forget(stream: "TextIO") -> None:
    """Have Python not try again at the exit, where it would complain, what could not be written."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def has_room() -> bool:
    """Whether `ROOM` more can be opened. Else not even an event loop can be made, and how that fails helps nobody."""
    opened: list[int] = []
    try:
        while len(opened) < ROOM:
            opened.append(os.dup(0))
    except OSError:
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True
