"""The attempts that this queue knows of: which worker has which job, and when it was heard of last.

Time goes by in ticks, ten in a silence, of which each is one however long our event loop stood still: what lay unread
meanwhile is read before the silence is over.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chanlink.limits import STEPS

from .store import Begun

LONGEST_PAUSE = 60.0


def pause(number: int) -> float:
    """Seconds until the next attempt, behind this one, when it was nobody's fault and will perhaps be better later."""
    return float(min(2.0 ** min(number - 1, 10), LONGEST_PAUSE))


class Holder(Protocol):
    """Where an attempt is: with a worker, or on its way there."""

    def counted(self, attempt: "Attempt") -> None:
        """What was said of it counts; it is over."""

    def stale(self, attempt: "Attempt") -> None:
        """The job has another outcome, or will have; it is over."""


class Attempt:
    """One giving of a job to a worker."""

    __slots__ = ("ending", "holder", "id", "key", "number", "progress", "silent", "tick", "tries")

    def __init__(self, begun: Begun, holder: Holder, key: int) -> None:
        self.id = begun.id
        self.number = begun.number
        self.tries = begun.tries
        self.holder = holder
        self.key = key
        """Of the job, at its holder."""
        self.progress: bytes | None = None
        """What its worker has said last."""
        self.ending = False
        """Whether its worker has said what it came to, and will be told whether that counts."""
        self.silent = False
        """Whether its job is given again, since nothing was heard."""
        self.tick = 0
        """In which one something was heard."""

    def hears(self, tick: int) -> None:
        """Its worker has said something of it."""
        self.tick = tick

    def says(self, value: bytes) -> None:
        """How far it is, by its worker."""
        self.progress = value

    def ends(self) -> None:
        """Its worker has said what it came to."""
        self.ending = True

    def falls_silent(self) -> None:
        """Nothing was heard of it for the silence."""
        self.silent = True


class Attempts:
    """All that are not over. An older attempt of a job may be among them: it may still count."""

    def __init__(self) -> None:
        self._by_id: dict[str, dict[Attempt, None]] = {}
        self._heard: dict[Attempt, None] = {}
        """Those that are not silent; what was heard of the longest time ago comes first."""
        self._ticks = 0
        self._told: dict[str, bytes] = {}
        """The progress of which the store does not know."""

    def __len__(self) -> int:
        """How many jobs have some."""
        return len(self._by_id)

    def add(self, attempt: Attempt) -> None:
        """It begins."""
        self._by_id.setdefault(attempt.id, {})[attempt] = None
        self.hear(attempt)

    def hear(self, attempt: Attempt) -> None:
        """Its worker has said something of it."""
        if not attempt.silent:
            self._heard.pop(attempt, None)
            self._heard[attempt] = None
            attempt.hears(self._ticks)

    def progress(self, attempt: Attempt, value: bytes) -> None:
        """Its worker has said this."""
        attempt.says(value)
        self._told[attempt.id] = value

    def rest(self, attempt: Attempt) -> None:
        """Nothing has to be heard of it."""
        self._heard.pop(attempt, None)

    def remove(self, attempt: Attempt) -> bool:
        """It is over; False if it was before."""
        attempts = self._by_id.get(attempt.id, {})
        if attempt not in attempts:
            return False
        del attempts[attempt]
        self._heard.pop(attempt, None)
        if not attempts:
            del self._by_id[attempt.id]
            self._told.pop(attempt.id, None)
        return True

    def of(self, job_id: str) -> Sequence[Attempt]:
        """Those of one job, the oldest first."""
        return [*self._by_id.get(job_id, ())]

    def newest(self, job_id: str) -> Attempt | None:
        """The newest one of a job."""
        return next(reversed(self._by_id.get(job_id, {})), None)

    def tick(self) -> Sequence[Attempt]:
        """A tenth of the silence has gone by: those that have become silent."""
        self._ticks += 1
        silent = []
        for attempt in self._heard:
            if self._ticks - attempt.tick <= STEPS:
                break
            silent.append(attempt)
        for attempt in silent:
            del self._heard[attempt]
            attempt.falls_silent()
        return silent

    def untold(self) -> Mapping[str, bytes]:
        """The progress that was not asked for yet; the next call has what is newer."""
        told, self._told = self._told, {}
        return told
