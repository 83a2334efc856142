"""The side that calls: a call of a method becomes a request, and what comes of it a result or an error.

A client owns nothing but the replies that it waits for. Where its requests go is the business of a `Way`.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Protocol

import anyio

from chanlink.channels.channel import Receiver, Sender, pipe, pipe_without_trace
from chanlink.errors import (
    MAX_CODE,
    CallError,
    CallLost,
    CallRefused,
    ChannelClosed,
    ChannelError,
    ChannelFailed,
    ChannelRefused,
    DecodeError,
    MessageTypeError,
    SessionError,
    SessionLost,
)
from chanlink.instrument import Instruments
from chanlink.session.session import Session

from .context import said_context
from .failures import Failures
from .messages import MAX_TEXT, only_data, refuse_ends, request
from .method import Method
from .telling import Told

SAID_BY_THE_CHANNEL = ("no-such-service", "wrong-kind", "busy", "draining")
"""Codes of a reply whose request nobody took, because nobody accepted the channel that it was sent on."""
PERHAPS_NOT_TAKEN = ("not-taken", "revoked", "bad-message")
"""Codes of a reply whose request may not have been taken: the channel that it was sent on is over, and knows."""
WORD = 1.0
"""Seconds for what is about to come: the reason of the other channel; the end of the caller's own time."""


# --- where requests go ----------------------------------------------------------------------------


class Way(Protocol):
    """How the requests of a client get to the service."""

    @property
    def instruments(self) -> Instruments | None:
        """Those that are told of its calls; None if there are none."""
        return None

    async def requests(self) -> Sender[Any]:
        """The channel for the next request. Raises `CallError` or `LimitReached` when there is none."""

    async def calls_again(self, method: Method, error: CallError, requests: Sender[Any] | None) -> bool:
        """Whether a call that has ended so is made again, by the channel that there is then.

        ``requests`` is the channel of the request, if there was one. It is not asked if ends have left with the
        request, or items of a stream have arrived.
        """


class SenderWay(Way):
    """All requests go to one end, wherever it leads."""

    def __init__(self, sender: Sender[Any]) -> None:
        self._sender = sender

    @property
    def instruments(self) -> Instruments | None:
        return self._sender._send_core.instruments

    async def requests(self) -> Sender[Any]:
        return self._sender

    async def calls_again(self, method: Method, error: CallError, requests: Sender[Any] | None) -> bool:
        return False


class SessionWay(Way):
    """Requests go to a service of the peer, by the channel that all clients of it share."""

    def __init__(self, session: Session, service: str) -> None:
        self._session = session
        self._service = service

    @property
    def instruments(self) -> Instruments | None:
        return self._session._instruments

    async def requests(self) -> Sender[Any]:
        try:
            return self._session._shared(self._service)
        except ChannelRefused as exc:
            raise CallRefused(exc.code, exc.reason) from exc
        except SessionError as exc:
            raise CallRefused("session-lost", str(exc)) from exc

    async def calls_again(self, method: Method, error: CallError, requests: Sender[Any] | None) -> bool:
        return False


def way_to(target: Session | Sender[Any], service: str | None) -> Way:
    """The way to a service of a session's peer, or to whoever receives from an end.

    Raises `TypeError` for anything else, and for a service without a session, or a session without a service.
    """
    if isinstance(target, Sender) and service is None:
        return SenderWay(target)
    if isinstance(target, Session) and isinstance(service, str):
        return SessionWay(target, service)
    raise TypeError(f"a client calls a service of a session, or by a sender alone, not {target!r:.70}, {service!r:.70}")


# --- the client -----------------------------------------------------------------------------------


class Client:
    """What `Interface.client` returns: it has the methods of the interface, and nothing else."""

    def __init__(self, name: str, methods: Mapping[str, Method], failures: Failures, way: Way) -> None:
        self._name = name
        for method in methods.values():
            call = partial(_stream if method.is_stream else _call, method, failures, way)
            setattr(self, method.name, call)

    def __repr__(self) -> str:
        return f"<client of {self._name}>"


async def _call(method: Method, failures: Failures, way: Way, /, *args: Any, **kwargs: Any) -> Any:
    exchange = Exchange(method, failures, way, method.pack(args, kwargs))
    try:
        return await exchange.result()
    finally:
        exchange.leave()


def _stream(method: Method, failures: Failures, way: Way, /, *args: Any, **kwargs: Any) -> "Items":
    return Items(Exchange(method, failures, way, method.pack(args, kwargs)))


class Items(AsyncGenerator[Any, None]):
    """The items of a stream, as an async generator; the request leaves when the first one is asked for.

    It is no native one: what is forgotten without `aclose` is found at its end of the channel, as any end is, on each
    event loop alike.
    """

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange: Exchange | None = exchange

    async def __anext__(self) -> Any:
        if self._exchange is None:
            raise StopAsyncIteration
        try:
            return await self._exchange.item()
        except BaseException:
            self._end()
            raise

    async def asend(self, value: None) -> Any:
        if value is not None:
            raise TypeError("nothing can be sent into the stream of a call")
        return await self.__anext__()

    async def athrow(
        self, error: type[BaseException] | BaseException, value: object = None, traceback: TracebackType | None = None
    ) -> NoReturn:
        self._end()
        raise error

    async def aclose(self) -> None:
        """Stop the generator over there. It is not waited for."""
        self._end()

    def _end(self) -> None:
        if self._exchange is not None:
            self._exchange.leave()
            self._exchange = None


