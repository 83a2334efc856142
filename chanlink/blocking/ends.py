"""Ends of channels for threads: `Sender`, `Receiver`, `ByteStream`; and the ways between them and the async ones.

Each stands for the async end that it has as ``end``. That is what travels: a message that a thread sends may hold such
ends, and one that it receives does.
"""

import io
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from types import NoneType, TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import anyio

import chanlink
from chanlink import ChannelError, EncodeError, EndOfChannel
from chanlink.arguments import expect
from chanlink.limits import MAX_DEPTH

from .files import Reader, Writer
from .portal import Portal

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class End:
    """What the three have in common."""

    end: "chanlink.Sender[Any] | chanlink.Receiver[Any] | chanlink.ByteStream"

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def _to_travel(self, portal: Portal) -> object:
        """The async end, which is to be sent, or given to an async function."""
        if portal is not self._portal:
            raise EncodeError("an end that belongs to another event loop")
        return self.end

    @property
    def is_void(self) -> bool:
        """Whether this end was closed, or sent away in a message."""
        return self.end.is_void

    def closing(self) -> "Closing":
        """A case for `Loop.select`: ready when this end is over, as `chanlink.Sender.closing` says."""
        return Closing(self)

    def close(self) -> None:
        """Close the end; the other side is told. Closing twice is harmless."""
        self._portal.run(partial(self._leave, self.end.aclose))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._portal.is_forked:
            self._portal.run(partial(self._leave, partial(self.end.__aexit__, exc_type, exc, tb)))

    async def _leave(self, leave: Callable[[], Awaitable[object]]) -> None:
        self._forget()
        await leave()

    def _forget(self) -> None:
        """In the event loop: let go of what is kept of an interrupted receive, with its ends."""

    def __repr__(self) -> str:
        return f"<blocking {self.end!r}>"


class Closing(NamedTuple):
    """A case for `Loop.select`: the end is over."""

    end: End


class Sender(End, Generic[T_contra]):
    """The end of a channel that sends; any number of threads may use it. As `chanlink.Sender`, also as a ``with``."""

    def __init__(self, portal: Portal, end: "chanlink.Sender[T_contra]") -> None:
        super().__init__(portal)
        self.end: chanlink.Sender[T_contra] = end
        """The async end. Its verbs must not be called in a thread."""

    def send(self, item: T_contra, timeout: float | None = None) -> None:
        """Send one message; returns when it was accepted (with capacity 0: taken).

        Ends in it move to the receiver, those of this module and async ones. Raises as `chanlink.Sender.send`, and
        `TimeoutError` after ``timeout`` seconds: nothing was sent then. An exception of a signal handler that comes
        here may come just after it was sent.
        """
        self._portal.run(lambda: within(timeout, partial(self.end.send, to_send(item, self._portal))))

    def sending(self, item: T_contra) -> "Sending":
        """A case for `Loop.select`: ready when ``item`` would be accepted at once; committed, it is sent."""
        return Sending(self, item)

    def flush(self, timeout: float | None = None) -> None:
        """Return once the far application has taken everything that was sent. Raises as `chanlink.Sender.flush`."""
        self._portal.run(lambda: within(timeout, self.end.flush))

    def fail(self, code: str, text: str = "") -> None:
        """Give up: the receiver gets everything sent before, then `ChannelFailed(code, text)`."""
        self._portal.run_sync(lambda: self.end.fail(code, text))

    def clone(self) -> "Sender[T_contra]":
        """Make another sender of the same channel; it ends when the last one does."""
        return self._portal.run_sync(lambda: Sender(self._portal, self.end.clone()))

    def wait_closed(self, timeout: float | None = None) -> ChannelError:
        """Return, with the reason, when the receiver is gone, though nothing is being sent."""
        return self._portal.run(lambda: within(timeout, self.end.wait_closed))


class Sending(NamedTuple):
    """A case for `Loop.select`: a message is sent."""

    end: Sender[Any]
    item: Any


class Receiver(End, Generic[T_co]):
    """The end of a channel that receives; each message goes to one of the threads that use it.

    As `chanlink.Receiver`, also as a ``with``. Iterating stops at the orderly end.
    """

    def __init__(self, portal: Portal, end: "chanlink.Receiver[T_co]") -> None:
        super().__init__(portal)
        self.end: chanlink.Receiver[T_co] = end
        """The async end. Its verbs must not be called in a thread."""
        self._kept: deque[T_co] = deque()  # taken for threads that had to leave without it; of the event loop
        self._turn = anyio.Lock(fast_acquire=True)

    def receive(self, timeout: float | None = None) -> T_co:
        """The next message. Raises as `chanlink.Receiver.receive`.

        `TimeoutError` after ``timeout`` seconds; with 0 it does not wait. Nothing is lost by that, nor by an exception
        of a signal handler: the next call gets the message.
        """
        return self._portal.run(lambda: self._receive(timeout), self._kept.append)

    async def _receive(self, timeout: float | None) -> T_co:
        expect("timeout", timeout, int, float, NoneType)
        if timeout is not None and timeout <= 0:
            item = self._receive_at_once()
        else:
            item = await within(timeout, self._receive_in_turn)
        received: T_co = received_here(item, self._portal)
        return received

    def _receive_at_once(self) -> T_co:
        if self._turn.locked():
            raise TimeoutError
        if self._kept:
            return self._kept.popleft()
        try:
            return self.end.receive_nowait()
        except anyio.WouldBlock:
            raise TimeoutError from None

    async def _receive_in_turn(self) -> T_co:
        async with self._turn:  # one that was left may not be quite over
            return self._kept.popleft() if self._kept else await self.end.receive()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        try:
            return self.receive()
        except EndOfChannel:
            raise StopIteration from None

    def refuse(self, code: str, reason: str = "") -> None:
        """As `close`, with a code of your own."""

        def refuse() -> None:
            self._forget()
            self.end.refuse(code, reason)

        self._portal.run_sync(refuse)

    def _forget(self) -> None:
        while self._kept:
            drop(self._kept.popleft())

    def _to_travel(self, portal: Portal) -> object:
        if self._kept:
            raise EncodeError("a receiver that keeps a message of an interrupted receive, which is to be received here")
        return super()._to_travel(portal)


class ByteStream(End):
    """A two-way path for raw bytes with half-close. As `chanlink.ByteStream`, also as a ``with``."""

    def __init__(self, portal: Portal, end: "chanlink.ByteStream") -> None:
        super().__init__(portal)
        self.end: chanlink.ByteStream = end
        """The async end. Its verbs must not be called in a thread."""
        self._kept = b""

    def send(self, data: bytes, timeout: float | None = None) -> None:
        """Send bytes; returns when they were accepted, all of them. Raises as `chanlink.ByteStream.send`.

        `TimeoutError` after ``timeout`` seconds: nothing was sent then.
        """
        self._portal.run(lambda: within(timeout, partial(self.end.send, data)))

    def receive(self, max_bytes: int = 65_536, timeout: float | None = None) -> bytes:
        """At least one byte, at most ``max_bytes``. Raises as `chanlink.ByteStream.receive`, and as `Receiver.receive`
        here: nothing is lost."""
        return self._portal.run(lambda: self._receive(max_bytes, timeout), self._keep)

    async def _receive(self, max_bytes: int, timeout: float | None) -> bytes:
        expect("max_bytes", max_bytes, int)
        if max_bytes > 0 and self._kept:
            data, self._kept = self._kept[:max_bytes], self._kept[max_bytes:]
            return data
        return await within(timeout, partial(self.end.receive, max_bytes))

    def _keep(self, data: bytes) -> None:
        self._kept = data + self._kept

    def _forget(self) -> None:
        self._kept = b""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            return self.receive()
        except EndOfChannel:
            raise StopIteration from None

    def send_eof(self) -> None:
        """End what this side sends; it can still receive."""
        self._portal.run(self.end.send_eof)

    def fail(self, code: str, text: str = "") -> None:
        """Give up sending: the other side gets the bytes sent before, then `ChannelFailed(code, text)`."""
        self._portal.run_sync(lambda: self.end.fail(code, text))

    def refuse(self, code: str = "closed", reason: str = "") -> None:
        """Read no more; the other side's `send` raises `ChannelRefused` from now on. This side can still send."""
        self._portal.run_sync(lambda: self.end.refuse(code, reason))

    def reader(self) -> io.BufferedReader:
        """A file object of what is received, as `io` has them: ``readline``, ``read``, `io.TextIOWrapper` and all.

        It reads ahead. To close it is to `refuse`, unless everything was read.
        """
        return io.BufferedReader(Reader(self))

    def writer(self) -> io.BufferedWriter:
        """A file object of what is sent. To close it is to `send_eof`."""
        return io.BufferedWriter(Writer(self))

    def wait_closed(self, timeout: float | None = None) -> ChannelError:
        """Return, with the reason, when the other side reads no more, though nothing is being sent."""
        return self._portal.run(lambda: within(timeout, self.end.wait_closed))

    def _to_travel(self, portal: Portal) -> object:
        if self._kept:
            raise EncodeError("a stream that keeps bytes of an interrupted receive, which are to be received here")
        return super()._to_travel(portal)


async def within(seconds: float | None, function: Callable[[], Awaitable[T]]) -> T:
    """What an async function returns; `TimeoutError` if that takes longer."""
    expect("timeout", seconds, int, float, NoneType)
    with anyio.fail_after(seconds if seconds is None else max(seconds, 0)):
        return await function()


def to_send(value: Any, portal: Portal) -> Any:
    """A message, or an argument, with the async ends that those in it stand for."""
    return _replaced(value, lambda item: item._to_travel(portal) if isinstance(item, End) else item)


def received_here(value: Any, portal: Portal) -> Any:
    """A message, or what an async function returned, with ends for threads."""
    return _replaced(value, partial(wrap, portal=portal))


def drop(value: Any) -> None:
    """In the event loop: close the ends in what nobody wants."""

    def close(item: Any) -> Any:
        if isinstance(item, End):
            item.end.close()
        return item

    _replaced(value, close)


def wrap(item: Any, portal: Portal) -> Any:
    """The end for threads that stands for an async one; anything else as it is."""
    match item:
        case chanlink.Sender():
            return Sender(portal, item)
        case chanlink.Receiver():
            return Receiver(portal, item)
        case chanlink.ByteStream():
            return ByteStream(portal, item)
        case _:
            return item


def _replaced(value: Any, new: Callable[[Any], Any], depth: int = MAX_DEPTH) -> Any:
    """A copy of plain data in which other things are replaced; what holds none is not copied."""
    if depth and type(value) is dict:
        items = {key: _replaced(item, new, depth - 1) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if depth and type(value) in (list, tuple):
        copy = [_replaced(item, new, depth - 1) for item in value]
        if all(one is other for one, other in zip(copy, value, strict=True)):
            return value
        return copy if type(value) is list else tuple(copy)
    return new(value)
