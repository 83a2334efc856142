"""What was measured: figures run by run, ratios, goals; as JSON, and as a table in Markdown."""

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Goal:
    """What we want a figure to be. It is printed, and nothing fails but ``--check``."""

    sign: str
    """``>=`` or ``<=``."""
    value: float
    to: str = ""
    """The peer of whose figure ours should be this many times; empty: it is about our own figure."""

    def __str__(self) -> str:
        return f"{self.sign} {short(self.value)}{' x' if self.to else ''}"

    def met(self, figure: float) -> bool:
        return figure >= self.value if self.sign == ">=" else figure <= self.value


@dataclass
class Runs:
    """The figures of one side, run by run; with an ``error`` none of them counts."""

    values: list[float] = field(default_factory=list)
    cpu: list[float | None] = field(default_factory=list)
    cpu_unit: str = ""
    error: str = ""
    failed: bool = False
    """Whether it is an error that should not be; else only something is not there to measure."""
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Result:
    """A row that was measured. Ours is the side without a name."""

    name: str
    what: str
    unit: str
    less_is_better: bool
    goals: list[Goal]
    runs: dict[str, Runs]
    seconds: float = 0.0
    """How long it took to measure."""

    @property
    def peers(self) -> list[str]:
        return [label for label in self.runs if label]

    def ratios(self, peer: str) -> list[float]:
        """Ours to the peer's, run by run."""
        ours, theirs = self.runs[""], self.runs[peer]
        if ours.error or theirs.error:
            return []
        return [one / other for one, other in zip(ours.values, theirs.values, strict=True)]

    def advantage(self, peer: str) -> float | None:
        """How many times better than the peer we are, whatever the unit; None if one of the two was not measured."""
        ratios = self.ratios(peer) if peer in self.runs else []
        if not ratios:
            return None
        ratio = statistics.median(ratios)
        return 1 / ratio if self.less_is_better else ratio

    def met(self, goal: Goal) -> bool | None:
        """Whether a goal was met; None when there is nothing to compare."""
        ours = self.runs[""]
        figures = self.ratios(goal.to) if goal.to else [] if ours.error else ours.values
        return goal.met(statistics.median(figures)) if figures else None

    def missed(self) -> list[str]:
        """The goals that were missed, and sides that failed."""
        failed = [f"{self.name}: {label or 'ours'} {runs.error}" for label, runs in self.runs.items() if runs.failed]
        return failed + [f"{self.name}: {goal} {goal.to}".rstrip() for goal in self.goals if self.met(goal) is False]


# --- JSON ---------------------------------------------------------------------------------------


def save(path: Path, about: dict[str, Any], results: list[Result]) -> None:
    path.write_text(json.dumps({**about, "rows": [_as_json(result) for result in results]}, indent=1) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    found = {str(goal) + (f" {goal.to}" if goal.to else ""): result.met(goal) for goal in result.goals}
    ratios = {peer: result.ratios(peer) for peer in result.peers}
    return {**dataclasses.asdict(result), "ratios": ratios, "met": found}


def load(path: Path) -> tuple[dict[str, Any], list[Result]]:
    about = json.loads(path.read_text())
    return about, [_from_json(row) for row in about.pop("rows")]


def _from_json(row: dict[str, Any]) -> Result:
    goals = [Goal(**goal) for goal in row["goals"]]
    runs = {label: Runs(**values) for label, values in row["runs"].items()}
    return Result(row["name"], row["what"], row["unit"], row["less_is_better"], goals, runs, row["seconds"])


# --- the table ----------------------------------------------------------------------------------

HEADINGS = ("row", "what", "ours", "processor", "beside", "peer", "processor", "ratio (spread)", "goal")


def table(results: list[Result]) -> str:
    """The results as one table in Markdown."""
    cells = [HEADINGS, *(line for result in results for line in _lines(result))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def _lines(result: Result) -> list[tuple[str, ...]]:
    """The lines of a row: one for each peer, and one before them if a goal is about our figure alone."""
    ours = result.runs[""]
    if ours.error or not ours.values:
        return [(result.name, result.what, ours.error or "-", *[""] * 6)]
    first = (result.name, result.what, *_figure(result, ours))
    columns = [(*_peer_columns(result, peer), _verdict(result, peer)) for peer in result.peers]
    if not columns or any(not goal.to for goal in result.goals):
        columns.insert(0, ("", "", "", "", _verdict(result, "")))
    return [(first if n == 0 else ("",) * 4) + rest for n, rest in enumerate(columns)]


def _peer_columns(result: Result, peer: str) -> tuple[str, str, str, str]:
    runs = result.runs[peer]
    if runs.error or not runs.values:
        return peer, runs.error, "", ""
    ratios = result.ratios(peer)
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    return peer, *_figure(result, runs), spread


def _figure(result: Result, runs: Runs) -> tuple[str, str]:
    cpu = [spent for spent in runs.cpu if spent is not None]
    processor = f"{short(statistics.median(cpu))} {runs.cpu_unit}" if cpu else ""
    return f"{short(statistics.median(runs.values))} {result.unit}", processor


def _verdict(result: Result, peer: str) -> str:
    words = {True: "met", False: "MISSED", None: "not measured"}
    return ", ".join(f"{goal} {words[result.met(goal)]}" for goal in result.goals if goal.to == peer)


def short(figure: float) -> str:
    """Three digits that count."""
    if abs(figure) >= 100:
        return f"{float(f'{figure:.3g}'):,.0f}"
    return f"{figure:.3g}"
