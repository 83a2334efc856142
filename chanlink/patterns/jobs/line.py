"""A worker's line: what it says, and what it is told."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import anyio
from anyio import CancelScope

from chanlink.channels.channel import Receiver, Sender
from chanlink.errors import END, ChannelError, DecodeError, MessageError, MessageTypeError, Reason
from chanlink.session.session import until_draining

from .attempts import Attempt, Attempts, pause
from .outbox import Outbox
from .outcomes import Outcomes
from .requests import MAX_TEXT, Refusal, key_of, number_of, payload_of, reason_of, refuse_ends, seconds_of
from .store import Begun, Done, Failed

UNSENT = 1_000
"""Notices that wait until a worker has room for them, at which nothing more is heard of it."""
UNSENT_BYTES = 1024 * 1024
"""Payloads that wait so, at which it gets no more jobs, whatever it has asked for."""
WORDS = frozenset(["done", "failed", "again", "progress", "stop"])
"""What stands in a message of a worker besides `ask`: one of them at most."""


class Lines(Protocol):
    """What a line tells of itself."""

    def wants(self, line: "Line") -> None:
        """It may have asked for jobs."""

    def progressed(self, attempt: Attempt, value: bytes) -> None:
        """The worker of an attempt says so."""


class Line:
    """One worker: it asks for jobs, has some, and says what becomes of them."""

    def __init__(
        self,
        notices: Sender[Any],
        says: Receiver[Any],
        *,
        name: str,
        slots: int,
        check: Callable[[bytes], object],
        attempts: Attempts,
        outcomes: Outcomes,
        lines: Lines,
    ) -> None:
        """`check` raises for what is no result. The sender moves here; raises as an `Outbox`."""
        self.name = name
        self.slots = slots
        self._asked = 0
        """How many jobs it takes more."""
        self.running: dict[int, Attempt] = {}
        """What it has, and has not ended, by their keys."""
        self._ending: dict[int, Attempt] = {}
        """What it has ended, and has not been told what becomes of that."""
        self._on_the_way = 0
        """Jobs that it has asked for, and that will come when what goes with them is there."""
        self._last_key = 0
        self._stopped = False
        self._says = says
        self._check = check
        self._attempts = attempts
        self._outcomes = outcomes
        self._lines = lines
        self._moved = anyio.Event()
        self._scope = CancelScope()
        self._notices = Outbox(notices, moved=self._look, dropped=self._not_sent)

    # --- jobs go there ---

    @property
    def asked(self) -> int:
        """How many jobs it takes now."""
        return self._asked if self._notices.size < UNSENT_BYTES else 0

    def reserve(self) -> None:
        """One of the jobs that were asked for is on its way."""
        self._asked -= 1
        self._on_the_way += 1

    def release(self) -> None:
        """It does not come after all: the worker still waits for one."""
        self._on_the_way -= 1
        if not self._stopped:
            self._asked += 1
        self._look()

    def give(self, begun: Begun, attached: object = None) -> bool:
        """Give it the job for which there is a reservation; False if it is gone."""
        self._on_the_way -= 1
        if self._notices.over:
            return False
        self._last_key += 1
        attempt = self.running[self._last_key] = Attempt(begun, self, self._last_key)
        self._attempts.add(attempt)
        notice = {"job": attempt.key, "id": begun.id, "attempt": begun.attempt, "payload": begun.payload}
        if begun.attached:
            notice["attached"] = attached
        self._notices.send(notice, len(begun.payload))
        return True

    def _not_sent(self, notice: dict[str, Any], error: MessageError) -> None:
        """It takes no such message: too large, too many ends. Its other jobs go on."""
        refuse_ends(notice.get("attached"))
        if (attempt := self.running.pop(notice.get("job", 0), None)) is None:
            return
        self._attempts.remove(attempt)
        self._outcomes.lost(attempt, f"it can't be sent to its worker: {error}"[:MAX_TEXT], pause(attempt.tries))
        if not self._stopped:
            self._asked += 1
            self._lines.wants(self)

    def jobs(self) -> Iterator[str]:
        """The ids of what it has."""
        return (attempt.id for attempt in self.running.values())

    # --- as a holder ---

    def counted(self, attempt: Attempt) -> None:
        self._over("counted", attempt)

    def stale(self, attempt: Attempt) -> None:
        self._over("stale", attempt)

    def _over(self, word: str, attempt: Attempt) -> None:
        self.running.pop(attempt.key, None)
        self._ending.pop(attempt.key, None)
        self._notices.send({word: attempt.key})
        self._look()

    # --- what it says ---

    async def run(self) -> None:
        """Hear it, until its channels are over, or ours are draining and it has nothing left."""
        reason = Reason("failed", "draining", "this queue gives no more jobs")
        try:
            with self._scope:
                self._look()
                with until_draining():
                    await self._hear()
                self.stop()
                await self._hear()
        except Refusal as exc:
            reason = Reason("failed", exc.code, exc.text)
        except (ChannelError, DecodeError):  # it is gone
            reason = END
        finally:
            self._leave(reason)

    def stop(self) -> None:
        """It gets no more jobs. When it has none, it is told so by the end of its channels."""
        self._stopped = True
        self._asked = 0
        self._look()

    def _look(self) -> None:
        """Something has left, or is over."""
        self._moved.set()
        if self._asked:
            self._lines.wants(self)
        idle = not (self.running or self._ending or self._on_the_way)
        if self._notices.over or (self._stopped and idle):
            self._scope.cancel()

    def _leave(self, reason: Reason) -> None:
        """It is gone, or has to go: others get its jobs."""
        self._stopped, self._asked = True, 0
        for attempt in self.running.values():
            self._attempts.remove(attempt)
            if not attempt.silent:
                self._outcomes.lost(attempt, "its worker was lost")
        self.running.clear()
        self._says.refuse(reason.code or "closed", reason.text)
        self._notices.end(reason)

    async def _hear(self) -> None:
        """Hear what it says, as long as it has room for answers."""
        while True:
            for message in await self._says.receive_many():
                self._take(message)
            if self._asked:
                self._lines.wants(self)
            while len(self._notices) > UNSENT:
                self._moved = anyio.Event()
                await self._moved.wait()

    def _take(self, message: Any) -> None:
        if type(message) is not dict:
            refuse_ends(message)
            raise Refusal("bad-request", "what a worker says is a map")
        words = WORDS.intersection(message)
        if len(words) > 1 or not (words or "ask" in message):
            raise Refusal("bad-request", "one of done, failed, again, progress, stop is wanted, or ask")
        for word in words:
            if word == "stop":
                self._asked = 0
            else:
                self._take_word(word, message)
        if "ask" in message and not self._stopped:
            self._ask(number_of(message, "ask", self.slots))

    def _ask(self, jobs: int) -> None:
        if self._asked + self._on_the_way + len(self.running) + jobs > self.slots:
            raise Refusal("bad-request", f"ask: more than {self.slots} slots")
        self._asked += jobs

    def _take_word(self, word: str, message: dict[str, Any]) -> None:
        """What it says of one job."""
        job_key = key_of(message, word)
        match word:
            case "progress":
                self._progress(job_key, payload_of(message, "value"))
            case "done":
                self._end(job_key, self._checked(payload_of(message, "result")))
            case "failed":
                self._end(job_key, Failed(*reason_of(message)))
            case "again":
                after, (code, text) = seconds_of(message, "after"), reason_of(message)
                if (attempt := self._ends(job_key)) is not None:
                    self._outcomes.said_again(attempt, after, f"{code}: {text}" if text else code)

    def _progress(self, job_key: int, value: bytes) -> None:
        attempt = self.running.get(job_key)
        if attempt is None:
            self._notices.send({"stale": job_key})
            return
        self._attempts.hear(attempt)
        if self._attempts.newest(attempt.id) is attempt and not attempt.silent:
            self._attempts.progress(attempt, value)
            self._lines.progressed(attempt, value)

    def _checked(self, result: bytes) -> Done | Failed:
        try:
            self._check(result)
        except (DecodeError, MessageTypeError) as exc:
            return Failed("bad-result", str(exc)[:MAX_TEXT])
        return Done(result)

    def _end(self, job_key: int, outcome: Done | Failed) -> None:
        if (attempt := self._ends(job_key)) is not None:
            self._outcomes.said(attempt, outcome)

    def _ends(self, job_key: int) -> Attempt | None:
        """The attempt that it has ended. None if it has none of this key: then it is told so."""
        attempt = self.running.pop(job_key, None)
        if attempt is None:
            self._notices.send({"stale": job_key})
        else:
            self._ending[job_key] = attempt
        return attempt
