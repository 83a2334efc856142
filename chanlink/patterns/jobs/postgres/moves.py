"""What a group of verbs does, in one transaction of two round trips.

    1. The rows of all jobs that the group names are locked, in the order of their ids, and read.
    2. `Rows` has the verbs, in the order in which they came, and knows then what is to be written.
    3. Each kind of change is one statement, however many jobs there are. Then attempts begin, if somebody asks for
       that; the others are notified; and all is committed.

No two of these transactions wait for each other in a circle: what waits for locks holds none but those of smaller ids;
what waits for an id that another transaction adds has all its locks, and adds in the order of ids, too; and attempts
begin with what nobody has locked. Something else may be in the database, so a deadlock is still tried again.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from chanlink import clock
from chanlink.errors import StoreError
from chanlink.patterns.jobs.store import Begun, Done, Failed, NewJob

from . import statements
from .connection import Database
from .rows import Row, Rows

if TYPE_CHECKING:
    from psycopg import Connection, Cursor


T = TypeVar("T")

PIECE = 32 << 20
"""Bytes of one statement: the server takes a list of up to 1 GiB, and several copies of it lie in memory."""


class Move(NamedTuple):
    """Something to do with the row of one job."""

    id: str
    do: Callable[[Rows, Any], object]
    """A method of `Rows`."""
    what: object
    """Its argument."""
    reads: bool = False
    """It changes nothing."""


class Begin(NamedTuple):
    """Begin up to so many attempts."""

    most: int


class Ask(NamedTuple):
    """A statement, after the moves."""

    query: str
    values: Mapping[str, object]
    read: "Callable[[list[tuple[Any, ...]]], object]"
    """The answer, from the rows."""


Step = Move | Begin | Ask


class Moves:
    """Does the steps of one store, whose id is `me`. Belongs to one thread at a time."""

    def __init__(self, database: Database, me: str) -> None:
        self._database = database
        self._me = me
        self._unheard: dict[int, float] = {}
        """Batches of which nobody knows whether they have begun, since the connection broke in the moment of the
        commit, and until when they are given back: a server that was stopped may commit later than one thinks."""
        self._same: dict[str, object] = {"me": me, "channel": database.schema}

    def do(self, steps: Sequence[Step]) -> list[Any]:
        """An answer for each. Raises `StoreError`."""
        batch = statements.random_number()
        try:
            answers = self._database.use(lambda connection: self._do(connection, steps, batch))
        except StoreError:
            if self._database.committing and any(isinstance(step, Begin) for step in steps):
                self._unheard[batch] = math.inf
            raise
        now = clock.now()
        still = now + self._database.patience
        self._unheard = {batch: min(until, still) for batch, until in self._unheard.items() if until > now}
        return answers

    def _do(self, connection: "Connection", steps: Sequence[Step], batch: int) -> list[Any]:
        moves = [step for step in steps if isinstance(step, Move)]
        begins = [step for step in steps if isinstance(step, Begin)]
        asks = [step for step in steps if isinstance(step, Ask)]
        with connection.pipeline():
            connection.execute("BEGIN")
            rows = self._read(connection, moves)
            moved = [move.do(rows, move.what) for move in moves]
            self._write(connection, rows)
            if self._unheard:
                self._execute(connection, statements.GIVE_BACK, batches=list(self._unheard))
            begun = self._begin(connection, sum(begin.most for begin in begins), batch)
            asked = [self._execute(connection, ask.query, **ask.values) for ask in asks]
            self._notify(connection, rows)
            self._database.committing = True
            connection.execute("COMMIT")
        answers: dict[type, Iterator[Any]] = {
            Move: iter(moved),
            Begin: _shared(begins, begun),
            Ask: (ask.read(found.fetchall()) for ask, found in zip(asks, asked, strict=True)),
        }
        return [next(answers[type(step)]) for step in steps]

    # --- in the order of the transaction ---

    def _read(self, connection: "Connection", moves: Sequence[Move]) -> Rows:
        if not moves:
            return Rows([], self._me)
        query = statements.READ if all(move.reads for move in moves) else statements.LOCK
        ids = sorted({move.id.encode() for move in moves})
        return Rows(map(row_of, self._execute(connection, query, ids=ids)), self._me)

    def _write(self, connection: "Connection", rows: Rows) -> None:
        for new in _pieces(rows.new.values(), lambda job: len(job.payload)):
            payloads, attached = [job.payload for job in new], [job.attached for job in new]
            self._execute(connection, statements.ADD, ids=_ids(new), payloads=payloads, attached=attached)
        if home := rows.home.values():
            self._execute(connection, statements.COME_HOME, ids=_ids(home))
        if back := rows.back.values():
            self._execute(
                connection,
                statements.COME_BACK,
                ids=_ids(back),
                states=[row.state for row in back],
                **_came_back(back),
            )
        for ended in _pieces(rows.ended.values(), lambda row: sum(map(len, _columns(row.outcome)))):
            outcomes = [_columns(row.outcome) for row in ended]
            results, codes, texts = map(list, zip(*outcomes, strict=True))
            self._execute(
                connection,
                statements.END,
                ids=_ids(ended),
                states=[row.state for row in ended],
                ended_by=[row.ended_by for row in ended],
                results=results,
                codes=codes,
                texts=texts,
                **_came_back(ended),
            )
        if progressed := rows.progressed.values():
            said = [row.progress for row in progressed]
            self._execute(connection, statements.SAY, ids=_ids(progressed), said=said)

    def _begin(self, connection: "Connection", most: int, batch: int) -> "Cursor | None":
        if not most:
            return None
        self._execute(connection, statements.LIVE, beat=statements.random_number())
        self._execute(connection, statements.RELEASE)
        return self._execute(connection, statements.BEGIN, most=most, batch=batch)

    def _notify(self, connection: "Connection", rows: Rows) -> None:
        """Those who wait for jobs or outcomes. What is delayed this store has to hear as well, to be there in time."""
        if any(row.state == "delayed" for row in rows.back.values()):
            self._execute(connection, statements.NOTIFY, said="")
        elif rows.new or rows.back or rows.ended:
            self._execute(connection, statements.NOTIFY, said=self._me)

    def _execute(self, connection: "Connection", query: str, **values: object) -> "Cursor":
        return connection.cursor(binary=True).execute(query, self._same | values)


def row_of(columns: tuple[Any, ...]) -> Row:
    """Of `READ` and its like."""
    (
        job_id, state, attempt, since, attached, home, store,
        ended_by, returned_by, returned_for, progress, result, code, text,
    ) = columns  # fmt: skip
    outcome: Done | Failed | None = None
    if state == "done":
        outcome = Done(result)
    elif state == "failed":
        outcome = Failed(code.decode(), text.decode())
    return Row(
        job_id.decode(),
        state,
        attempt,
        since,
        attached,
        home,
        store,
        ended_by,
        returned_by,
        returned_for,
        progress,
        outcome,
    )


def _came_back(rows: Collection[Row]) -> dict[str, list[Any]]:
    """What `Rows` has noted when jobs came back. One may have ended in the same transaction, and is written once."""
    return {
        "counted_since": [row.since for row in rows],
        "returned_by": [row.returned_by for row in rows],
        "afters": [row.returned_for for row in rows],
    }


def _columns(outcome: Done | Failed | None) -> tuple[bytes, bytes, bytes]:
    match outcome:
        case Done(result):
            return result, b"", b""
        case Failed(code, text):
            return b"", code.encode(), text.encode()
    raise AssertionError("it has ended")


def _pieces(things: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Lists that together are no larger than `PIECE`, or have but one thing."""
    piece: list[T] = []
    left = PIECE
    for thing in things:
        left -= size(thing)
        if left < 0 and piece:
            yield piece
            piece, left = [], PIECE - size(thing)
        piece.append(thing)
    if piece:
        yield piece


def _ids(jobs: Iterable[NewJob | Row]) -> list[bytes]:
    return [job.id.encode() for job in jobs]


def _shared(begins: Sequence[Begin], begun: "Cursor | None") -> Iterator[list[Begun]]:
    """What has begun, for each of those who wanted it."""
    jobs = [] if begun is None else sorted(begun.fetchall())
    found = iter([Begun(job_id.decode(), *columns) for _, job_id, *columns in jobs])
    return (list(islice(found, begin.most)) for begin in begins)
