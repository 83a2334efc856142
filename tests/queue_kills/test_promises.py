"""What the campaign would find: diaries that were made up, each with one promise broken."""

from pathlib import Path
from typing import Any

import pytest

from .diary import Diary
from .meeting import Plan
from .promises import BAD, USED_UP, Outcome, Seen, broken

PLAN = Plan("seed", "memory", attempts=3, slots=2)
DONE = Outcome("done", "worker-0 1")


class Made:
    """Diaries of one job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._submitter, self._worker = Diary(folder, "submitter-0"), Diary(folder, "worker-0")

    def brought(self, kind: str = "quick", **ended: Any) -> None:
        self._submitter.say("brings", "one", kind=kind)
        if ended:
            self._submitter.say("ended", "one", **ended)

    def worked(self, attempt: int = 1, *, kind: str = "quick", **more: Any) -> None:
        self._say("began", attempt, **{"running": 1, "kind": kind, "attached": None, **more})

    def told(self, attempt: int = 1, counted: bool | None = True, how: str = "done") -> None:
        self._say("tells", attempt, how=how)
        if counted is not None:
            self._say("told", attempt, how=how, counted=counted)

    def _say(self, what: str, attempt: int, **more: Any) -> None:
        self._worker.say(what, "one", attempt=attempt, mark=f"worker-0 {attempt}", **more)

    def broken(self, stored: Outcome | None) -> list[str]:
        return list(broken(Seen(self._folder), {"one": stored}, PLAN))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_an_ordinary_day_breaks_nothing(made: Made) -> None:
    made.brought(done=DONE.mark)
    made.worked()
    made.told()
    made.worked(2)
    made.told(2, counted=False)
    assert made.broken(DONE) == []


def test_an_answer_that_was_lost_breaks_nothing(made: Made) -> None:
    made.brought(done=DONE.mark)
    made.worked()
    made.told(counted=None)
    assert made.broken(DONE) == []


def test_a_failure_by_its_worker_is_an_outcome_as_any(made: Made) -> None:
    made.brought(kind="bad", code=BAD, text=DONE.mark)
    made.worked(kind="bad")
    made.told(how="failed")
    assert made.broken(Outcome(BAD, DONE.mark)) == []


def test_two_that_count_are_found(made: Made) -> None:
    made.brought(done=DONE.mark)
    for attempt in (1, 2):
        made.worked(attempt)
        made.told(attempt)
    (what,) = made.broken(DONE)
    assert "worker-0 2 was told True" in what


def test_one_that_counts_and_was_told_otherwise_is_found(made: Made) -> None:
    made.brought(done=DONE.mark)
    made.worked()
    made.told(counted=False)
    (what,) = made.broken(DONE)
    assert "was told False" in what


def test_an_outcome_that_nobody_told_is_found(made: Made) -> None:
    made.brought(done=DONE.mark)
    made.worked()
    (what,) = made.broken(DONE)
    assert "nobody told it" in what


def test_a_submitter_that_heard_another_outcome_or_none_is_found(made: Made) -> None:
    made.brought(code=USED_UP, text="")
    made.worked()
    made.told()
    (what,) = made.broken(DONE)
    assert "heard" in what
    assert made.broken(None) == ["one (quick): the queue does not know it, or it has no outcome"]


def test_who_has_heard_nothing_is_found(made: Made) -> None:
    made.brought()
    made.worked()
    made.told()
    (what,) = made.broken(DONE)
    assert "no outcome" in what


@pytest.mark.parametrize(
    ("attempts", "said"), [([1, 1], "given twice"), ([1, 4], "no such attempt"), ([0, 1], "no such attempt")]
)
def test_attempts_that_are_not_counted_as_they_should_are_found(made: Made, attempts: list[int], said: str) -> None:
    made.brought(done=DONE.mark)
    for attempt in attempts:
        made.worked(attempt)
    made.told()
    (what,) = made.broken(DONE)
    assert said in what


def test_more_jobs_than_slots_are_found(made: Made) -> None:
    made.brought(done=DONE.mark)
    made.worked(running=3)
    made.told()
    (what,) = made.broken(DONE)
    assert "3 jobs at once" in what


def test_what_came_with_another_attempt_is_found(made: Made) -> None:
    made.brought(kind="attached", done=DONE.mark)
    made.worked(kind="attached", attached=["one", 2])
    made.told()
    (what,) = made.broken(DONE)
    assert "came ['one', 2]" in what


def test_a_deadly_job_that_is_done_is_found(made: Made) -> None:
    made.brought(kind="deadly", done=DONE.mark)
    made.worked(kind="deadly")
    made.told()
    (what,) = made.broken(DONE)
    assert "kills every worker" in what


def test_a_job_that_nobody_brought_is_found(made: Made) -> None:
    made.worked()
    assert made.broken(None) == ["one: nobody has brought it"]
