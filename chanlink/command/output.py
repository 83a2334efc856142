"""What the command prints: for people, and for programs (``--json``)."""

import argparse
import sys
from collections.abc import Collection
from typing import Any

from chanlink.printing import printable

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def print_json(value: Any) -> None:
    """One line, so that a program can read a stream of them."""
    import json

    print(json.dumps(value), flush=True)


def complain(problem: str) -> None:
    """One line on standard error, whatever is in it."""
    if sys.stderr is not None:
        print(f"chanlink: {printable(problem)}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """For people, beside what is on standard output for programs."""
    if sys.stderr is not None:
        print(printable(text), file=sys.stderr, flush=True)


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
