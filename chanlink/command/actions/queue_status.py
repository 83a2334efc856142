"""What ``chanlink queue status`` shows: how many jobs are where, who works on what, and how quickly.

What a queue tells is not believed: the client has checked of which types it is, and names and ids are made printable.
"""

import argparse
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import anyio

from chanlink import printable
from chanlink.command.output import duration, print_json, table
from chanlink.patterns import QueueClient, QueueStatus

from .counting import bar
from .queue_jobs import answered
from .terminal import Terminal, is_terminal, renew

STATES = ("waiting", "delayed", "running", "done", "failed")
SPAN = 10.0
"""Seconds over which a rate is taken."""
LONGEST_NAME, MOST_IDS = 40, 8
MOST_TOLD = 100
"""Workers, and jobs of each, that a queue tells of; there may be more."""


async def show(queue: QueueClient[Any, Any], options: argparse.Namespace) -> None:
    """What the queue says of itself: once, or with `options.watch` until interrupted."""
    if not options.watch:
        status = await answered(queue.status(), options)
        if options.json:
            print_json(to_map(status))
        else:
            print("\n".join(report(status)))
    elif is_terminal() and not options.json:
        await _renew(queue, options)
    else:
        await _print_lines(queue, options)


async def _renew(queue: QueueClient[Any, Any], options: argparse.Namespace) -> None:
    looks = Looks()

    async def draw(terminal: Terminal) -> None:
        lines = looks.lines(await answered(queue.status(), options), time.monotonic())
        terminal.show(f"{options.address} {options.service}", "q: quit", lines, more="without --watch, status")

    await renew(draw, options.interval)


async def _print_lines(queue: QueueClient[Any, Any], options: argparse.Namespace) -> None:
    looks = Looks()
    while True:
        status = await answered(queue.status(), options)
        if options.json:
            print_json(to_map(status))
        else:
            print(f"{time.strftime('%H:%M:%S')} {looks.line(status, time.monotonic())}", flush=True)
        await anyio.sleep(options.interval)


def to_map(status: QueueStatus) -> dict[str, Any]:
    """For programs: with the time, since there may be several."""
    workers = [{"name": one.name, "slots": one.slots, "running": list(one.running)} for one in status.workers]
    counts = {state: getattr(status, state) for state in STATES}
    return {"time": round(time.time(), 3), **counts, "submitters": status.submitters, "workers": workers}


def counts(status: QueueStatus) -> str:
    """``3 waiting, 0 delayed, 2 running, 15 done, 1 failed``."""
    return ", ".join(f"{getattr(status, state):,} {state}" for state in STATES)


def report(status: QueueStatus) -> list[str]:
    """Lines, without rates."""
    return [counts(status), *_workers(status)]


def _workers(status: QueueStatus) -> list[str]:
    slots = sum(one.slots for one in status.workers)
    lines = [
        "",
        f"{_told(status.workers)} workers with {slots:,} slots, {status.submitters:,} submitters",
    ]
    rows = [
        [printable(one.name)[:LONGEST_NAME], f"{_told(one.running)} of {one.slots:,}", _some(one.running)]
        for one in sorted(status.workers, key=lambda one: one.name)
    ]
    return [*lines, *("  " + line for line in table([["worker", "slots", "runs"], *rows], {1}))] if rows else lines


def _told(things: Sequence[object]) -> str:
    return f"{len(things)}{'+' if len(things) >= MOST_TOLD else ''}"


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(printable(one)[:LONGEST_NAME] for one in ids[:MOST_IDS])
    return shown if len(ids) <= MOST_IDS else f"{shown} and {len(ids) - MOST_IDS} more"


class Looks:
    """One status after the other, as lines: with a bar of what is done, and how quickly that goes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def lines(self, status: QueueStatus, now: float) -> list[str]:
        """For a terminal."""
        return [self.progress(status, now), *report(status)]

    def line(self, status: QueueStatus, now: float) -> str:
        """For a log."""
        rate = self._rate(status, now)
        return counts(status) if rate is None else f"{counts(status)}, {rate:,.1f} a second"

    def progress(self, status: QueueStatus, now: float) -> str:
        """The bar, and what stands beside it."""
        ended = status.done + status.failed
        left = status.waiting + status.delayed + status.running
        rate = self._rate(status, now)
        parts = [f"{ended:,} of {ended + left:,}"]
        if rate is not None:
            parts.append(f"{rate:,.1f} a second")
            if rate > 0 and left:
                parts.append(f"{duration(left / rate)} to go")
        return f"{bar(ended, ended + left)}  {', '.join(parts)}"

    def _rate(self, status: QueueStatus, now: float) -> float | None:
        """Jobs that came to an outcome, a second; None before the second look. Those that were forgotten are not in
        the counts any more, so it is none below zero."""
        ended = status.done + status.failed
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[1][0] >= SPAN:
            self._seen.popleft()
        before, had_ended = self._seen[0]
        return max(0.0, (ended - had_ended) / (now - before)) if now > before else None
