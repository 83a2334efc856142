"""`Job`: an attempt at a job, as its worker has it."""

from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect
from chanlink.channels.channel import failure
from chanlink.errors import MAX_CODE, JobLost, MessageError

from .attempts import pause
from .payloads import pack
from .requests import MAX_AFTER
from .way import refuse_ends

J_co = TypeVar("J_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)

NO_OUTCOME = "no-outcome"
"""The code of an attempt whose block was left without a word."""


class Given(NamedTuple):
    """What the queue has said of an attempt."""

    key: int
    id: str
    attempt: int
    attached: Any


class Worker(Protocol):
    """Where a job says what becomes of it."""

    def say_outcome(self, job: "Job[Any, Any]", message: dict[str, Any]) -> None:
        """Say it, soon. The job is told whether that counts, or that it could not be said."""

    async def say_progress(self, message: dict[str, Any]) -> None:
        """Say it, once there is room. Raises `MessageError`."""


class Job(Generic[J_co, R_contra]):
    """An attempt at a job: made by iterating over `Jobs`.

    It has one outcome: `done`, `fail` or `retry`. Used as a block, which is the way to use it, it has one for sure:
    left by an exception, or without a word, it is as a `retry` with a pause of a second, and twice as much with each
    further attempt, up to a minute; cancelled, without a pause. The exception goes on. When nothing that is said of it
    would count any more, since the job has another outcome (it was cancelled, say) or the way to the queue was lost,
    the block is left by a cancellation that goes no further. Ends in what is `attached` are closed with the block.

    The queue gives a job to somebody else when its worker says nothing of it for too long: see `progress`.
    """

    def __init__(self, worker: Worker, given: Given, value: J_co, result_type: Any) -> None:
        self._worker = worker
        self._given = given
        self._value = value
        self._result_type = result_type
        self._scope = CancelScope()
        self._said = False
        """Whether an outcome was said of it."""
        self._stale = False
        self._over = anyio.Event()
        """The queue has said whether that counts, or nobody will."""
        self._counted = False
        self._problem: BaseException | None = None
        """Why nobody will; or why it could not be said."""

    def __repr__(self) -> str:
        stale = ", stale" if self._stale else ""
        return f"<Job {self.id!r}, attempt {self.attempt}{stale}>"

    @property
    def id(self) -> str:
        """That of the job: the same for each attempt."""
        return self._given.id

    @property
    def value(self) -> J_co:
        """What was submitted."""
        return self._value

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1. From the second one on, another one may have done some of the work."""
        return self._given.attempt

    @property
    def attached(self) -> Any:
        """What the submitter has attached to this attempt; it may hold ends. None if nothing was."""
        return self._given.attached

    @property
    def stale(self) -> bool:
        """Whether nothing that is said of it would count any more."""
        return self._stale

    # --- what the worker says ---------------------------------------------------------------------

    async def done(self, result: R_contra) -> bool:
        """Say that the job is done; returns whether that counts, once the queue has stored it. If not, it is stale.

        Raises `MessageTypeError`, `EncodeError`, `MessageTooLarge` or `LimitReached` for a result that can't be sent:
        the job is still yours. `JobLost` when the way to the queue was lost, and nobody knows whether it counts.
        `RuntimeError` when an outcome was said before. Cancelled: it was said.
        """
        payload = pack(result, self._result_type)
        return await self._end({"done": self._given.key, "result": payload})

    async def fail(self, code: str, text: str = "") -> bool:
        """Say that the job has failed, for ever: `code` is a short word, `text` is for people. Otherwise as `done`."""
        _check_reason(code, text)
        return await self._end({"failed": self._given.key, "code": code, "text": text})

    async def retry(self, after: float = 0.0, code: str = "retry", text: str = "") -> bool:
        """Say that this attempt has failed, and another one is to begin after that many seconds, by any worker.

        When the attempts of the job are used up, it has failed instead, and the text says why. Otherwise as `done`;
        that it counts does not say that the job has an outcome.
        """
        expect("after", after, int, float)
        if not 0 <= after <= MAX_AFTER:
            raise ValueError(f"after must be 0 to {MAX_AFTER:.0f} seconds")
        _check_reason(code, text)
        return await self._end(self._again(after, code, text))

    async def progress(self, value: Any = None) -> None:
        """Say how far it is, to whoever follows the job, and that it is worked on.

        The queue gives the job to another worker when nothing is said of it for its ``silence``. Whoever follows the
        job gets the newest value, not each. Raises as `done` for a value that can't be sent, and `RuntimeError` when an
        outcome was said before. Nothing happens when the job is stale. Cancelled: it was said or not.
        """
        self._check_open()
        payload = pack(value)
        if self._stale:
            await checkpoint()
        else:
            await self._worker.say_progress({"progress": self._given.key, "value": payload})

    def _again(self, after: float, code: str, text: str = "") -> dict[str, Any]:
        return {"again": self._given.key, "after": after, "code": code, "text": text}

    def _check_open(self) -> None:
        if self._said:
            raise RuntimeError("this job has its outcome: it can have one only")

    async def _end(self, message: dict[str, Any]) -> bool:
        self._check_open()
        self._said = True
        if self._stale:
            await checkpoint()
            return False
        self._worker.say_outcome(self, message)
        await self._over.wait()
        if isinstance(problem := self._problem, MessageError):
            self._problem, self._over, self._said = None, anyio.Event(), False
            raise problem
        if problem is not None:
            await checkpoint()  # inside of its block it is cancelled here
            raise JobLost(problem)
        return self._counted

    # --- as a block -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._scope.__enter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        swallowed = bool(self._scope.__exit__(exc_type, exc, tb))
        self._leave(exc_type)
        return swallowed

    def _leave(self, exc_type: type[BaseException] | None) -> None:
        """Its block is left: see to it that it has an outcome."""
        if not self._said and not self._stale:
            self._said = True
            self._worker.say_outcome(self, self._left_by(exc_type))
        refuse_ends(self.attached, "closed")

    def _left_by(self, exc_type: type[BaseException] | None) -> dict[str, Any]:
        """What is said of a job whose block was left without an outcome."""
        after = pause(self.attempt)
        if exc_type is None:
            return self._again(after, NO_OUTCOME)
        reason = failure(exc_type)
        assert reason is not None
        # A cancelled worker does not say that there is anything wrong with the job.
        return self._again(after if issubclass(exc_type, Exception) else 0.0, reason.code)

    # --- what the queue says ----------------------------------------------------------------------

    def _counts(self) -> None:
        """The outcome counts."""
        self._counted = True
        self._over.set()

    def _is_stale(self) -> None:
        """It does not, or would not."""
        self._stale = True
        self._over.set()
        self._scope.cancel()

    def _is_lost(self, cause: BaseException) -> None:
        """Nobody will say it."""
        self._problem = cause
        self._is_stale()

    def _was_not_said(self, problem: MessageError) -> None:
        """The outcome could not be sent after all."""
        self._problem = problem
        self._over.set()


def _check_reason(code: str, text: str) -> None:
    expect("code", code, str)
    expect("text", text, str)
    if not (0 < len(code) <= MAX_CODE and code.isascii() and code.isprintable()):
        raise ValueError(f"a code has 1 to {MAX_CODE} characters of ASCII")
