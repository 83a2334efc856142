"""Jobs in an SQLite file: clocks, what is counted in memory, and how much is done at a time.

What the verbs do is what all stores do: test_store.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chanlink import StoreError, clock
from chanlink.patterns.jobs import sqlite_jobs
from chanlink.patterns.jobs.sqlite_file import SQLiteFile
from chanlink.patterns.jobs.sqlite_jobs import Jobs
from chanlink.patterns.jobs.sqlite_tables import SCHEMA
from chanlink.patterns.jobs.store import Again, Done, End, Failed, NewJob
from tests.patience import lines_run

LONG = 1e9


class Clocks:
    """The wall, which can be set, and what goes by in the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.gone_by = 1_000_000.0, 0.0
        monkeypatch.setattr(clock, "now", lambda: self.gone_by)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.gone_by += seconds


Opened = Callable[..., Iterator[Jobs]]


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


class Place:
    def __init__(self, path: Path, clocks: Clocks) -> None:
        self._path, self._clocks = path, clocks

    @contextmanager
    def opened(self, keep: float = LONG, most_ended: int = 10**9) -> Iterator[Jobs]:
        """One process after the other: what goes by begins anew in each."""
        self._clocks.gone_by = 50.0
        file = SQLiteFile(str(self._path), SCHEMA, fsync=False)
        try:
            yield Jobs(file, keep=keep, most_ended=most_ended, wall=lambda: self._clocks.wall)
        finally:
            file.close()


@pytest.fixture
def place(tmp_path: Path, clocks: Clocks) -> Place:
    return Place(tmp_path / "jobs.db", clocks)


def add(jobs: Jobs, *ids: str) -> None:
    with jobs.transaction():
        jobs.add([NewJob(id, b"payload", False) for id in ids])


def begin(jobs: Jobs, most: int = 1000) -> list[str]:
    with jobs.transaction():
        [begun] = jobs.begin([most])
    return [job.id for job in begun]


def end(jobs: Jobs, outcome: Done | Failed | Again, *ids: str, attempt: int = 1) -> list[bool]:
    with jobs.transaction():
        return jobs.end([End(id, attempt, outcome) for id in ids])


def pass_time(jobs: Jobs) -> tuple[bool, float]:
    with jobs.transaction():
        [(wait, seconds)] = jobs.pass_time([None])
    return wait, seconds


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("set_by", [0.0, -LONG, -3600.0, 3600.0, LONG])
def test_in_a_process_a_delay_is_what_it_is_whatever_the_wall_says(place: Place, clocks: Clocks, set_by: float) -> None:
    with place.opened() as jobs:
        add(jobs, "a")
        begin(jobs)
        end(jobs, Again(10), "a")
        clocks.wall += set_by
        assert pass_time(jobs) == (False, 10)
        clocks.pass_by(9.5)
        assert begin(jobs) == []
        assert pass_time(jobs) == (False, 0.5)
        clocks.pass_by(0.5)
        assert pass_time(jobs)[0]
        assert begin(jobs) == ["a"]


@pytest.mark.parametrize("set_by", [0.0, -3600.0, -LONG])
def test_no_job_waits_longer_than_its_delay_from_the_start_of_a_process(
    place: Place, clocks: Clocks, set_by: float
) -> None:
    with place.opened() as jobs:
        add(jobs, "a", "b")
        assert begin(jobs, 1) == ["a"]
        end(jobs, Again(10), "a")
        clocks.pass_by(4)
        begin(jobs)
        end(jobs, Again(10), "b")
    clocks.wall += set_by
    with place.opened() as jobs:
        assert pass_time(jobs) == (False, 6)
        clocks.pass_by(6)
        assert begin(jobs) == ["a"]
        clocks.pass_by(4)
        assert begin(jobs) == ["b"]


def test_the_time_between_two_processes_counts(place: Place, clocks: Clocks) -> None:
    with place.opened() as jobs:
        add(jobs, "a")
        begin(jobs)
        end(jobs, Again(10), "a")
    clocks.wall += 7
    with place.opened() as jobs:
        assert pass_time(jobs) == (False, 3)


def test_a_clock_that_was_ahead_for_a_while_delays_nothing(place: Place, clocks: Clocks) -> None:
    """As of a machine that begins with a wrong year, and is set right later."""
    clocks.wall += LONG
    with place.opened() as jobs:
        add(jobs, "a")
        begin(jobs)
        clocks.wall -= LONG
        end(jobs, Again(10), "a")
    with place.opened() as jobs:
        assert pass_time(jobs) == (False, 10)


