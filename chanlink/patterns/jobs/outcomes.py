"""What becomes of attempts: committed to the store, and then told to whoever wants to know it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import anyio
from anyio import CancelScope

from .attempts import Attempt, Attempts
from .followers import Followers
from .keeping import Insistence
from .requests import MAX_TEXT
from .store import Again, Done, End, Failed, Known, Store

SETTLING = 0.01
"""Seconds between looks, when the block of a queue is left."""
A_COMMIT = 1_000
"""How many are committed at a time, at most."""
USED_UP = "attempts-used-up"


class Numbered(Protocol):
    """An attempt: one that runs, or has just begun."""

    @property
    def id(self) -> str:
        """That of its job."""

    @property
    def number(self) -> int: ...

    @property
    def tries(self) -> int:
        """How many of those that are counted there were, with this one."""


class _Ending(NamedTuple):
    end: End
    attempt: Attempt | None
    """None if it never was anybody's."""
    said: bool
    """Whether its worker has said so, and is told what becomes of that."""


class Outcomes:
    """One task commits them, all that have come meanwhile at a time. Nothing is lost while the store fails."""

    def __init__(
        self,
        store: Store,
        insistence: Insistence,
        attempts: Attempts,
        followers: Followers,
        *,
        most: int,
        waits_again: Callable[[float], None],
    ) -> None:
        """After `most` attempts a job has failed. `waits_again` is called with the delay of one that waits again."""
        self._store = store
        self._insistence = insistence
        self._attempts = attempts
        self._followers = followers
        self._most = most
        self._waits_again = waits_again
        self._endings: list[_Ending] = []
        self._news = anyio.Event()
        self._committing = 0
        self._scope = CancelScope(shield=True)
        """What has ended is committed also when the block of the queue is cancelled."""
        self._over = False

    # --- what has become of an attempt ---

    def said(self, attempt: Attempt, outcome: Done | Failed) -> None:
        """Its worker has said so."""
        self._said(attempt, End(attempt.id, attempt.number, outcome))

    def said_again(self, attempt: Attempt, after: float, why: str) -> None:
        """Its worker has said that it has failed, and why."""
        self._said(attempt, self._again(attempt, after, why))

    def _said(self, attempt: Attempt, end: End) -> None:
        attempt.ends()
        self._attempts.rest(attempt)
        self._add(_Ending(end, attempt, True))

    def silent(self, attempt: Attempt, why: str) -> None:
        """It has become silent: its job is given again, and it may still count."""
        self._add(_Ending(self._again(attempt, 0.0, why), attempt, False))

    def lost(self, attempt: Numbered, why: str, after: float = 0.0) -> None:
        """It has begun, and nobody works on it any more, or ever did."""
        self._add(_Ending(self._again(attempt, after, why), None, False))

    def used_up(self, attempt: Numbered) -> None:
        """It has begun in the store, and should not have: it is one too many."""
        failed = Failed(USED_UP, f"nothing was heard of the last of {self._most} attempts")
        self._add(_Ending(End(attempt.id, attempt.number - 1, failed), None, False))

    def _again(self, attempt: Numbered, after: float, why: str) -> End:
        outcome: Failed | Again = Again(after)
        if attempt.tries >= self._most:
            outcome = Failed(USED_UP, f"the last of {attempt.tries} attempts: {why}"[:MAX_TEXT])
        return End(attempt.id, attempt.number, outcome)

    def _add(self, ending: _Ending) -> None:
        self._endings.append(ending)
        self._news.set()

    # --- the task ---

    async def run(self) -> None:
        """Until `stop`."""
        try:
            with self._scope:
                while True:
                    await self._commit()
        finally:
            self._over = True

    async def _commit(self) -> None:
        if not self._endings:
            self._news = anyio.Event()
            await self._news.wait()
        endings, self._endings = self._endings[:A_COMMIT], self._endings[A_COMMIT:]
        self._committing = len(endings)
        counted = await self._insistence.insist(partial(self._store.end, [ending.end for ending in endings]))
        for ending, counts in zip(endings, counted, strict=True):
            self._ended(ending, counts=counts)
        self._committing = 0

    async def settle(self) -> None:
        """Wait until all is committed."""
        while (self._endings or self._committing) and not self._over:
            await anyio.sleep(SETTLING)

    def stop(self) -> None:
        """Commit nothing more."""
        self._scope.cancel()

    def _ended(self, ending: _Ending, *, counts: bool) -> None:
        (job_id, number, outcome), attempt, said = ending
        if counts and said and attempt is not None and self._attempts.remove(attempt):
            attempt.holder.counted(attempt)
        if not counts:
            if attempt is not None and (said or not attempt.ending):  # else what its worker has said may count yet
                self._stale(attempt)
        elif isinstance(outcome, Again):
            self._waits_again(outcome.after)
            for follower in self._followers.of(job_id):
                follower.waits_again()
        else:
            self.settled(job_id, outcome, number)

    def _stale(self, attempt: Attempt) -> None:
        if self._attempts.remove(attempt):
            attempt.holder.stale(attempt)

    # --- the outcome of a job ---

    def settled(self, job_id: str, outcome: Done | Failed, number: int) -> None:
        """A job has come to its outcome, here or elsewhere: nobody else needs to work on it."""
        for attempt in self._attempts.of(job_id):
            if not attempt.ending:  # else the store has not answered yet: this outcome may be its own
                self._stale(attempt)
        for follower in self._followers.of(job_id):
            follower.ends(outcome, number)

    def known(self, known: Known) -> None:
        """What the store says of a job: if that has an outcome, as `settled`."""
        if known.outcome is not None:
            self.settled(known.id, known.outcome, known.attempt)
