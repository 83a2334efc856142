"""`Ticket`: what whoever has brought a job hears of it."""

import inspect
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, NamedTuple, Self, TypeVar

import anyio
from anyio import AsyncContextManagerMixin
from anyio.lowlevel import checkpoint

from chanlink.channels.channel import Receiver, Sender, failure
from chanlink.channels.over import cancel_when_over
from chanlink.errors import (
    ChannelBroken,
    ChannelClosed,
    ChannelError,
    DecodeError,
    JobError,
    JobFailed,
)
from chanlink.tasks import tasks_beside

from .payloads import unpack_as
from .status import read_word
from .way import Tries, Way, let_go, no_queue, refuse_ends

R = TypeVar("R")

Attach = Callable[[int], Any]
"""What gives the ends of an attempt, by its number; it may be an async function."""
STATES = ("waiting", "running", "done", "failed")


class _Done(NamedTuple):
    result: bytes


class _Failed(NamedTuple):
    code: str
    text: str
    attempt: int


class Ticket(AsyncContextManagerMixin, Generic[R]):
    """Hears what becomes of a job. Made by `QueueClient.submit` and `QueueClient.find`.

    Any number of tasks may wait for its `result` and follow its `progress`. When nothing more is wanted, `close` it, or
    forget it: the job goes on. As an async context manager it is closed when its block is left.

    Over a `Link` it goes on by itself when a session was lost.

    A ticket whose job has something **attached** gives it when the queue asks, which it does for each attempt: somebody
    has to wait here then, for the result or for progress; or the ticket is used as a block, which has a task for that.
    What the function for it raises goes on to whoever waits, and out of the block; the attempt has failed by it.
    """

    def __init__(
        self, way: Way, id: str, entries: Mapping[str, Any], result_type: Any, attach: Attach | None = None
    ) -> None:
        self._way = way
        self._id = id
        self._entries = entries
        """The request that is made again when the way was lost."""
        self._result_type = result_type
        self._attach = attach
        self._tries = Tries()
        self._answers: Receiver[Any] | None = None
        self._new = False
        self._outcome: _Done | _Failed | None = None
        self._progress: bytes = b""
        self._progressed = 0
        """How often there was progress."""
        self._attaching: tuple[int, Sender[Any]] | None = None
        """The attempt for which the queue has asked for what is attached, and where it goes."""
        self._closed = False
        self._takes = False
        """Whether one of those that wait takes what comes, for all of them."""
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        state = {None: "open", _Done: "done", _Failed: "failed"}[self._outcome and type(self._outcome)]
        return f"<Ticket for {self._id!r}: {'closed' if self._closed and self._outcome is None else state}>"

    def __del__(self) -> None:
        answers = self.__dict__.get("_answers")
        if answers is None or answers.is_void:
            return
        let_go(answers)
        if self._attach is not None:
            warnings.warn(f"{self!r} was forgotten, and so was what is attached", ResourceWarning, stacklevel=2)

    @property
    def id(self) -> str:
        """That of its job."""
        return self._id

    @property
    def new(self) -> bool:
        """Whether this submission has made the job. If not, one of this id was there before, and stands as it was."""
        return self._new

    # --- what is heard ----------------------------------------------------------------------------

    async def result(self) -> R:
        """The result, once the job is done; the ticket is closed then. May be asked for any number of times.

        Raises `JobFailed`; `JobLost` when the way to the queue was lost (the next call looks for another one);
        `JobRefused` when the queue does not know the job any more, say; `MessageTypeError` or `DecodeError` for a
        result that is not of the type, or no message; `ChannelClosed` when the ticket was closed before.
        Cancelled: nothing is lost.
        """
        await checkpoint()
        while self._outcome is None:
            await self._hear()
        match self._outcome:
            case _Failed():
                raise JobFailed(*self._outcome)
            case _Done(result):
                value: R = unpack_as(result, self._result_type)
                return value

    def progress(self) -> AsyncIterator[Any]:
        """An async iterator of what the worker says of the job: the newest value each time, until there is an outcome.

        Raises as `result`, but for `JobFailed`; after a value that is no message it goes on.
        """
        return _Progress(self)

    async def cancel(self) -> str:
        """Let the job fail with code ``cancelled``, unless it has its outcome. As `QueueClient.cancel`."""
        return read_word(await self._way.answer({"ask": "cancel", "id": self._id}))

    def close(self) -> None:
        """Hear no more. The job is not touched by that. Twice is harmless."""
        self._closed = True
        if self._answers is not None:
            self._answers.close()
        self._drop_attaching("closed")

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        try:
            if self._attach is None:
                yield self
                return
            async with tasks_beside() as tasks:
                tasks.start_soon(self._attend)
                try:
                    yield self
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            self.close()

    async def _attend(self) -> None:
        """Give what is attached, though nobody waits for the outcome."""
        with suppress(JobError, ChannelClosed):  # whoever asks for the result gets that
            while self._outcome is None:
                await self._hear()

    # --- how it is heard --------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Return when something has changed. One of those that wait takes what comes, and the others look then."""
        if self._takes:
            await self._changed.wait()
            return
        self._takes = True
        try:
            await self._take_next()
        finally:
            self._takes = False
            self._changed.set()
            self._changed = anyio.Event()

    async def _begin(self) -> None:
        """Make the request, and return when the queue has answered. Raises as `Way.request`."""
        said, answers = await self._way.request(self._entries, self._tries)
        if not _is_ticket(said):
            answers.close()
            raise no_queue("ticket", said)
        self._new = self._new or said["new"]
        if self._closed:
            answers.close()
        else:
            self._answers = answers

    async def _take_next(self) -> None:
        if self._closed:
            raise ChannelClosed("this ticket is closed")
        if self._attaching is not None:
            await self._give_attached()
        elif self._answers is None:
            await self._begin()
        else:
            await self._take_from(self._answers)

    async def _take_from(self, answers: Receiver[Any]) -> None:
        try:
            said = await answers.receive()
        except (ChannelError, DecodeError) as exc:
            if isinstance(exc, ChannelClosed):
                raise
            answers.close()
            self._answers = None
            await self._tries.failed(self._way.lost(exc))
        else:
            self._tries.succeeded()
            self._take(said)

    def _take(self, said: Any) -> None:
        match said:
            case {"done": bytes() as result}:
                self._has(_Done(result))
            case {"failed": str() as code, "text": str() as text, "attempt": int() as attempt}:
                self._has(_Failed(code, text, attempt))
            case {"attempt": int() as attempt, "attach": Sender() as sender} if self._attach is not None:
                self._drop_attaching("stale")
                self._attaching = attempt, sender
            case {"attempt": int(), "progress": bytes() as progress}:
                self._progress = progress
                self._progressed += 1
            case {"attempt": int()} if len(said) == 1:
                pass
            case _:
                self._forget_answers()
                raise no_queue("ticket", said)

    def _has(self, outcome: _Done | _Failed) -> None:
        self._outcome = outcome
        self._entries = {}  # which may be long, and are not submitted again
        self._forget_answers()

    def _forget_answers(self) -> None:
        if self._answers is not None:
            self._answers.close()
            self._answers = None

    # --- what is attached -------------------------------------------------------------------------

    async def _give_attached(self) -> None:
        """Send what the function gives for the attempt. Cancelled: the next one who waits does it."""
        assert self._attach is not None
        assert self._attaching is not None
        attempt, sender = self._attaching
        given: Any = None
        try:
            with cancel_when_over(sender):
                made = self._attach(attempt)
                given = await made if inspect.isawaitable(made) else made
            await sender.send(given)
        except ChannelBroken:  # this attempt is over
            refuse_ends(given, "stale")
        except Exception as exc:
            refuse_ends(given, "not-taken")
            reason = failure(type(exc))
            assert reason is not None
            self._drop_attaching(reason.code)
            raise
        except BaseException:
            refuse_ends(given, "not-taken")
            raise
        sender.close()
        self._attaching = None

    def _drop_attaching(self, code: str) -> None:
        """The attempt fails with this code, if something is to be given for it."""
        if self._attaching is not None:
            _, sender = self._attaching
            self._attaching = None
            sender.fail(code)


class _Progress(AsyncIterator[Any]):
    """What a ticket hears of progress, as one of those who follow it sees it."""

    def __init__(self, ticket: Ticket[Any]) -> None:
        self._ticket = ticket
        self._seen = 0

    async def __anext__(self) -> Any:
        ticket = self._ticket
        await checkpoint()
        while ticket._progressed == self._seen:
            if ticket._outcome is not None:
                raise StopAsyncIteration
            await ticket._hear()
        self._seen = ticket._progressed
        return unpack_as(ticket._progress)


def _is_ticket(said: Any) -> bool:
    match said:
        case {"state": str() as state, "attempt": int() as attempt, "new": bool()}:
            return state in STATES and type(attempt) is int
    return False
