"""What the verbs of a store do with the rows of jobs that a transaction has locked. No SQL, no I/O.

`Rows` is asked one verb after the other, answers, and remembers which rows have to be written, and how.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from chanlink.patterns.jobs.store import CANCELLED, Again, Done, End, Failed, Known, NewJob, State


@dataclass(slots=True)
class Row:
    """A job as the table has it, without its payload."""

    id: str
    state: State
    attempt: int
    since: int
    """The newest one when it was last let begin anew by `retry`."""
    attached: bool
    home: str | None
    """The store in which the attempts of an attached job begin; None while there is none: then in any."""
    store: str | None
    """That which runs it, or has ended it."""
    ended_by: int = 0
    """The attempt whose outcome it has; 0: it has none, or was cancelled. By this and the next two, what was counted
    is known again."""
    returned_by: int = 0
    """The last attempt that wanted another one, and how many seconds later; 0 before that."""
    returned_for: float = 0.0
    progress: bytes | None = None
    outcome: Done | Failed | None = None

    def known(self, *, new: bool = False) -> Known:
        return Known(self.id, self.state, self.attempt, self.outcome, self.progress, new)


class Rows:
    """The rows of a transaction, by id, and what has to be written of them. `me` is the store."""

    def __init__(self, rows: Iterable[Row], me: str) -> None:
        self._rows = {row.id: row for row in rows}
        self._me = me
        self.new: dict[str, NewJob] = {}
        self.home: dict[str, Row] = {}
        self.back: dict[str, Row] = {}
        """Those that wait again, in the order in which they came back."""
        self.ended: dict[str, Row] = {}
        self.progressed: dict[str, Row] = {}

    def add(self, job: NewJob) -> Known:
        """As `Store.add`."""
        row = self._rows.get(job.id)
        if row is None:
            self.new[job.id] = job
            home = self._me if job.attached else None
            row = self._rows[job.id] = Row(job.id, "waiting", 0, 0, job.attached, home, None)
            return row.known(new=True)
        if row.attached and row.outcome is None and row.home != self._me:
            row.home = self._me
            self.home[row.id] = row
        return row.known()

    def end(self, end: End) -> bool:
        """As `Store.end`."""
        row = self._rows.get(end.id)
        if row is None:
            return False
        if isinstance(end.outcome, Again):
            return self._again(row, end.attempt, end.outcome)
        if row.outcome is None:
            self._finish(row, end.attempt, end.outcome)
        return (row.ended_by, row.outcome) == (end.attempt, end.outcome)

    def _again(self, row: Row, attempt: int, again: Again) -> bool:
        if row.state == "running" and row.attempt == attempt:
            row.returned_by, row.returned_for = attempt, again.after
            self._wait(row)
        return (row.returned_by, row.returned_for) == (attempt, again.after)

    def cancel(self, job_id: str) -> Known | None:
        """As `Store.cancel`."""
        row = self._rows.get(job_id)
        if row is not None and row.outcome is None:
            self._finish(row, 0, Failed(CANCELLED, ""))
        return self.find(job_id)

    def retry(self, job_id: str) -> Known | None:
        """As `Store.retry`."""
        row = self._rows.get(job_id)
        if row is not None and row.state == "failed":
            row.since, row.ended_by, row.outcome = row.attempt, 0, None
            row.returned_by, row.returned_for = 0, 0.0
            self._wait(row)
        return self.find(job_id)

    def find(self, job_id: str) -> Known | None:
        """As `Store.find`."""
        row = self._rows.get(job_id)
        return None if row is None else row.known()

    def says(self, progress: tuple[str, bytes]) -> None:
        """The progress of a running job, as `Store.renew` has it."""
        job_id, said = progress
        row = self._rows.get(job_id)
        if row is not None and row.state == "running" and row.store == self._me and row.progress != said:
            row.progress = said
            self.progressed[row.id] = row

    def _finish(self, row: Row, attempt: int, outcome: Done | Failed) -> None:
        row.state = "done" if isinstance(outcome, Done) else "failed"
        row.outcome, row.ended_by, row.progress, row.store = outcome, attempt, None, self._me
        self._written_as(self.ended, row)

    def _wait(self, row: Row) -> None:
        row.state = "delayed" if row.returned_for > 0 else "waiting"
        row.progress = row.store = None
        self._written_as(self.back, row)

    def _written_as(self, kind: dict[str, Row], row: Row) -> None:
        """A row is written once: as what became of it last."""
        for written in (self.back, self.ended, self.progressed):
            written.pop(row.id, None)
        kind[row.id] = row
