"""A bar that shows how far something is, on standard error if that is a terminal.

It is drawn by rich, which is imported when there is something to draw: ``pip install 'rexec[progress]'``.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Show = Callable[[int, int | None, str], None]
"""Called with the bytes that were moved, how many there are to move if that is known, and what is being moved."""

HINT = "rexec: there is no progress bar without rich; install it with: pip install rich"


@contextmanager
def progress_bar() -> Iterator[Show | None]:
    """A bar as long as the block lasts; None if there is nowhere to show it, or nothing to draw it with."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed
    except ImportError:
        print(HINT, file=sys.stderr)
        yield None
        return
    from rich.console import Console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    # Drawn when something is shown: rich would start a thread to do it by time.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def __call__(self, moved: int, total: int | None, name: str) -> None:
        self._bar.update(self._task, completed=moved, total=total, description=_short(name), refresh=True)


def _short(name: str) -> str:
    """The end of a path, which says more than its beginning; the other side may have called it anything."""
    name = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    return name if len(name) <= 30 else "\N{HORIZONTAL ELLIPSIS}" + name[-29:]
