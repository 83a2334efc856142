"""How the requests of a client find the queue, what became of those that it did not answer, and which are made again.

Each request may be made twice: a job that is submitted again with its id is the same job. So one whose way was lost is
made again by the next channel that there is: a link has another session then, while a session that is lost opens none.
"""

import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

import anyio
from anyio import CancelScope

from chanlink.channels.channel import Receiver, Sender, pipe
from chanlink.channels.handle import Handle
from chanlink.channels.objects import all_ends
from chanlink.errors import (
    NEVER_ACCEPTED,
    ChannelClosed,
    ChannelError,
    ChannelFailed,
    ChannelRefused,
    ConfigError,
    ConnectFailed,
    DecodeError,
    EndOfChannel,
    JobError,
    JobLost,
    JobRefused,
    MessageTypeError,
    SessionError,
    SessionLost,
)

REFUSALS = ("bad-request", "bad-job", "not-allowed", "unknown-job", "queue-full", "store-failed")
"""Codes of a queue that does not do what it was asked for (section 14 of the protocol), but for `DRAINING`."""
DRAINING = "draining"
LOST = "session-lost"
"""The code of a request that was not sent, as its session was over before."""
STOPPED = "cancelled"
"""What becomes of the channels of a server that is stopped without draining, by Ctrl-C or by an exception."""
WORD = 1.0
"""Seconds for what is about to come: the reason of the other channel."""
TRIES = 20
"""How often a queue that stops is asked again by a session that lives, before that is taken for its end."""
PAUSE = 0.5
"""Seconds, at most, between two of these."""


class Opens(Protocol):
    """What leads to a queue: a `Session`, a `Link`, or whatever else opens channels."""

    async def open(self, service: str) -> Sender[Any]:
        """A channel to the service."""


class Tries:
    """Whether a request is made again, and after which pause."""

    def __init__(self, *, patient: bool = False) -> None:
        """`patient`: it was made before with success, and goes on whenever there is a session again."""
        self._patient = patient
        self._first: JobError | None = None
        """Why it was made again the first time, since the last success."""
        self._count = 0

    def succeeded(self) -> None:
        """What comes now is another matter; and there is a queue, which is worth waiting for."""
        self._patient = True
        self._first = None
        self._count = 0

    async def failed(self, error: JobError) -> None:
        """Return when it is time to make it again. Raises the error if another time would be no better."""
        if not (_is_lost(error) or is_end(error)):
            raise error
        if self._first is None:
            self._first = error
        elif self._count >= TRIES and is_end(error):
            raise again(self._first) from error
        self._count += 1
        if self._count > 1 or is_end(error):  # else, nearly always, the next session is another one
            await anyio.sleep(random.uniform(0, PAUSE))

    def no_way(self, exc: ChannelRefused | SessionError | ConfigError) -> None:
        """No channel was opened. Returns if there may be one later; raises why this request has failed."""
        if self._patient and isinstance(exc, ConnectFailed):
            return
        if self._first is not None:
            raise again(self._first) from exc
        if isinstance(exc, ChannelRefused):
            raise JobRefused(exc.code, exc.reason) from exc
        raise JobRefused("no-session", str(exc)) from exc


def _is_lost(error: JobError) -> bool:
    """Whether it was the connection, or a server that was killed."""
    if not isinstance(error, JobLost):
        return isinstance(error, JobRefused) and error.code == LOST
    cause = error.cause
    return isinstance(cause, SessionLost) or (isinstance(cause, ChannelFailed) and cause.code == STOPPED)


def again(error: JobError) -> JobError:
    """One exception that is raised twice would carry the tracebacks of both times."""
    return type(error)(*error.args)


def is_end(error: JobError) -> bool:
    """Whether the queue stops, in order."""
    if isinstance(error, JobLost):
        cause = error.cause
        return isinstance(cause, EndOfChannel) or (isinstance(cause, ChannelFailed) and cause.code == DRAINING)
    return isinstance(error, JobRefused) and error.code == DRAINING