# --- one call -------------------------------------------------------------------------------------


class Exchange:
    """One call: the request, and its reply as far as it has come."""

    def __init__(self, method: Method, failures: Failures, way: Way, arguments: dict[str, Any]) -> None:
        self._method = method
        self._failures = failures
        self._way = way
        self._arguments = arguments
        self._requests: Sender[Any] | None = None
        self._position = 0
        self._reply: Receiver[Any] | None = None
        self._answered = False
        self._told: Told | None = None
        """For instruments; None if there are none, or it has not begun."""

    async def result(self) -> Any:
        """Call, and return the result. Raises `CallError`, `MessageError`."""
        if (told := self._begin()) is None:
            return self._method.result.incoming(await self._entry("result"))
        with told:
            return self._method.result.incoming(await self._entry("result"))

    async def item(self) -> Any:
        """The next item of a stream. Raises `StopAsyncIteration`, `CallError`, `MessageError`."""
        told = self._told or self._begin()
        try:
            return self._method.result.incoming(await self._entry("item"))
        except BaseException as exc:
            if told is not None:
                told.ended_by(exc)
            raise

    def _begin(self) -> Told | None:
        if (instruments := self._way.instruments) is not None:
            self._told = Told(instruments, self._method, serves=False, context={})
        return self._told

    def leave(self) -> None:
        """Nothing more of the reply is wanted."""
        if self._reply is not None:
            self._reply.close()
        if self._told is not None:
            self._told.ended("cancelled")  # unless it has ended before

    async def _entry(self, wanted: str) -> Any:
        """What stands under this key in the next message of the reply."""
        while True:
            try:
                if self._reply is None:
                    await self._ask()
                message = await self._receive()
                if type(message) is dict and wanted in message and len(message) == 1:
                    self._answered = True
                    return message[wanted]
                return await self._other(message, wanted)
            except CallError as exc:
                if self._answered or not only_data(self._arguments):
                    raise
                if not await self._way.calls_again(self._method, exc, self._requests):
                    raise
                self.leave()
                self._reply = None

    # --- the request ---

    async def _ask(self) -> None:
        self._requests = None
        requests = self._requests = await self._way.requests()
        reply_to, self._reply = pipe() if self._told is None else pipe_without_trace()
        try:
            await requests._send_late(partial(self._request, reply_to))
        except ChannelRefused as exc:
            raise CallRefused(exc.code, exc.reason) from exc
        except SessionLost as exc:
            if requests.capacity == 0:  # it may have been taken
                raise CallLost(exc) from exc
            raise CallRefused("session-lost", str(exc)) from exc
        finally:
            reply_to.close()  # unless it has left
        self._position = requests._send_core.sent

    def _request(self, reply_to: Sender[Any]) -> dict[str, Any]:
        seconds = anyio.current_effective_deadline() - anyio.current_time()
        context = said_context() if self._told is None else self._told.with_added(said_context())
        return request(self._method.name, self._arguments, reply_to, seconds, context)

    # --- the reply ---

    async def _receive(self) -> Any:
        assert self._reply is not None
        try:
            return await self._reply.receive()
        except DecodeError as exc:
            raise CallLost(exc) from exc
        except ChannelError as exc:
            raise await self._without_words(exc) from exc

    async def _without_words(self, exc: ChannelError) -> CallError:
        """What has become of the call, by what has become of its channels."""
        if isinstance(exc, ChannelClosed):  # the stream, by another task of this side
            raise exc
        assert self._requests is not None
        if isinstance(exc, ChannelFailed):
            if exc.code in SAID_BY_THE_CHANNEL:
                return CallRefused(exc.code, exc.text)
            if exc.code in PERHAPS_NOT_TAKEN:
                with anyio.move_on_after(WORD), suppress(ChannelClosed):
                    await self._requests.wait_closed()
        core = self._requests._send_core
        over = core.over()
        if over is not None and over.kind == "refused" and core.taken < self._position:
            return CallRefused(over.code, over.text)  # also if the session ended before the reply could say so
        if not isinstance(exc, ChannelFailed):
            return CallLost(exc)
        return CallRefused(exc.code, exc.text) if exc.code == "not-taken" else CallLost(exc)

    async def _other(self, message: Any, wanted: str) -> Any:
        """A message of the reply that is more, or something else, than what is nearly always there."""
        entries = message if type(message) is dict else {}
        try:
            return entries.pop(wanted) if wanted in entries else await self._end(entries)
        finally:
            refuse_ends(message, "not-taken", "nobody wants this entry of the reply")

    async def _end(self, entries: dict[Any, Any]) -> NoReturn:
        """Raise what a reply says that has no more to give."""
        if "done" in entries and self._method.is_stream:
            raise StopAsyncIteration
        text = entries.get("text", "")
        if type(text) is str:
            if type(code := entries.get("refused")) is str:
                if code == "late":
                    await self._until_deadline()
                raise CallRefused(code[:MAX_CODE], text[:MAX_TEXT])
            if type(code := entries.get("failed")) is str:
                if code == "deadline":
                    await self._until_deadline()
                raise self._failures.error_of(code[:MAX_CODE], text[:MAX_TEXT], entries.pop("detail", None))
        raise CallLost(MessageTypeError("the reply is none of a call"))

    async def _until_deadline(self) -> None:
        """If our own time is nearly over, let it be over: whoever waits has asked for that, and not for an error."""
        if anyio.current_effective_deadline() - anyio.current_time() <= WORD:
            await anyio.sleep(WORD)
