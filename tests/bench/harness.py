"""What every benchmark is made of: rows, goals, and runs that take turns.

A row compares one figure of ours with the same figure of its peers. All are measured in turn (ours, peer, ours,
peer, ...) in one run, because the machine is not ours alone: the figures wander, their ratio hardly does.
"""

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from .ends import End, Outcome, Pair
from .meter import Missing
from .results import Goal, Result, Runs
from .units import Unit


@dataclass(frozen=True)
class Task:
    """Something to run: a work of a peer, with its options."""

    peer: str
    work: str
    options: dict[str, Any] = field(default_factory=dict)
    """``count`` is how much of it; a quick run does less."""
    backend: str = "asyncio"
    fresh: bool = False
    """In processes of its own: because of the memory that others have used, or because it leaves much behind."""
    link: tuple[float, float] | None = None
    """The round trip (seconds) and the rate (bits a second) of a link between the two ends; None for the loopback."""
    pick: str = ""
    """Which figure of several, by name. Tasks that differ only in this share their runs."""


Local = Callable[[], float]
"""Something to run in this process, with both its ends."""


@dataclass
class Row:
    """One line of the table for each of its peers."""

    name: str
    what: str
    unit: Unit
    ours: Task | Local
    peers: dict[str, Task | Local] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    repeats: int = 3


class Bench:
    """What lives as long as the whole run: a directory, and the processes of peers, started when first used."""

    def __init__(self, *, scale: float = 1.0, profile: Path | None = None, profile_server: Path | None = None) -> None:
        self._scale = scale
        self._profile, self._profile_server = profile, profile_server
        self._stack = ExitStack()
        self._pairs: dict[tuple[str, str], Pair | Missing] = {}
        self._links: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._shared: dict[str, tuple[int, Outcome]] = {}

    def __enter__(self) -> "Bench":
        self._directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="chanlink-bench-")))
        return self

    def __exit__(self, *exc: object) -> None:
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must not leave processes behind
        self._stack.close()
        signal.signal(signal.SIGINT, heard)

    def run(self, task: Task | Local, turn: int) -> Outcome:
        """Run it once; ``turn`` is how often that has been done for its row. Raises `Missing`, or whatever fails."""
        if not isinstance(task, Task):
            return Outcome(task(), 1.0, None, {})
        if not task.pick:
            return self._run(task)
        shared = repr((task.peer, task.work, task.options, task.backend))
        if self._shared.get(shared, (-1, None))[0] != turn:
            self._shared[shared] = (turn, self._run(task))
        outcome = self._shared[shared][1]
        return outcome._replace(count=outcome.more[task.pick], wall=1.0)

    def _run(self, task: Task) -> Outcome:
        options = dict(task.options)
        if "count" in options:
            options["count"] = max(1, int(options["count"] * self._scale))
        if not task.fresh:
            pair = self._pair(task)
            return pair.work(task.work, options, where=self._link(task, pair), profile=self._profile)
        pair = self._start(task)
        try:
            return pair.work(task.work, options, profile=self._profile)
        finally:
            pair.close()

    def _pair(self, task: Task) -> Pair:
        """The processes of a peer, which all its works share; new ones if the last work has killed them."""
        key = (task.peer, task.backend)
        found = self._pairs.get(key)
        if isinstance(found, Missing):
            raise found
        if found is None or not found.works:
            try:
                self._pairs[key] = found = self._start(task)
            except Missing as exc:
                self._pairs[key] = exc
                raise
        return found

    def _start(self, task: Task) -> Pair:
        folder = Path(mkdtemp(dir=self._directory))
        pair = Pair(task.peer, task.backend, folder, profile_server=self._profile_server)
        self._stack.callback(pair.close)
        return pair

    def _link(self, task: Task, pair: Pair) -> dict[str, Any]:
        """Where the server seems to be through the link."""
        if task.link is None:
            return {}
        host, port, (round_trip, rate) = pair.where["host"], pair.where["port"], task.link
        key = (host, port, round_trip, rate)
        if key not in self._links:
            folder = Path(mkdtemp(dir=self._directory))
            to = {"host": host, "port": port, "round_trip": round_trip, "rate": rate}
            (folder / "link.json").write_text(json.dumps(to))
            end = End("server", "link", "asyncio", folder)
            self._stack.callback(end.stop)
            self._links[key] = {"port": end.answer()["port"]}
        return self._links[key]


def measure(bench: Bench, row: Row, repeats: int) -> Result:
    """Run a row and its peers in turn."""
    tasks = {"": row.ours, **row.peers}
    runs_of = {label: Runs(cpu_unit=row.unit.cpu_name) for label in tasks}
    result = Result(row.name, row.what, row.unit.name, row.unit.less_is_better, list(row.goals), runs_of)
    began = time.monotonic()
    for turn in range(repeats):
        for label, task in tasks.items():
            runs = runs_of[label]
            if runs.error:
                continue
            try:
                outcome = bench.run(task, turn)
            except Missing as exc:
                runs.error = str(exc)
            except Exception as exc:  # what else is measured shall still be seen
                runs.error, runs.failed = f"failed: {exc}", True
            else:
                runs.values.append(row.unit.value(outcome))
                runs.cpu.append(row.unit.cpu(outcome))
                runs.more = outcome.more
        if runs_of[""].error:
            break
    result.seconds = round(time.monotonic() - began, 1)
    return result
