"""How far something is: a bar, and a count on standard error while it goes on."""

import os
import sys
import time
from typing import Self

WIDTH = 40
INTERVAL = 0.1
"""Seconds between two drawings."""
PATIENCE = 0.5
"""Seconds before the first one: nobody needs it for what is done at once."""


def bar(part: int, whole: int) -> str:
    """``[####....]``: full only when it is all, and not empty when there is something."""
    filled = WIDTH * part // whole if whole else 0
    return f"[{'#' * max(filled, min(part, 1)):.<{WIDTH}}]"


class Counter:
    """Counts on standard error, if that is a terminal and we are not in its background.

    A context manager, after which nothing is left of it there.
    """

    def __init__(self, whole: int | None) -> None:
        self._whole = whole
        """What it will be at the end, if that is known."""
        self._count = 0
        self._due = time.monotonic() + PATIENCE
        """When it is drawn again."""
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.aside()

    def add(self, count: int) -> None:
        """So many more."""
        self._count += count
        if (now := time.monotonic()) >= self._due and _is_ours():
            self._due, self._shown = now + INTERVAL, True
            self._write(f"\r{self}\x1b[K")

    def __str__(self) -> str:
        if self._whole is None:
            return f"{self._count:,}"
        return f"{bar(self._count, self._whole)} {self._count:,} of {self._whole:,}"

    def aside(self) -> None:
        """Make room for a line on standard output, which may be the same terminal."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        assert sys.stderr is not None
        sys.stderr.write(text)
        sys.stderr.flush()


def _is_ours() -> bool:
    """Whether standard error is a terminal on which nobody else writes now."""
    try:
        return sys.stderr is not None and os.tcgetpgrp(2) == os.getpgrp()
    except OSError:  # no terminal, or none of ours
        return False
