"""Those who have brought jobs, or found them, and want to know what becomes of them: tickets, seen from the queue.

A ticket costs no task. Of each sort of news only the newest is kept while the channel has no room, so it is bounded,
and the outcome is the last one.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio

from chanlink.channels.channel import Sender
from chanlink.channels.pushing import Pusher
from chanlink.errors import END, Reason

from .outbox import pusher
from .store import Done, Failed, Known

SOON = 0.05
"""Seconds after which it is told that an attempt has begun. Of a job that is done by then, there is a message less."""
STOPS = "draining", "this queue takes no more requests"


class Follower:
    """Whoever has asked for a job, at the other side of a sender, which moves here. Raises as an `Outbox`.

    Nothing is sent before it is known what the job is.
    """

    def __init__(
        self,
        job_id: str,
        answer: Sender[Any],
        followers: "Followers",
        *,
        attaches: bool = False,
        over: Callable[["Follower"], None] = lambda follower: None,
    ) -> None:
        """`over` is called when nothing more is told."""
        self.job_id = job_id
        self.over = over
        self.attaches = attaches
        """Whether it is asked for what goes with each attempt."""
        self._followers = followers
        self._news: dict[str, dict[str, Any]] = {}
        """By their sort, in the order in which they are to leave."""
        self._offered: tuple[str, dict[str, Any]] | None = None
        """What the pusher has got last."""
        self._sent = 0
        self._opened = False
        self._draining = False
        self._pusher = pusher(answer, self)
        followers.add(self)

    def opens(self, known: Known, progress: bytes | None) -> None:
        """What the job is now. What has been told before goes behind it."""
        news, self._news = self._news, {}
        state = "waiting" if known.state == "delayed" else known.state
        self._news["state"] = {"state": state, "attempt": known.attempt, "new": known.new}
        if progress is not None and "progress" not in news:
            self._news["progress"] = {"attempt": known.attempt, "progress": progress}
        self._news |= news
        self._opened = True
        if known.outcome is not None:
            self.ends(known.outcome, known.attempt)
        elif "outcome" in self._news:
            self._finish(END)
        else:
            self.push()

    def begins(self, attempt: int) -> None:
        """This attempt has begun. What an older one has said is no news any more."""
        self._forget("progress")
        self._news["attempt"] = {"attempt": attempt}
        self._followers.tell_soon(self)

    def progresses(self, attempt: int, value: bytes) -> None:
        """The worker of this attempt says so."""
        self._forget("attempt")
        self._tell("progress", {"attempt": attempt, "progress": value})

    def attach(self, attempt: int, attachment: Sender[Any]) -> None:
        """It shall send what goes with this attempt."""
        self._forget("attach")
        self._tell("attach", {"attempt": attempt, "attach": attachment})

    def waits_again(self) -> None:
        """The job waits for its next attempt."""
        if self._draining:
            self.fail(*STOPS)

    def drain(self, *, runs: bool) -> None:
        """It hears no more than the outcome of what runs, if the job does."""
        self._draining = True
        if not runs:
            self.fail(*STOPS)

    def ends(self, outcome: Done | Failed, attempt: int) -> None:
        """The job has this outcome, by this attempt."""
        self._forget("attempt")
        if isinstance(outcome, Done):
            self._news["outcome"] = {"done": outcome.result}
        else:
            self._news["outcome"] = {"failed": outcome.code, "text": outcome.text, "attempt": attempt}
        if self._opened:
            self._finish(END)

    def fail(self, code: str, text: str = "") -> None:
        """It hears nothing more, for this reason."""
        self._opened = True
        for sort in [*self._news]:
            self._forget(sort)
        self._finish(Reason("failed", code, text))

    def push(self) -> None:
        """Tell what there is."""
        if self._opened:
            self._pusher.push()
            self._look()

    def _look(self) -> None:
        """Its receiver may be gone, or take no such message."""
        if self._pusher.over:
            self._forget("attach")
            self._followers.discard(self)

    def _tell(self, sort: str, message: dict[str, Any]) -> None:
        self._news[sort] = message
        self.push()

    def _forget(self, sort: str) -> None:
        news = self._news.pop(sort, None)
        if news is not None and sort == "attach":
            news["attach"].close()  # nobody was asked

    def _finish(self, reason: Reason) -> None:
        self._pusher.end(reason)
        self._followers.discard(self)

    # --- as a supply ---

    def after(self, position: int) -> tuple[object, int] | None:
        if self._sent < position:
            self._sent = position
            self._has_left()
        if not (self._opened and self._news):
            return None
        self._offered = next(iter(self._news.items()))
        return self._offered[1], position + 1

    def _has_left(self) -> None:
        assert self._offered is not None
        sort, message = self._offered
        if self._news.get(sort) is message:  # else there is newer news of this sort by now
            del self._news[sort]

    def served(self, pusher: Pusher) -> None:
        self._look()


class Followers:
    """All of them, by the ids of their jobs."""

    def __init__(self) -> None:
        self._by_id: dict[str, dict[Follower, None]] = {}
        self._soon: dict[Follower, None] = {}
        self._any_soon = anyio.Event()
        self._missed: dict[str, anyio.Event] = {}
        """Jobs for which nobody is there who attaches something."""

    def __len__(self) -> int:
        """How many jobs are followed."""
        return len(self._by_id)

    def add(self, follower: Follower) -> None:
        self._by_id.setdefault(follower.job_id, {})[follower] = None
        if follower.attaches and follower.job_id in self._missed:
            self._missed[follower.job_id].set()

    def discard(self, follower: Follower) -> None:
        """It is over."""
        followers = self._by_id.get(follower.job_id, {})
        if follower in followers:
            del followers[follower]
            if not followers:
                del self._by_id[follower.job_id]
            self._soon.pop(follower, None)
            follower.over(follower)

    def tell_soon(self, follower: Follower) -> None:
        """It has news that may wait a moment: perhaps there is better by then."""
        self._soon[follower] = None
        self._any_soon.set()

    async def run(self) -> None:
        """Tell what may wait a moment."""
        while True:
            await self._any_soon.wait()
            await anyio.sleep(SOON)
            self._any_soon = anyio.Event()
            soon, self._soon = self._soon, {}
            for follower in soon:
                follower.push()

    def of(self, job_id: str) -> Sequence[Follower]:
        """Those of one job, the oldest first."""
        return [*self._by_id.get(job_id, ())]

    def attaching(self, job_id: str) -> Follower | None:
        """The newest one that attaches something to this job."""
        return next((follower for follower in reversed(self.of(job_id)) if follower.attaches), None)

    async def until_attaching(self, job_id: str) -> None:
        """Wait until there is one."""
        event = self._missed[job_id] = anyio.Event()
        try:
            await event.wait()
        finally:
            if self._missed.get(job_id) is event:
                del self._missed[job_id]

    def all(self) -> Sequence[Follower]:
        return [follower for followers in self._by_id.values() for follower in followers]

    def followed(self, ids: Iterable[str]) -> list[str]:
        """Which of these jobs are followed."""
        return [job_id for job_id in ids if job_id in self._by_id]