class Way:
    """To a queue that is a service: one channel for all requests of a client, and another one when it is over."""

    def __init__(self, target: Opens, service: str) -> None:
        self._target = target
        self._service = service
        self._channel: Sender[Any] | None = None
        self._opening: set[CancelScope] = set()
        """Of the tasks that open one; the others stop once one has."""

    def __del__(self) -> None:
        if "_channel" in self.__dict__ and self._channel is not None:
            let_go(self._channel)

    async def answer(self, entries: Mapping[str, Any]) -> Any:
        """The one message that answers a request. Raises `JobError`, `MessageError`."""
        answer, answers = await self.request(entries, Tries())
        answers.close()
        return answer

    async def request(self, entries: Mapping[str, Any], tries: Tries) -> tuple[Any, Receiver[Any]]:
        """Make a request; returns the first message of the answer, and where the others come from.

        Raises `JobError`, and `MessageError` if it can't be sent.
        """
        while True:
            answers = await self.send(entries, tries)
            try:
                answer = await answers.receive()
            except (ChannelError, DecodeError) as exc:
                answers.close()
                await tries.failed(await self.why(exc))
            except BaseException:
                answers.close()
                raise
            else:
                tries.succeeded()
                return answer, answers

    async def send(self, entries: Mapping[str, Any], tries: Tries) -> Receiver[Any]:
        """Make a request; returns where its answer comes from. Raises as `request`. Ends in it are void afterwards."""
        while True:
            requests = await self._requests(tries)
            answer, answers = pipe(1 if "says" not in entries else None)
            try:
                await requests.send({**entries, "answer": answer})
                return answers
            except (ChannelRefused, SessionLost) as exc:  # nothing has happened
                answers.close()
                await tries.failed(_not_sent(exc))
            except BaseException:
                answers.close()
                raise
            finally:
                answer.close()  # unless it has left

    async def _requests(self, tries: Tries) -> Sender[Any]:
        while self._channel is None or self._channel._send_core.is_over():
            try:
                await self._open()
            except (ChannelRefused, SessionError, ConfigError) as exc:
                tries.no_way(exc)
        return self._channel

    async def _open(self) -> None:
        """Open the channel, or return when another task has.

        Each of them waits for a session for as long as it wants to. When there is one, the first one opens the channel.
        """
        with CancelScope() as scope:
            self._opening.add(scope)
            try:
                channel = await self._target.open(self._service)
            finally:
                self._opening.discard(scope)
            self._leave()
            self._channel = channel
            for other in self._opening:
                other.cancel()

    def _leave(self) -> None:
        """The next request goes by another channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    async def why(self, exc: ChannelError | DecodeError) -> JobError:
        """What became of a request, by what became of the channel of its answer."""
        error = self.lost(exc)
        if isinstance(exc, ChannelFailed):
            if exc.code == "not-taken":
                return await self._why_not_taken(exc)
            if exc.code in REFUSALS or exc.code in NEVER_ACCEPTED:
                return JobRefused(exc.code, exc.text)
        return error

    def lost(self, exc: ChannelError | DecodeError) -> JobLost:
        """What became of what was granted, by what became of its channel."""
        if isinstance(exc, ChannelFailed) and exc.code == DRAINING:
            self._leave()  # the next session may be there already
        return JobLost(exc)

    async def _why_not_taken(self, exc: ChannelFailed) -> JobError:
        """The channel that it went by is over then, and knows."""
        requests, reason = self._channel, None
        if requests is not None:
            with anyio.move_on_after(WORD), suppress(ChannelClosed):
                reason = await requests.wait_closed()
        if isinstance(reason, ChannelRefused | SessionLost):
            return _not_sent(reason)
        return JobRefused(exc.code, exc.text)


def _not_sent(exc: ChannelRefused | SessionLost) -> JobError:
    """What became of a request that nobody took."""
    return JobRefused(LOST, str(exc)) if isinstance(exc, SessionLost) else JobRefused(exc.code, exc.reason)


def no_queue(what: str, said: object) -> JobLost:
    """What the other side said is nothing that a queue says: an error for that. Ends in it are refused."""
    refuse_ends(said, "not-taken")
    return JobLost(MessageTypeError(f"what came is no {what} of a queue"))


def refuse_ends(value: object, code: str) -> None:
    """Refuse the ends in what nobody will have. Those that are closed or gone stay so."""
    for end in all_ends(value).values():
        end._forsake(code)


def let_go(end: Handle) -> None:
    """For `__del__`, in any thread: close an end soon, without the warning that it was forgotten."""
    core = end._cores()[0]
    if not end.is_void and not core.is_over():
        core.loop.note(end)
