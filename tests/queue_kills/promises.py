"""What must hold of all that the processes have seen."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .diary import read
from .kinds import DEADLY
from .meeting import Plan

USED_UP, CANCELLED, BAD = "attempts-used-up", "cancelled", "no-good"


class Outcome(NamedTuple):
    """What became of a job, as somebody heard it."""

    how: str
    """``done``, or the code of its failure."""
    mark: str
    """Whose outcome it is; empty if it is no worker's."""

    @staticmethod
    def of(line: Mapping[str, Any]) -> "Outcome":
        if "done" in line:
            return Outcome("done", line["done"])
        return Outcome(line["code"], line["text"] if line["code"] == BAD else "")


class Seen:
    """All diaries of a folder, by job."""

    def __init__(self, folder: Path) -> None:
        self.brought: dict[str, str] = {}
        """The kind of each."""
        self.heard: dict[str, list[Outcome]] = defaultdict(list)
        self.worked: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.wrong: list[str] = []
        self.brought_again = 0
        for line in read(folder, "submitter"):
            match line["what"]:
                case "brings":
                    self.brought[line["job"]] = line["kind"]
                case "ended":
                    self.heard[line["job"]].append(Outcome.of(line))
                case "again":
                    self.brought_again += 1
                case "wrong":
                    self.wrong.append(f"{line['job']}: {line['why']}")
        for line in read(folder, "worker"):
            self.worked[line["job"]].append(line)


def broken(seen: Seen, stored: Mapping[str, Outcome | None], plan: Plan) -> Iterator[str]:
    """Each promise that was broken, in a line. `stored` is what the queue says of each job at the end."""
    yield from seen.wrong
    for job, kind in seen.brought.items():
        for what in _broken(kind, stored.get(job), seen.heard[job], seen.worked[job], plan):
            yield f"{job} ({kind}): {what}"
    yield from (f"{job}: nobody has brought it" for job in seen.worked.keys() - seen.brought.keys())


def _broken(
    kind: str, stored: Outcome | None, heard: list[Outcome], worked: list[dict[str, Any]], plan: Plan
) -> Iterator[str]:
    if stored is None:
        yield "the queue does not know it, or it has no outcome"
        return
    if not heard:
        yield "its submitter has heard of no outcome"
    yield from (f"its submitter heard {one}, and the queue says {stored}" for one in heard if one != stored)
    yield from _attempts([line for line in worked if line["what"] == "began"], plan)
    yield from _counted([line for line in worked if line["what"] in ("tells", "told")], stored)
    if kind == DEADLY and stored.how not in (USED_UP, CANCELLED):
        yield f"it kills every worker, and its outcome is {stored}"


def _attempts(began: list[dict[str, Any]], plan: Plan) -> Iterator[str]:
    """Each attempt is of one worker, and all but one say that they are not the first."""
    numbers = [line["attempt"] for line in began]
    if len(set(numbers)) < len(numbers):
        yield f"an attempt was given twice: {sorted(numbers)}"
    if numbers and not 1 <= min(numbers) <= max(numbers) <= plan.attempts:
        yield f"there is no such attempt: {sorted(numbers)}"
    for line in began:
        if line["running"] > plan.slots:
            yield f"{line['by']} had {line['running']} jobs at once"
        if line["kind"] == "attached" and line["attached"] != [line["job"], line["attempt"]]:
            yield f"with attempt {line['attempt']} came {line['attached']}"


def _counted(said: list[dict[str, Any]], stored: Outcome) -> Iterator[str]:
    """Who was told that it counts is whose outcome it is; and whose outcome it is was told so, or was cut off."""
    told = [line for line in said if line["what"] == "told" and line["how"] != "again"]
    for line in told:
        is_it = line["mark"] == stored.mark
        if line["counted"] != is_it:
            yield f"{line['mark']} was told {line['counted']}, and the outcome is {stored}"
    if stored.mark and not any(line["what"] == "tells" and line["mark"] == stored.mark for line in said):
        yield f"the outcome is {stored}, and nobody told it"