def test_ended_jobs_keep_their_order_when_the_clock_is_set_back(place: Place, clocks: Clocks) -> None:
    for number, id in enumerate(("a", "b", "c")):
        with place.opened() as jobs:
            add(jobs, id)
            begin(jobs)
            clocks.wall -= 3600 * number
            end(jobs, Done(b""), id)
    with place.opened(most_ended=1) as jobs:
        pass_time(jobs)
        assert [known and known.id for known in jobs.find(["a", "b", "c"])] == [None, None, "c"]


def test_times_are_for_the_next_thing_to_be_done(place: Place, clocks: Clocks) -> None:
    with place.opened(keep=100) as jobs:
        assert pass_time(jobs) == (False, float("inf"))
        add(jobs, "a", "b")
        begin(jobs)
        end(jobs, Failed("x", ""), "a")
        assert pass_time(jobs) == (False, 100)
        end(jobs, Again(200), "b")
        assert pass_time(jobs) == (False, 100)
        clocks.pass_by(101)
        assert pass_time(jobs) == (False, 99)
        assert jobs.find(["a"]) == [None]


# --- what is counted in memory --------------------------------------------------------------------


def test_the_counts_are_those_of_the_table_also_after_what_was_undone(place: Place) -> None:
    with place.opened() as jobs:
        add(jobs, "a", "b", "c", "d", "e")
        begin(jobs, 4)
        end(jobs, Done(b""), "a")
        end(jobs, Failed("x", ""), "b")
        end(jobs, Again(LONG), "c")
        [before] = jobs.counts([None])
        assert before == dict.fromkeys(("waiting", "delayed", "running", "done", "failed"), 1)
        with pytest.raises(StoreError), jobs.transaction():
            jobs.add([NewJob("f", b"", False)])
            jobs.begin([5])
            jobs.end([End("d", 1, Done(b""))])
            jobs.cancel(["c"])
            jobs.retry(["b"])
            raise StoreError("no room")
        assert jobs.counts([None, None]) == [before, before]
        add(jobs, "g")
        assert begin(jobs) == ["e", "g"]
    with place.opened() as jobs:
        assert jobs.counts([None]) == [{**before, "waiting": 3, "running": 0}]
        assert begin(jobs) == ["d", "e", "g"]


def test_several_who_begin_jobs_together_get_as_many_as_they_want(place: Place) -> None:
    with place.opened() as jobs:
        add(jobs, *"abcde")
        with jobs.transaction():
            shares = jobs.begin([2, 0, 1, 9])
        assert [[job.id for job in share] for share in shares] == [["a", "b"], [], ["c"], ["d", "e"]]


# --- how much is done at a time -------------------------------------------------------------------


def test_what_is_due_comes_back_a_few_at_a_time(place: Place, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_jobs, "A_FEW", 3)
    ids = [str(n) for n in range(8)]
    with place.opened() as jobs:
        add(jobs, *ids)
        begin(jobs)
        end(jobs, Again(1), *ids)
        clocks.pass_by(1)
        for waiting in (3, 6):
            assert pass_time(jobs) == (True, 0)
            assert jobs.counts([None])[0]["waiting"] == waiting
        assert pass_time(jobs) == (True, float("inf"))
        assert begin(jobs) == ids


def test_what_is_old_is_forgotten_a_few_at_a_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_jobs, "A_FEW", 3)
    ids = [str(n) for n in range(8)]
    with place.opened() as jobs:
        add(jobs, *ids)
        begin(jobs)
        end(jobs, Done(b""), *ids)
    with place.opened(most_ended=1) as jobs:
        for left in (5, 2):
            assert pass_time(jobs) == (False, 0)
            assert jobs.counts([None])[0]["done"] == left
        pass_time(jobs)
        assert [known and known.id for known in jobs.find(ids)] == [None] * 7 + ["7"]


def test_who_ends_jobs_makes_room_for_them(place: Place) -> None:
    with place.opened(most_ended=10) as jobs:
        for n in range(100):
            add(jobs, str(n))
            begin(jobs)
            end(jobs, Done(b""), str(n))
            assert jobs.counts([None])[0]["done"] <= 10
        (bodies,) = jobs._execute("SELECT count(*) FROM bodies").fetchone()
        assert bodies == 10


def test_one_more_job_is_as_much_work_with_many_waiting_as_with_none(place: Place) -> None:
    with place.opened() as jobs:

        def one(id: str) -> None:
            add(jobs, id)
            begin(jobs, 1)
            end(jobs, Done(b""), "0")
            jobs.counts([None])

        one("0")
        few = lines_run(lambda: one("1"))
        add(jobs, *(f"more {n}" for n in range(5_000)))
        assert lines_run(lambda: one("2")) == few
