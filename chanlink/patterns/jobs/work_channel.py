"""What a worker and a queue say to each other by one channel: the state of it, without a task.

What is to be said leaves at once as long as there is room. The rest waits here, of each job its outcome only, until the
task that has this channel sends it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from chanlink.channels.channel import Sender
from chanlink.errors import ChannelError, DecodeError, MessageError, MessageTypeError

from .job import Given, Job
from .payloads import unpack_as
from .way import no_queue, refuse_ends

BAD_JOB = "bad-job"
"""The code of a job whose payload is not of the worker's type."""
NOT_TAKEN = "not-taken"
"""The code of an attempt that came when its worker wanted none any more."""


class _Unsent:
    """A message that is about to leave."""

    def __init__(self, message: dict[str, Any], job: Job[Any, Any] | None = None) -> None:
        self.message = message
        self.job = job
        """Who wants to know if it can't be sent."""

    def asks(self, wanted: int) -> None:
        """It asks for so many jobs, too."""
        self.message["ask"] = wanted


class WorkChannel:
    """The jobs that have come by one channel, and what is to be said of them."""

    def __init__(
        self, says: Sender[Any], slots: int, job_type: Any, result_type: Any, waiting: Callable[[], int]
    ) -> None:
        self._says = says
        self._slots = slots
        self._job_type = job_type
        self._result_type = result_type
        self._waiting = waiting
        """How many tasks wait for a job now."""
        self.ready: deque[Job[Any, Any]] = deque()
        """Those that nobody has taken out yet."""
        self._jobs: dict[int, Job[Any, Any] | None] = {}
        """By their keys, until the queue says that these are over. None: nobody wants to know."""
        self._said: set[int] = set()
        """The keys of which an outcome was said, and the queue has not answered."""
        self._asked = 0
        """How many jobs were asked for and have not come."""
        self._stopped = False
        self._unsent: deque[_Unsent] = deque()
        self._room_wanted = anyio.Event()
        """There was no room for what is unsent, or there will never be any: it is the task's business now."""
        self._broken = False

    # --- what the worker wants --------------------------------------------------------------------

    def ask(self) -> None:
        """Ask for jobs, if anybody waits for one and slots are free.

        For no more, besides, than are worked on now: who takes one after the other has no use for a second one that
        lies here, while it could be elsewhere.
        """
        if self._stopped or not (waiting := self._waiting()) or len(self._said) > self._slots:
            return
        free = self._slots - self._asked - (len(self._jobs) - len(self._said))
        busy = len(self._jobs) - len(self.ready)
        wanted = min(free, waiting + busy - self._asked - len(self.ready))
        if wanted > 0:
            self._asked += wanted
            self._put_ask(wanted)
            self._push()

    def _put_ask(self, wanted: int) -> None:
        """Beside an outcome, if one is about to leave."""
        if not self._unsent or self._room_wanted.is_set():
            self._unsent.append(_Unsent({}))
        self._unsent[-1].asks(wanted)

    def stop(self) -> None:
        """Ask for no more, and give back what nobody has taken out."""
        if self._stopped:
            return
        self._stopped = True
        self._unsent.append(_Unsent({"stop": True}))
        while self.ready:
            self._give_back(self.ready.popleft()._given)
        self._push()

    def _give_back(self, given: Given) -> None:
        refuse_ends(given.attached, NOT_TAKEN)
        self._put({"again": given.key, "after": 0.0, "code": NOT_TAKEN, "text": ""}, given.key)

    # --- what is said -----------------------------------------------------------------------------

    def say_outcome(self, job: Job[Any, Any], message: dict[str, Any]) -> None:
        """Say what becomes of a job, which is told whether that counts, or that it could not be said."""
        self._put(message, job._given.key, job)
        self.ask()
        self._push()

    async def say_progress(self, message: dict[str, Any]) -> None:
        """Say how far a job is, once there is room. Raises `MessageError`."""
        with self._problems():
            await self._says.send(message)

    def _put(self, message: dict[str, Any], key: int, job: Job[Any, Any] | None = None) -> None:
        self._jobs[key] = job
        self._said.add(key)
        self._unsent.append(_Unsent(message, job))

    def _push(self) -> None:
        """Send what there is room for."""
        while self._unsent and not self._room_wanted.is_set():
            try:
                with self._problems(self._unsent[0]):
                    self._says.send_nowait(self._unsent[0].message)
            except anyio.WouldBlock:
                self._room_wanted.set()
            else:
                self._unsent.popleft()

    async def send_rest(self) -> None:
        """Send whatever there was no room for, again and again. Returns when nothing can be sent any more."""
        while not self._broken:
            await self._room_wanted.wait()
            await self.flush()
            self._room_wanted = anyio.Event()

    async def flush(self) -> None:
        """Send what is unsent."""
        while self._unsent and not self._broken:
            with self._problems(self._unsent[0]):
                await self._says.send(self._unsent[0].message)
            self._unsent.popleft()

    @contextmanager
    def _problems(self, unsent: _Unsent | None = None) -> Iterator[None]:
        """What comes of sending: a channel that is over has its reason, which whoever reads learns, too."""
        try:
            yield
        except ChannelError:
            self._broken = True
            self._room_wanted.set()
        except MessageError as exc:
            if unsent is None or unsent.job is None:
                raise
            self._asked -= unsent.message.get("ask", 0)
            self._said.discard(unsent.job._given.key)
            unsent.job._was_not_said(exc)

    # --- what the queue says ----------------------------------------------------------------------

    def take(self, notice: Any) -> None:
        """A message of the queue. Raises `JobLost` for what is none."""
        match notice:
            case {"job": int() as key, "id": str() as id, "attempt": int() as attempt, "payload": bytes() as payload}:
                if self._asked < 1 or key in self._jobs:
                    raise no_queue("notice", notice)
                self._asked -= 1
                self._take_job(Given(key, id, attempt, notice.get("attached")), payload)
            case {"counted": int() as key} if key in self._said:
                self._is_over(key, counted=True)
            case {"stale": int() as key}:  # maybe it has crossed an outcome, which got a word of its own
                self._is_over(key, counted=False)
            case _:
                raise no_queue("notice", notice)

    def _take_job(self, given: Given, payload: bytes) -> None:
        if self._stopped:
            self._give_back(given)
        else:
            try:
                value = unpack_as(payload, self._job_type)
            except (DecodeError, MessageTypeError) as exc:
                refuse_ends(given.attached, BAD_JOB)
                self._put({"failed": given.key, "code": BAD_JOB, "text": str(exc)}, given.key)
                self.ask()
            else:
                job = self._jobs[given.key] = Job(self, given, value, self._result_type)
                self.ready.append(job)
        self._push()

    def _is_over(self, key: int, *, counted: bool) -> None:
        job = self._jobs.pop(key, None)
        self._said.discard(key)
        if job is not None:
            if counted:
                job._counts()
            else:
                self._forget_ready(job)
                job._is_stale()
        self.ask()

    def _forget_ready(self, job: Job[Any, Any]) -> None:
        if job in self.ready:
            self.ready.remove(job)
            refuse_ends(job.attached, NOT_TAKEN)

    def is_lost(self, cause: BaseException) -> None:
        """Nothing more comes."""
        self._broken = self._stopped = True
        while self.ready:
            refuse_ends(self.ready.popleft().attached, NOT_TAKEN)
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            if job is not None:
                job._is_lost(cause)
