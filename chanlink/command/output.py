"""What the command prints: for people, and for programs (``--json``).

How standard output is found and left (`prepare`, `finish`) stands in rexec once more, which uses public names only.
"""

import argparse
import os
import signal
import sys
from collections.abc import Collection
from typing import Any, TextIO

from chanlink import printable

from .interrupts import die_of

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def add_json(parser: "argparse._ActionsContainer", what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def print_json(value: Any) -> None:
    """One line, so that a program can read a stream of them."""
    import json

    print(json.dumps(value), flush=True)


def complain(problem: str) -> None:
    """One line on standard error, whatever is in it."""
    note(f"chanlink: {problem}")


def note(text: str) -> None:
    """A line for people, besides what standard output has for programs. Standard error may be missing, or full."""
    if sys.stderr is not None:
        try:
            print(printable(text), file=sys.stderr, flush=True)
        except OSError:
            _forget(sys.stderr)


# --- in whatever state the caller has left them -------------------------------------------------


def prepare() -> None:
    """Call this first.

    A descriptor that the caller has closed is opened: else a connection of ours could become standard output.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # A letter that the locale does not have is no reason to fail.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def refuse_output() -> None:
    """If standard output was closed, let what is printed there be an error: nobody gets it."""
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)  # noqa: SIM115 - writing is EBADF


def finish(status: int, failed: int) -> int:
    """Call this last: the exit status, after everything that was printed has left; ``failed`` if it could not."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        die_of(signal.SIGPIPE)
    except OSError as exc:
        _forget(sys.stdout)
        if status == 0:  # else we have said something already, and this perhaps
            complain(f"can't write to standard output: {exc.strerror}")
            status = failed
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _forget(sys.stderr)
    return status


def _forget(stream: TextIO) -> None:
    """What could not be written must not be tried again at the exit, where Python complains about it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


# --- figures ------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> str:
    """With three digits: 0.123, 12.3."""
    value = 1000 * seconds
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}" if value >= 1 else f"{value:.3f}"


def size(count: float) -> str:
    """``1.5 MiB``."""
    for unit in _SIZES:
        if abs(count) < 1024 or unit == _SIZES[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """``5 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if not minutes:
        return f"{seconds:.0f} s"
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if not days else f"{days} d {hours % 24} h"


def table(rows: list[list[str]], right: Collection[int] = ()) -> list[str]:
    """Lines with columns under each other; those in `right` end under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines
