"""The side that serves: requests become calls of an implementation, and what these give becomes replies.

A client's channel is served by a few tasks that take turns: one of them takes a request and carries it out, while
another waits for the next. If none is left to wait, one more is started first; if there are more than enough, one ends.
So calls run side by side, up to a bound, and a call that finds a task waiting costs no new one. Requests beyond the
bound stay in the channel, which keeps their senders waiting by its credit.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from contextvars import Context, copy_context
from typing import Any

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from chanlink.channels.channel import Receiver, Sender
from chanlink.channels.over import cancel_when_over
from chanlink.errors import (
    ChannelBroken,
    ChannelError,
    ConfigError,
    DecodeError,
    MessageError,
    MessageTypeError,
    peers_doing,
)
from chanlink.instrument import Instrument
from chanlink.printing import printable_logger
from chanlink.session.peer import Peer
from chanlink.session.services import forget_locals
from chanlink.session.session import until_draining

from .context import Call, set_current_call
from .failures import Failures
from .messages import Refusal, Request, failed, read_request, refuse_ends, refused
from .method import Method
from .telling import Told

logger = printable_logger(__name__)

CALLS = 4_096
"""Calls of one channel at a time, if the author of the service does not say."""
IDLE = 2
"""Tasks of one channel that wait for requests, at most."""
CALLS_A_TURN = 16
"""After so many calls that did not have to wait others have their turn: what is to be sent leaves, and the callers work
on that while the next ones are carried out. Else both sides would wait for each other, batch after batch (bench row
call-100: 1.9 x the time of a plain reply instead of 1.2 x)."""

Factory = Callable[[], AbstractAsyncContextManager[Any]]
"""What makes the implementation for one channel."""


class CallService:
    """A service that carries out calls: what `Interface.serving` returns."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        failures: Failures,
        factory: Factory,
        *,
        calls: int = CALLS,
        longest: float = math.inf,
    ) -> None:
        """Serve an implementation for each channel, whose block is that of the channel. Raises `ConfigError`."""
        if calls < 1:
            raise ConfigError(f"calls: one at a time is the least, not {calls}")
        if not longest > 0:
            raise ConfigError(f"longest: seconds, more than 0, are wanted, not {longest!r:.70}")
        self.methods = methods
        self.failures = failures
        self.factory = factory
        self.calls = calls
        self.longest = longest

    async def __call__(self, requests: Receiver[Any], peer: Peer) -> None:
        """Serve one channel, until it is over and its last call has ended."""
        async with self.factory() as implementation, anyio.create_task_group() as tasks:
            functions = {name: getattr(implementation, name) for name in self.methods}
            await _Channel(self, functions, requests, peer, tasks).serve()


class _Channel:
    """The calls of one channel, and the tasks that carry them out."""

    def __init__(
        self,
        service: CallService,
        functions: Mapping[str, Callable[..., Any]],
        requests: Receiver[Any],
        peer: Peer,
        tasks: TaskGroup,
    ) -> None:
        self._service = service
        self._functions = functions
        self._requests = requests
        self._peer = peer
        self._tasks = tasks
        self._idle = 0
        """Tasks that wait for a request, or are about to."""
        self._working = 0
        self._taken = 0
        self._context = copy_context()
        self._context.run(set_current_call, None)
        self._over = anyio.Event()
        """No more requests come."""

    async def serve(self) -> None:
        """Return when no more requests will be taken. The calls that have begun may go on."""
        self._staff()
        with until_draining():
            await self._over.wait()
        # What nobody has taken never began, and the caller may be told so: how many were taken is said with it.
        self._requests.refuse("draining", "the service takes no more calls")

    # --- the tasks --------------------------------------------------------------------------------

    def _staff(self) -> None:
        """See to it that a task waits for the next request, if that may be carried out."""
        if not self._idle and self._working < self._service.calls and not self._over.is_set():
            self._idle += 1
            # Not in the context of the task that this is, which a method may have changed.
            self._context.run(self._tasks.start_soon, self._work)

    async def _work(self) -> None:
        """Take a request and carry it out, again and again, as long as this task is as good as a new one."""
        context = copy_context()  # kept, so that nothing else can get the identity of what is in it
        before = _identities(context)
        try:
            while await self._take_one() and self._idle < IDLE and _identities(copy_context()) == before:
                self._idle += 1
        except anyio.get_cancelled_exc_class():
            if is_cancelled():
                raise
        self._staff()

    async def _take_one(self) -> bool:
        """False if there are no more."""
        try:
            self._taken += 1
            if self._taken % CALLS_A_TURN == 0:
                await checkpoint()
            message = await self._requests.receive()
        except (ChannelError, DecodeError):  # the caller's business; the calls that have begun go on
            self._over.set()
            return False
        finally:
            self._idle -= 1
        self._working += 1
        self._staff()
        try:
            await self._take(message)
        finally:
            self._working -= 1
        return True

    # --- one request ------------------------------------------------------------------------------

    async def _take(self, message: Any) -> None:
        reply = message.pop("reply", None) if type(message) is dict else None
        if not isinstance(reply, Sender):
            refuse_ends([reply, message], "not-taken", "the message that it was in is no request")
            return
        call = self._called(message, reply)
        told = self._told(call)
        try:
            answer = call if isinstance(call, dict) else await self._answer(*call, reply)
            answer = await self._send(answer, message, reply)
        except BaseException:
            reply.fail("cancelled")
            refuse_ends(message, "cancelled", "")
            if told is not None:
                told.ended("cancelled")
            raise
        reply.close()
        if told is not None:
            told.answered(answer)
        if (code := answer.get("failed") or answer.get("refused")) is not None:
            refuse_ends(message, code, answer.get("text", ""))

    def _called(self, message: dict[str, Any], reply: Sender[Any]) -> tuple[Method, Request] | dict[str, Any]:
        """What a request asks for, or the reply that it can't be."""
        if reply._send_core.over() is not None:
            return refused("cancelled", "the caller has left")
        try:
            request = read_request(message)
            method = self._service.methods.get(request.method)
            if method is None:
                raise Refusal("no-such-method", f"there is no method {request.method[:64]!r} here")
        except Refusal as exc:
            return refused(exc.code, exc.text)
        return method, request

    def _told(self, call: tuple[Method, Request] | dict[str, Any]) -> Told | None:
        """For instruments, if there are any, and it is a call."""
        instruments = self._requests._receive_core.instruments
        if instruments is None:
            return None
        if isinstance(call, dict):
            instruments.tell(Instrument.call_refused, self._peer.name, call["refused"])
            return None
        method, request = call
        return Told(instruments, method, serves=True, peer=self._peer.name, context=request.context)

    async def _answer(self, method: Method, request: Request, reply: Sender[Any]) -> dict[str, Any]:
        """What the reply is, or the last message of it."""
        try:
            args, kwargs = method.unpack(request.arguments)
        except MessageTypeError as exc:
            return refused("bad-arguments", str(exc))
        except Exception as exc:  # of a class of the author's, which can't be made of just these values
            return self._failed(method.name, exc)
        try:
            with _scope(method, reply) as scope:
                seconds = self._seconds(method, request)
                if seconds != math.inf:
                    scope.deadline = anyio.current_time() + seconds
                set_current_call(Call(method.name, self._peer, scope.deadline, request.context))
                answer = await self._run(method, args, kwargs, reply)
            if scope.cancelled_caught:
                answer = failed("deadline")
                if reply._send_core.over() is not None:  # nobody reads it, but whoever holds an argument's other end
                    answer = _left()
        except anyio.get_cancelled_exc_class():
            if is_cancelled():
                raise
            return failed("cancelled")  # the current call stays, so that this task is not as good as a new one
        except (Exception, SystemExit) as exc:
            answer = self._failed(method.name, exc)
        except BaseExceptionGroup as group:
            if group.split((Exception, SystemExit))[1] is not None:
                raise
            answer = self._failed(method.name, group)
        set_current_call(None)
        return answer

    def _seconds(self, method: Method, request: Request) -> float:
        """How long the call may take, by what the authors and the caller have said."""
        if method.longest is not None:
            return method.longest
        if request.seconds != math.inf or method.is_stream:
            return request.seconds
        return self._service.longest

    async def _run(self, method: Method, args: list[Any], kwargs: dict[str, Any], reply: Sender[Any]) -> dict[str, Any]:
        function, outgoing = self._functions[method.name], method.result.outgoing
        if not method.is_stream:
            return {"result": outgoing(await function(*args, **kwargs))}
        async with aclosing(function(*args, **kwargs)) as items:
            async for item in items:
                message = {"item": outgoing(item)}
                try:
                    await reply.send(message)
                except ChannelBroken:
                    refuse_ends(message, "not-taken", "the caller has left")
                    return _left()
                except BaseException:
                    refuse_ends(message, "not-taken", "the item that it was in was not sent")
                    raise
        return {"done": None}

    async def _send(self, answer: dict[str, Any], message: dict[str, Any], reply: Sender[Any]) -> dict[str, Any]:
        """Send the reply, or why it can't be sent. Returns which it was."""
        try:
            await reply.send(answer)
        except ChannelBroken:
            refuse_ends(answer, "not-taken", "the caller has left")
        except BaseException as exc:
            refuse_ends(answer, "not-taken", "the result that it was in was not sent")
            if not isinstance(exc, Exception):
                raise
            answer = self._failed(message.get("method"), exc)
            try:
                await reply.send(answer)
            except ChannelBroken:
                pass
            except MessageError:  # the caller takes not even this
                reply.fail("handler-failed", "its reply can't be sent")
        return answer

    def _failed(self, method: object, error: BaseException) -> dict[str, Any]:
        """What the caller is told of what was raised. All but what was agreed upon is for our log only."""
        try:
            if (failure := self._service.failures.failure_of(error)) is not None:
                return failed(*failure)
        except Exception as exc:  # a detail that can't be sent
            error = exc
        if (cause := peers_doing(error)) is not None:
            logger.info("the method %.70r for %s ended: %s", method, self._peer.name, str(cause))
        else:
            logger.error("the method %.70r failed for %s", method, self._peer.name, exc_info=error)
            forget_locals(error)
        return failed("handler-failed")


def _left() -> dict[str, Any]:
    """What has become of a call whose caller has left while it ran."""
    return failed("cancelled", "the caller has left")


def _scope(method: Method, reply: Sender[Any]) -> AbstractContextManager[CancelScope]:
    """What ends a call besides its time: its caller, by leaving. Nothing, if it is to finish."""
    return CancelScope(shield=True) if method.finishes else cancel_when_over(reply)


def is_cancelled() -> bool:
    """Whether this task is being cancelled, and has not just got a cancellation from somebody who may not."""
    return anyio.current_effective_deadline() == -math.inf


def _identities(context: Context) -> list[int]:
    """Of the variables and values of a context. They are not asked whether they are equal: they may be anything."""
    return [*map(id, context), *map(id, context.values())]
