"""What verbs do with rows, and which they want to have written."""

import pytest

from chanlink.patterns.jobs.postgres.rows import Row, Rows
from chanlink.patterns.jobs.store import CANCELLED, Again, Done, End, Failed, NewJob, State

ME, OTHER = "me", "other"
DONE, FAILED = Done(b"result"), Failed("no-such-page", "it ends at 16")


def row(state: State = "running", *, attempt: int = 1, store: str | None = ME, home: str | None = None) -> Row:
    outcome = {"done": DONE, "failed": FAILED}.get(state)
    return Row("a", state, attempt, 0, home is not None, home, store, attempt if outcome else 0, outcome=outcome)


def written(rows: Rows) -> dict[str, list[str]]:
    kinds = ("new", "home", "back", "ended", "progressed")
    return {kind: list(getattr(rows, kind)) for kind in kinds if getattr(rows, kind)}


def test_an_unknown_job_is_new_and_a_second_one_of_its_id_is_not() -> None:
    rows = Rows([], ME)
    assert [rows.add(NewJob("a", payload, False)).new for payload in (b"1", b"2")] == [True, False]
    assert written(rows) == {"new": ["a"]}
    assert rows.new["a"].payload == b"1"


def test_what_is_only_read_is_not_written() -> None:
    rows = Rows([row("done")], ME)
    assert rows.find("a") == rows.cancel("a") == rows.retry("a")
    assert rows.find("b") is rows.cancel("b") is rows.retry("b") is None
    assert rows.end(End("a", 1, DONE))
    assert not rows.end(End("a", 1, Done(b"another one")))
    assert not rows.end(End("b", 1, DONE))
    assert written(rows) == {}


def test_an_attached_job_goes_to_the_store_that_has_added_it_last() -> None:
    rows = Rows([row("waiting", attempt=0, home=OTHER)], ME)
    rows.add(NewJob("a", b"", True))
    assert written(rows) == {"home": ["a"]}
    assert rows.home["a"].home == ME


@pytest.mark.parametrize("there", [row("done", home=OTHER), row("waiting", home=ME), row("waiting")])
def test_other_jobs_stay_where_they_are(there: Row) -> None:
    rows = Rows([there], ME)
    rows.add(NewJob("a", b"", True))
    assert written(rows) == {}


def test_a_job_is_written_as_what_became_of_it_last() -> None:
    rows = Rows([row()], ME)
    rows.says(("a", b"half"))
    assert written(rows) == {"progressed": ["a"]}
    assert rows.end(End("a", 1, Again(3.0)))
    assert written(rows) == {"back": ["a"]}
    rows.cancel("a")
    assert written(rows) == {"ended": ["a"]}
    rows.retry("a")
    assert written(rows) == {"back": ["a"]}
    assert rows.end(End("a", 1, FAILED))
    assert written(rows) == {"ended": ["a"]}


@pytest.mark.parametrize("there", [row(store=OTHER), row("waiting"), row("done")])
def test_only_who_runs_a_job_says_how_far_it_is(there: Row) -> None:
    rows = Rows([there], ME)
    rows.says(("a", b"half"))
    rows.says(("b", b"half"))
    assert written(rows) == {}


def test_the_same_progress_again_is_not_written_again() -> None:
    there = row()
    there.progress = b"half"
    rows = Rows([there], ME)
    rows.says(("a", b"half"))
    assert written(rows) == {}


def test_an_attempt_that_was_taken_away_can_not_be_given_up() -> None:
    """Nobody has counted it: it waits because its store was taken for dead."""
    rows = Rows([row("waiting")], ME)
    assert not rows.end(End("a", 1, Again(3.0)))
    assert written(rows) == {}


def test_what_came_back_waits_or_is_delayed() -> None:
    for after, state in ((0.0, "waiting"), (3.0, "delayed")):
        rows = Rows([row()], ME)
        assert rows.end(End("a", 1, Again(after)))
        known = rows.find("a")
        assert known is not None
        assert known.state == state
        assert rows.end(End("a", 1, Again(after))), "asked again"


def test_a_retry_counts_attempts_anew() -> None:
    there = row("failed", attempt=5)
    there.returned_by = 4
    rows = Rows([there], ME)
    known = rows.retry("a")
    assert known is not None
    assert (known.state, known.attempt, known.outcome, there.since) == ("waiting", 5, None, 5)
    assert not rows.end(End("a", 4, Again(0.0)))


def test_what_is_cancelled_has_failed() -> None:
    rows = Rows([row()], ME)
    known = rows.cancel("a")
    assert known is not None
    assert known.outcome == Failed(CANCELLED, "")
    assert rows.ended["a"].store == ME
