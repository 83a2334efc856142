"""A bar that shows how far something is, on standard error if that is a terminal.

It is drawn by rich, which is imported when there is something to draw: ``pip install 'rexec[progress]'``.
"""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

import chanlink

from .descriptors import complain, in_background

Show = Callable[[int, int | None, str], None]
"""Called with the bytes that were moved, how many there are to move if that is known, and what is being moved."""

INTERVAL = 0.1
"""Seconds between two drawings."""
HINT = "there is no progress bar without rich; install it with: pip install rich"


@contextmanager
def progress_bar() -> Iterator[Show | None]:
    """A bar as long as the block lasts; None if there is nowhere to show it, or nothing to draw it with."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed
    except ImportError:
        complain(HINT)
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
        bar.console.show_cursor(True)  # a process that Ctrl-Z stops can't put it back
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def __call__(self, moved: int, total: int | None, name: str) -> None:
        if in_background(2):
            return  # another program has the screen now
        self._bar.update(self._task, completed=moved, total=total, description=_short(name), refresh=True)


# --- pipes --------------------------------------------------------------------------------------


@contextmanager
def counted(source: ByteReceiveStream, sink: ByteSendStream) -> Iterator[tuple[ByteReceiveStream, ByteSendStream]]:
    """The same streams, which are our standard input and output, with a bar of what goes through them.

    None is drawn when standard output is a terminal, where the command writes. How much there is to come is known when
    the input is a file.
    """
    if os.isatty(1):
        yield source, sink
        return
    with progress_bar() as show:
        if show is None:
            yield source, sink
            return
        about = os.fstat(0)
        counter = _Counter(show, about.st_size if stat.S_ISREG(about.st_mode) else None)
        yield _CountedSource(source, counter), _CountedSink(sink, counter)


class _Counter:
    def __init__(self, show: Show, total: int | None) -> None:
        self._show = show
        self._total = total
        self._counts = {"in": 0, "out": 0}
        self._next = 0.0

    def add(self, way: str, size: int) -> None:
        self._counts[way] += size
        now = time.monotonic()
        if not size or now >= self._next:
            self._next = now + INTERVAL
            leading = max(self._counts, key=lambda way: self._counts[way])
            self._show(self._counts[leading], self._total if leading == "in" else None, leading)


class _CountedSource(ByteReceiveStream):
    def __init__(self, source: ByteReceiveStream, counter: _Counter) -> None:
        self._source = source
        self._counter = counter

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await self._source.receive(max_bytes)
        except anyio.EndOfStream:
            self._counter.add("in", 0)
            raise
        self._counter.add("in", len(data))
        return data

    async def aclose(self) -> None:
        await self._source.aclose()


class _CountedSink(ByteSendStream):
    def __init__(self, sink: ByteSendStream, counter: _Counter) -> None:
        self._sink = sink
        self._counter = counter

    async def send(self, item: bytes) -> None:
        await self._sink.send(item)
        self._counter.add("out", len(item))

    async def aclose(self) -> None:
        await self._sink.aclose()


def _short(name: str) -> str:
    """The end of a path, which says more than its beginning; the other side may have called it anything."""
    name = chanlink.printable(name)
    return name if len(name) <= 30 else "\N{HORIZONTAL ELLIPSIS}" + name[-29:]
