"""Jobs in an SQLite file, and how they move on: what an `SQLiteStore` does in its thread, each in a transaction.

Nothing here looks at more rows than it changes or gives, however many there are: the tables know whose turn is next,
what is due and what is old (sqlite_tables.py), and how many there are is counted in memory.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from chanlink import clock

from . import sqlite_tables as sql
from .sqlite_file import SQLiteFile
from .sqlite_tables import DELAYED, DONE, FAILED, RUNNING, WAITING
from .store import CANCELLED, STATES, Again, Begun, Done, End, Failed, Known, NewJob, State

A_FEW = 500
"""Jobs that were forgotten, or are due, in one transaction: others wait for that."""


class Row(NamedTuple):
    """What `sqlite_tables.FIND` finds."""

    number: int
    state: int
    attempt: int
    ended_by: int | None
    code: str | None
    text: str | None
    returned_by: int | None
    returned_for: float | None


class Jobs:
    """The jobs of a file, for one thread at a time; and attempts that nobody works on any more are taken back.

    Ended jobs are forgotten after `keep` seconds, or when there are more than `most_ended`.
    """

    def __init__(
        self, file: SQLiteFile, *, keep: float, most_ended: int, wall: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._execute, self._execute_many = file.connection.execute, file.connection.executemany
        self._keep, self._most_ended = keep, most_ended
        # Delays and ages go by a clock that is never set as long as this process lives, and that begins no earlier
        # than it ever was in this file: so nothing is delayed for longer than was asked for, whatever the wall says.
        (last_time,) = self._execute(sql.TIME).fetchone()
        self._clock_began: float = max(wall(), last_time) - clock.now()
        last_turn = self._execute(sql.LAST).fetchone()
        self._turn = 0 if last_turn is None else last_turn[0]
        self._counts = dict.fromkeys(range(len(STATES)), 0) | dict(self._execute(sql.COUNT).fetchall())
        with self.transaction():
            self._let_wait(self._execute(sql.LEFT_RUNNING).fetchall(), RUNNING)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As that of the file; what is counted in memory follows."""
        counts, turn = self._counts.copy(), self._turn
        try:
            with self._file.transaction():
                yield
        except BaseException:
            self._counts, self._turn = counts, turn
            raise

    # --- the verbs ---

    def add(self, jobs: Sequence[NewJob]) -> list[Known]:
        return [self._add(job) for job in jobs]

    def _add(self, job: NewJob) -> Known:
        added = self._execute(sql.ADD, (job.id.encode(), self._turn + 1, job.attached))
        if not added.rowcount:
            [known] = self.find([job.id])
            assert known is not None
            return known
        self._execute(sql.ADD_BODY, (added.lastrowid, job.payload))
        self._turn += 1
        self._counts[WAITING] += 1
        return Known(job.id, "waiting", 0, None, None, new=True)

    def begin(self, mosts: Sequence[int]) -> list[list[Begun]]:
        """For several who want to begin some."""
        self._let_wait(self._execute(sql.DUE, (self._now(), A_FEW)).fetchall(), DELAYED)
        rows = self._execute(sql.NEXT, (sum(mosts),)).fetchall()
        self._execute_many(sql.BEGIN, [(number,) for number, *_ in rows])
        self._moved(WAITING, RUNNING, len(rows))
        begun = iter(
            [Begun(id.decode(), body, attempt + 1, bool(to), since) for _, id, body, attempt, to, since in rows]
        )
        return [list(islice(begun, most)) for most in mosts]

    def end(self, ends: Sequence[End]) -> list[bool]:
        ended_before = self._ended()
        counts = [self._end(end) for end in ends]
        self._forget_some(ended_before)
        return counts

    def _end(self, end: End) -> bool:
        row = self._row(end.id)
        if row is None:
            return False
        outcome = end.outcome
        if isinstance(outcome, Again):
            if row.state == RUNNING and row.attempt == end.attempt:
                self._return(row, outcome.after)
                return True
            return (row.returned_by, row.returned_for) == (end.attempt, outcome.after)
        if row.state < DONE:
            self._finish(row, end.attempt, outcome)
            return True
        return row.ended_by == end.attempt and self._outcome(row) == outcome

    def cancel(self, ids: Sequence[str]) -> list[Known | None]:
        ended_before = self._ended()
        for row in filter(None, map(self._row, dict.fromkeys(ids))):
            if row.state < DONE:
                self._finish(row, None, Failed(CANCELLED, ""))
        found = self.find(ids)
        self._forget_some(ended_before)
        return found

    def retry(self, ids: Sequence[str]) -> list[Known | None]:
        for row in filter(None, map(self._row, dict.fromkeys(ids))):
            if row.state == FAILED:
                self._execute(sql.RETRY, (self._next_turn(), row.number))
                self._moved(FAILED, WAITING)
        return self.find(ids)

    # --- questions ---

    def find(self, ids: Sequence[str]) -> list[Known | None]:
        rows = [(id, self._row(id)) for id in ids]
        return [None if row is None else self._known(id, row) for id, row in rows]

    def counts(self, askers: Sequence[None]) -> list[dict[State, int]]:
        """The same for all who ask."""
        return [{STATES[state]: count for state, count in self._counts.items()} for _ in askers]

    def failed(self, pages: Sequence[tuple[str, int]]) -> list[list[Known]]:
        """For several who want a page: behind which id, and how many."""
        return [
            [
                Known(id.decode(), "failed", attempt, Failed(code, text), None, new=False)
                for id, attempt, code, text in self._execute(sql.DEAD, (after.encode(), most))
            ]
            for after, most in pages
        ]

    def pass_time(self, askers: Sequence[None]) -> list[tuple[bool, float]]:
        """Do what is to be done because time has gone by: whether jobs wait that did not, and seconds until the next of
        that is to be done."""
        due = self._execute(sql.DUE, (self._now(), A_FEW)).fetchall()
        self._let_wait(due, DELAYED)
        self._forget(A_FEW)
        return [(bool(due), self._until_next()) for _ in askers]

    # --- how a job moves on ---

    def _finish(self, row: Row, attempt: int | None, outcome: Done | Failed) -> None:
        if isinstance(outcome, Done):
            state, code, text = DONE, None, None
            self._execute(sql.SET_BODY, (outcome.result, row.number))
        else:
            state, (code, text) = FAILED, outcome
        self._execute(sql.FINISH, (state, self._note_time(), attempt, code, text, row.number))
        self._moved(row.state, state)

    def _return(self, row: Row, after: float) -> None:
        if after > 0:
            state, rank = DELAYED, self._note_time() + after
        else:
            state, rank = WAITING, self._next_turn()
        self._execute(sql.RETURN, (state, rank, row.attempt, after, row.number))
        self._moved(RUNNING, state)

    def _let_wait(self, numbers: Sequence[tuple[int]], state: int) -> None:
        self._execute_many(sql.WAIT, [(self._next_turn(), number) for (number,) in numbers])
        self._moved(state, WAITING, len(numbers))

    def _moved(self, state: int, to: int, count: int = 1) -> None:
        self._counts[state] -= count
        self._counts[to] += count

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    # --- what is old ---

    def _forget_some(self, ended_before: int) -> None:
        """More than came: so it goes away as fast as others come, however much there is."""
        if (came := self._ended() - ended_before) > 0:
            self._forget(2 * came)

    def _forget(self, most: int) -> None:
        too_many = self._ended() - self._most_ended
        too_old = self._now() - self._keep
        rows = self._execute(sql.OLDEST, {"most": most}).fetchall()
        old = [
            (number, state) for place, (number, state, rank) in enumerate(rows) if place < too_many or rank < too_old
        ]
        numbers = [(number,) for number, _ in old]
        self._execute_many(sql.FORGET, numbers)
        self._execute_many(sql.FORGET_BODY, numbers)
        for _, state in old:
            self._counts[state] -= 1

    def _ended(self) -> int:
        return self._counts[DONE] + self._counts[FAILED]

    # --- time ---

    def _now(self) -> float:
        return self._clock_began + clock.now()

    def _note_time(self) -> float:
        """What is written beside a job."""
        now = self._now()
        self._execute(sql.SET_TIME, (now,))
        return now

    def _until_next(self) -> float:
        if self._ended() > self._most_ended:
            return 0.0
        moments = [self._first(DELAYED), self._first(DONE) + self._keep, self._first(FAILED) + self._keep]
        return max(0.0, min(moments) - self._now())

    def _first(self, state: int) -> float:
        found = self._execute(sql.FIRST, (state,)).fetchone()
        return float("inf") if found is None else float(found[0])

    # --- reading ---

    def _row(self, id: str) -> Row | None:
        found = self._execute(sql.FIND, (id.encode(),)).fetchone()
        return None if found is None else Row(*found)

    def _known(self, id: str, row: Row) -> Known:
        return Known(id, STATES[row.state], row.attempt, self._outcome(row), None, new=False)

    def _outcome(self, row: Row) -> Done | Failed | None:
        if row.state == DONE:
            (result,) = self._execute(sql.BODY, (row.number,)).fetchone()
            return Done(result)
        return None if row.code is None else Failed(row.code, row.text or "")
