"""What a store sees of others, and of time."""

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from chanlink.patterns.jobs.postgres import statements, watching
from chanlink.patterns.jobs.postgres.connection import Database
from chanlink.patterns.jobs.postgres.moves import Begin, Move, Moves
from chanlink.patterns.jobs.postgres.rows import Rows
from chanlink.patterns.jobs.postgres.schema import prepare, schema_of
from chanlink.patterns.jobs.postgres.watching import Watching
from chanlink.patterns.jobs.store import Again, Done, End, Known, NewJob
from tests.postgres import Server


class Place:
    """A queue, and whoever uses it."""

    def __init__(self, server: Server, queue: str, stack: ExitStack) -> None:
        self._server = server
        self._schema = schema_of(queue)
        self._stack = stack

    def database(self) -> Database:
        database = Database(self._server.conninfo, self._schema, patience=60.0)
        self._stack.callback(database.close)
        database.use(lambda connection: prepare(connection, self._schema))
        return database

    def connect(self) -> psycopg.Connection:
        """To do what somebody else does."""
        connection = self._stack.enter_context(psycopg.connect(self._server.conninfo))
        connection.execute(f'SET search_path = "{self._schema}"')
        return connection

    def execute(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """And commit it."""
        connection = self.connect()
        found = connection.execute(query, values)
        rows = found.fetchall() if found.description else []
        connection.commit()
        return rows


class Both:
    """A store: its verbs, and what it sees."""

    def __init__(self, place: Place, *, lease: float = 60.0, keep: float = math.inf, most_ended: int = 1000) -> None:
        self.me = str(uuid.uuid4())
        self.moves = Moves(place.database(), self.me)
        self.database = place.database()
        [(snapshot,)] = place.execute(statements.SNAPSHOT)
        self.watching = Watching(
            self.database, self.me, snapshot, lease=lease, keep=min(keep, 1e9), most_ended=most_ended
        )
        self.look()

    def look(self) -> tuple[bool, list[str], list[str]]:
        seen = self.database.use(self.watching._look)
        return seen.jobs, sorted(seen.ended), sorted(seen.running)

    def check(self) -> None:
        """And look."""
        self.watching._check_at = self.watching._forget_at = 0.0
        self.look()

    def add(self, *ids: str, attached: bool = False) -> None:
        self.moves.do([Move(id, Rows.add, NewJob(id, b"", attached)) for id in ids])

    def begin(self, most: int = 100) -> list[tuple[str, int]]:
        [begun] = self.moves.do([Begin(most)])
        return [(job.id, job.attempt) for job in begun]

    def end(self, id: str, attempt: int = 1, outcome: Done | Again = Done(b"")) -> bool:  # noqa: B008 it does not change
        [counts] = self.moves.do([Move(id, Rows.end, End(id, attempt, outcome))])
        return bool(counts)

    def find(self, id: str) -> Known | None:
        [known] = self.moves.do([Move(id, Rows.find, id)])
        return known  # type: ignore[no-any-return]


@pytest.fixture
def place(postgres: Server, queue: str) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(postgres, queue, stack)


def test_what_others_do_is_seen_once_and_what_it_does_itself_is_not(place: Place) -> None:
    one, other = Both(place), Both(place)
    one.add("a", "b", "c")
    assert one.look() == other.look() == (True, [], []), "maybe there are jobs"
    assert other.begin(2) == [("a", 1), ("b", 1)]
    assert (one.look(), other.look()) == ((True, [], ["a", "b"]), (True, [], []))
    other.end("a")
    one.begin()
    assert (one.look(), other.look()) == ((False, ["a"], []), (False, [], ["c"]))
    one.moves.do([Move("b", Rows.cancel, "b"), Move("c", Rows.says, ("c", b"half"))])
    assert (one.look(), other.look()) == ((False, [], []), (False, ["b"], ["c"]))
    known = other.find("c")
    assert known is not None
    assert known.progress == b"half"


def test_what_was_under_way_is_seen_when_it_is_committed(place: Place) -> None:
    """It has a smaller number than what was committed before."""
    one, other = Both(place), Both(place)
    one.add("a", "b", "c")
    other.begin()
    one.look()
    slow, slower = place.connect(), place.connect()
    for connection, id in ((slower, b"c"), (slow, b"a")):
        values = {"ids": [id], "states": ["done"], "ended_by": [1], "results": [b""], "codes": [b""], "texts": [b""]}
        values |= {"counted_since": [0], "returned_by": [0], "afters": [0.0]}
        connection.execute(statements.END, {"me": other.me, **values})
    other.end("b")
    assert one.look() == (False, ["b"], [])
    slow.commit()
    assert one.look() == (False, ["a"], [])
    assert one.look() == (False, [], [])
    slower.commit()
    assert one.look() == (False, ["c"], [])
    assert one.look() == (False, [], [])


def test_what_others_do_before_its_first_look_is_seen(place: Place) -> None:
    one, other = Both(place), Both(place)
    late = Watching(place.database(), one.me, *place.execute(statements.SNAPSHOT)[0], lease=60, keep=60, most_ended=9)
    other.add("a")
    other.begin()
    other.end("a")
    assert late._database.use(late._look).ended == ["a"]


def test_what_was_lost_with_a_connection_is_looked_for_again(place: Place) -> None:
    one, other = Both(place), Both(place)
    one.add("a")
    other.begin()
    one.look()
    one.database._drop()
    other.end("a")
    assert one.look() == (False, ["a"], [])


def test_a_server_that_has_lost_the_newest_transactions_is_believed(place: Place) -> None:
    """A standby that took over: its numbers are behind those that were seen."""
    one, other = Both(place), Both(place)
    one.watching._since += 5_000
    one.add("a")
    other.begin()
    other.end("a")
    assert one.look() == (False, [], [])
    one.database._drop()
    assert one.look() == (False, ["a"], [])


def test_numbers_of_another_server_are_no_news(place: Place) -> None:
    """The database was restored from a copy: what ended there has numbers that this server has not come to."""
    one, other = Both(place), Both(place)
    one.add("a")
    other.begin()
    other.end("a")
    place.execute("UPDATE jobs SET news = '123456789012'")
    assert one.look() == (False, [], [])


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds go by, of the clock of stores."""
    now = 1000.0

    def go_by(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(watching.clock, "now", lambda: now)
    return go_by


def beat(place: Place, both: Both) -> None:
    place.execute(statements.BEAT, me=both.me, beat=1)


def test_the_jobs_of_a_dead_store_wait_again_in_their_order(place: Place, time: Callable[[float], None]) -> None:
    one, dead = Both(place, lease=6.0), Both(place, lease=6.0)
    one.add("a", "b", "c", "d")
    assert dead.begin(3) == [("a", 1), ("b", 1), ("c", 1)]
    dead.end("b")
    one.check()
    for _ in range(6):
        time(1.0)
        beat(place, one)
        assert one.look() == (True, [], [])
    assert [known and known.state for known in map(one.find, "abcd")] == ["running", "done", "running", "waiting"]
    time(1.0)
    one.look()
    assert one.begin() == [("d", 1), ("a", 2), ("c", 2)]
    assert dead.end("a", 1), "the first outcome counts, whichever the attempt"
    assert not one.end("a", 2, Done(b"another one"))
    assert not dead.end("c", 1, Again(0.0)), "it is not the newest attempt"


def test_who_was_taken_for_dead_is_back_when_it_begins_something(place: Place, time: Callable[[float], None]) -> None:
    one, suspended = Both(place, lease=6.0), Both(place, lease=6.0)
    one.add("a")
    suspended.begin()
    for _ in range(8):
        time(1.0)
        one.look()
    assert place.execute("SELECT count(*) FROM stores") == [(0,)], "one has neither begun anything nor renewed"
    assert suspended.begin() == [("a", 2)]
    for _ in range(6):
        time(1.0)
        one.look()
    assert one.begin() == []


def test_a_sign_of_life_in_the_last_moment_counts(place: Place, time: Callable[[float], None]) -> None:
    one, other = Both(place), Both(place)
    one.add("a")
    other.begin()
    [(store, seen)] = place.execute("SELECT id::text, beat FROM stores")
    beat(place, other)
    place.execute(statements.BURY, dead=store, beat=seen)
    one.check()
    assert one.begin() == []


def test_an_attached_job_begins_at_home_until_that_is_gone(place: Place, time: Callable[[float], None]) -> None:
    one, home = Both(place, lease=6.0), Both(place, lease=6.0)
    beat(place, home)
    home.add("waiting", "delayed", attached=True)
    assert one.begin() == []
    assert home.begin(2) == [("waiting", 1), ("delayed", 1)]
    home.end("waiting", 1, Again(0.0))
    home.end("delayed", 1, Again(0.001))
    one.look()
    assert one.begin() == []
    for _ in range(8):
        time(1.0)
        one.look()
    assert one.look()[0]
    assert sorted(one.begin()) == [("delayed", 2), ("waiting", 2)]


def test_a_job_is_not_delayed_for_ever_when_the_clock_is_set_back(place: Place) -> None:
    one = Both(place)
    one.add("a", "b")
    one.begin()
    one.end("a", 1, Again(3600.0))
    one.check()
    assert one.begin() == []
    place.execute("UPDATE jobs SET asked = asked + interval '1 day', due = due + interval '1 day' WHERE id = 'a'")
    one.check()
    one.look()
    assert one.begin() == [("a", 2)]


def test_it_looks_when_a_delayed_job_is_due(place: Place) -> None:
    one = Both(place)
    one.add("a", "b")
    one.begin()
    one.end("a", 1, Again(3600.0))
    one.end("b", 1, Again(0.5))
    assert 0.0 < one.database.use(one.watching._look).due <= 0.5


@pytest.mark.parametrize(
    ("options", "left"), [({"most_ended": 3}, "stuv"), ({"keep": 0.0}, "v"), ({"keep": 3600.0}, "opqrstuv")]
)
def test_what_ended_long_ago_is_forgotten_a_few_at_a_time(
    place: Place, monkeypatch: pytest.MonkeyPatch, options: Mapping[str, Any], left: str
) -> None:
    monkeypatch.setattr(watching, "FORGET", 2)
    monkeypatch.setattr(watching, "MOST_FORGOTTEN", 4)
    one = Both(place, **options)
    one.add(*"opqrstuv")
    one.begin(7)
    for id in "opqrstu":
        one.end(id)
    for _ in range(3):
        one.check()
    assert [id for id in "opqrstuv" if one.find(id)] == list(left)
