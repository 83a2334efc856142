"""What every benchmark needs: rows, runs that take turns, medians, the table, and server processes.

A row compares one figure of ours with the same figure of its peers.  All are measured in turn (ours, peer, ours,
peer, ...) in one run, because the machine is not ours alone: the figures wander, their ratio hardly does.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import anyio

import chanlink

ROOT = Path(__file__).resolve().parents[2]
BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}

Measure = Callable[[], float]
"""One run: returns one figure."""


class Missing(Exception):
    """What a measurement needs is not on this machine; says what, and how to get it."""


class Goal(NamedTuple):
    """What we want a figure to be.  It is printed, and nothing fails."""

    of: str
    """``ours``, or ``ratio``: of ours to the first peer."""
    sign: str
    """``>=`` or ``<=``."""
    value: float

    def __str__(self) -> str:
        return f"{'x ' if self.of == 'ratio' else ''}{self.sign} {_short(self.value)}"

    def met(self, value: float) -> bool:
        return value >= self.value if self.sign == ">=" else value <= self.value


@dataclass
class Row:
    """One line of the table for each of its peers."""

    name: str
    what: str
    unit: str
    ours: Measure
    peers: dict[str, Measure] = field(default_factory=dict)
    goal: Goal | None = None
    repeats: int = 5
    profile: Callable[[Path], None] | None = None
    """Writes a profile of the client, for rows whose client is a process of its own."""


@dataclass
class Result:
    """The figures of a row, run by run; ``error`` is why there are none."""

    row: Row
    ours: list[float] = field(default_factory=list)
    peers: dict[str, list[float] | str] = field(default_factory=dict)
    error: str = ""

    def ratios(self, peer: str) -> list[float]:
        """Ours to the peer's, run by run."""
        figures = self.peers[peer]
        return [] if isinstance(figures, str) else [ours / theirs for ours, theirs in zip(self.ours, figures)]  # noqa: B905

    def verdict(self) -> str:
        goal = self.row.goal
        if goal is None or self.error:
            return ""
        figures = self.ours if goal.of == "ours" else self.ratios(next(iter(self.row.peers)))
        if not figures:
            return f"{goal}"
        return f"{goal} {'met' if goal.met(statistics.median(figures)) else 'MISSED'}"

    def as_json(self) -> dict[str, Any]:
        row = self.row
        return {
            "name": row.name,
            "what": row.what,
            "unit": row.unit,
            "goal": self.verdict(),
            "ours": self.ours,
            "peers": self.peers,
            "ratios": {peer: self.ratios(peer) for peer in self.peers},
            "error": self.error,
        }


def measure(row: Row, repeats: int) -> Result:
    """Run a row and its peers in turn."""
    result = Result(row, peers={peer: [] for peer in row.peers})
    for _ in range(repeats):
        try:
            result.ours.append(row.ours())
        except Missing as exc:
            result.error = str(exc)
            break
        except Exception as exc:  # what else is measured shall still be seen
            last = (str(exc).strip().splitlines() or [""])[-1].strip()
            result.error = f"failed: {type(exc).__name__}: {last}"[:100]
            break
        for peer, run in row.peers.items():
            figures = result.peers[peer]
            if not isinstance(figures, str):
                try:
                    figures.append(run())
                except Missing as exc:
                    result.peers[peer] = str(exc)
    return result


# --- the table ----------------------------------------------------------------------------------

HEADINGS = ("row", "what", "ours", "unit", "beside", "peer", "ratio (spread)", "goal")


def lines(result: Result) -> list[tuple[str, ...]]:
    """The lines of the table for one result: as many as it has peers, and at least one."""
    row = result.row
    if result.error:
        return [(row.name, row.what, "-", row.unit, result.error, "", "", "")]
    first = (row.name, row.what, _short(statistics.median(result.ours)), row.unit)
    rest = [_peer_columns(result, peer) for peer in row.peers] or [("", "", "")]
    return [
        (first if n == 0 else ("",) * 4) + columns + (result.verdict() if n == 0 else "",)
        for n, columns in enumerate(rest)
    ]


def _peer_columns(result: Result, peer: str) -> tuple[str, str, str]:
    figures = result.peers[peer]
    if isinstance(figures, str):
        return f"{peer}: {figures}", "-", ""
    ratios = result.ratios(peer)
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    return peer, _short(statistics.median(figures)), ratio


def _short(figure: float) -> str:
    """Three digits that count."""
    if figure >= 100:
        return f"{float(f'{figure:.3g}'):,.0f}"
    return f"{figure:.3g}"


def table(results: list[Result]) -> str:
    """The results as one table in Markdown."""
    cells = [HEADINGS, *(line for result in results for line in lines(result))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


# --- backends, processes ------------------------------------------------------------------------


def run(backend: str, function: Callable[..., Awaitable[float]], *args: Any) -> float:
    """Run a measurement on a backend."""
    module = "asyncio" if backend == "asyncio" else backend
    if importlib.util.find_spec(module) is None:
        raise Missing(f"needs {module}: pip install {module}")
    name, options = BACKENDS[backend]
    return anyio.run(function, *args, backend=name, backend_options=options)


class Server(NamedTuple):
    """Where a server process is: see server.py."""

    address: str
    key: chanlink.PublicKey
    raw_port: int


class Bench:
    """What lives as long as the whole run: a directory, our identity, and server processes, started when first used."""

    def __init__(self, *, profile_server: Path | None = None) -> None:
        self.identity = chanlink.Identity.generate("bench")
        self._profile_server = profile_server
        self._stack = ExitStack()
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> "Bench":
        self.directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="chanlink-bench-")))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def spawn(self, command: list[str], **options: Any) -> "subprocess.Popen[str]":
        """Start a process that ends with the run."""
        process = subprocess.Popen(command, cwd=ROOT, text=True, **options)
        self._stack.callback(_stop, process)
        return process

    def server(self, backend: str) -> Server:
        """The server process on a backend."""
        if backend not in self._servers:
            profile = [] if self._profile_server is None else ["-m", "cProfile", "-o", str(self._profile_server)]
            command = [sys.executable, *profile, "-m", "tests.bench.server", backend, str(self.identity.public_key)]
            process = self.spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            key = chanlink.PublicKey.parse(said["key"])
            self._servers[backend] = Server(said["address"], key, said["raw_port"])
        return self._servers[backend]


def _stop(process: "subprocess.Popen[str]") -> None:
    """Servers of ours leave when their stdin ends, and can write a profile then; others are told."""
    if process.stdin is not None:
        process.stdin.close()
    else:
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
