"""Channels of messages: `pipe`, `Sender`, `Receiver`."""

import re
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar, overload

from anyio.abc import ObjectReceiveStream, ObjectSendStream
from anyio.lowlevel import checkpoint

from chanlink.errors import END, MAX_CODE, ChannelClosed, ChannelError, DecodeError, EndOfChannel, Reason

from .cores import ReceiveCore, SendCore
from .handle import ReceiveHandle, SendHandle
from .memory import MessageQueue
from .values import Kind
from .waiting import EMPTY, YIELD_AFTER

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class SenderStatistics(NamedTuple):
    """A moment in the life of a channel, as its senders in this process see it together."""

    sent: int
    """Messages accepted."""
    taken: int
    """Messages known to be taken by the far application; the difference is in flight."""
    queued: int
    """Bytes that were accepted and have not left this process yet; in memory: messages not taken yet."""
    credit: int | None
    """Bytes that would be accepted now; in memory: messages."""
    waiting: int
    """How many tasks wait in `send` or `select`."""
    senders: int
    """Senders in this process that are open: clones, and those that a relay feeds from another session."""
    failure: ChannelError | None
    """What the receiver will get at the end, because one of them has failed or was lost."""


class ReceiverStatistics(NamedTuple):
    """A moment in the life of a receiver."""

    taken: int
    """Messages taken."""
    queued: int
    """Bytes that have arrived and were not taken; in memory: messages."""
    waiting: int
    """How many tasks wait in `receive` or `select`."""
    feeds: int
    """Where messages may still come from: this process, and each clone of the sender that has gone to another one."""
    failure: ChannelError | None
    """What will be raised at the end, because a clone of the sender has failed or was lost."""


@overload
def pipe(capacity: int | None = None) -> "tuple[Sender[Any], Receiver[Any]]": ...


@overload
def pipe(capacity: int | None = None, *, item_type: type[T]) -> "tuple[Sender[T], Receiver[T]]": ...


def pipe(capacity: int | None = None, *, item_type: object = Any) -> "tuple[Sender[Any], Receiver[Any]]":
    """Make a channel; data flows from the left end to the right one.

    `capacity` is the number of messages that may be sent and not yet taken: ``None`` for 64 in memory and as much as
    the byte window holds over a session, ``0`` for a rendezvous (`send` returns when the message was taken).
    Either end may be sent to another process inside a message. `item_type` is for type checkers.
    """
    check_capacity(capacity)
    queue = MessageQueue(capacity)
    assert queue.receiver is not None
    return Sender(queue.sender), Receiver(queue.receiver)


def check_capacity(capacity: int | None) -> None:
    if capacity is not None and capacity < 0:
        raise ValueError("capacity must be None or at least 0")


class Sending(NamedTuple):
    """A case for `select`: a message is sent."""

    end: "Sender[Any]"
    value: Any


class Sender(SendHandle[T_contra], ObjectSendStream[T_contra], Generic[T_contra]):
    """The end of a channel that sends. Many tasks may use it at the same time.

    Leaving ``async with sender`` closes it: the receiver gets what was sent before, then the end. If the block is
    left by an exception the channel *fails*, with the name of the exception's class as code: ``timeout-error`` for a
    `TimeoutError`, ``cancelled`` for a cancellation.

    A sender that is garbage collected without having been closed fails with code ``abandoned``, and causes a
    `ResourceWarning`.
    """

    kind: Kind = "sender"
    """What the peer gets when this end is sent to it."""
    tell_text: bool = False
    """Whether the receiver also gets the text of the exception that the block was left by. It may hold internals."""

    def __init__(self, send_core: SendCore) -> None:
        self._send_core = send_core
        super().__init__()

    def _cores(self) -> tuple[SendCore]:
        return (self._send_core,)

    def send_nowait(self, item: T_contra) -> None:
        """As `send`, but raises `anyio.WouldBlock` instead of waiting."""
        self._put_nowait(item)

    async def flush(self) -> None:
        """Return once the far application has taken everything that was sent.

        Also after `close`. Raises `ChannelRefused` or `SessionLost` when that can't happen any more.
        """
        await checkpoint()
        await self._until_taken(self._send_core, self._send_core.sent, wherever=False)

    def sending(self, item: T_contra) -> Sending:
        """A case for `select`: ready when `item` would be accepted at once; committed, it is sent as by `send`."""
        return Sending(self, item)

    def clone(self) -> "Sender[T_contra]":
        """Make another sender of the same channel, which may stay here or be sent anywhere.

        The channel ends when its last sender ends. If any failed or was lost, the others go on, and the receiver gets
        the first such reason at the end instead of `EndOfChannel` (`statistics` shows it before). Each sender's own
        messages stay in order. Where a channel has a capacity, each process with clones has that much of its own.

        Raises `ChannelClosed`.
        """
        self._check_open()
        self._send_core.share()
        clone = type(self)(self._send_core)
        clone.tell_text = self.tell_text
        return clone

    @property
    def taken(self) -> int:
        """How many messages the far application is known to have taken."""
        return self._send_core.taken

    def close(self) -> None:
        """End the channel (with its last clone); the receiver first gets everything sent before. Twice is harmless."""
        self._finish(END)

    async def aclose(self) -> None:
        """As `close`."""
        self.close()
        await checkpoint()

    def fail(self, code: str, text: str = "") -> None:
        """Give up: the receiver gets everything sent before, then `ChannelFailed(code, text)`."""
        self._finish(Reason("failed", code, text))

    def _finish(self, reason: Reason) -> None:
        if self._make_void(ChannelClosed):
            self._send_core.release(reason)

    def _release(self, sending: Reason, receiving: Reason) -> None:
        self._send_core.release(sending)

    async def wait_closed(self) -> ChannelError:
        """Return, with the reason, when the receiver is gone, though nothing is being sent."""
        return await self._until_refused()

    def statistics(self) -> SenderStatistics:
        """What it is doing now."""
        core = self._send_core
        failure = core.failure.error(core.taken) if core.failure is not None else None
        outlet = core.outlet
        return SenderStatistics(
            core.sent, core.taken, outlet.queued, outlet.credit, len(core.senders), core.shares, failure
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._finish(failure(exc_type, exc if self.tell_text else None) or END)


class Receiver(ReceiveHandle, ObjectReceiveStream[T_co], Generic[T_co]):
    """The end of a channel that receives. Many tasks may use it; each message goes to one of them.

    Iterating stops at the orderly end, and raises `ChannelFailed` or `SessionLost` at any other.
    """

    kind: Kind = "receiver"
    """What the peer gets when this end is sent to it."""

    def __init__(self, receive_core: ReceiveCore) -> None:
        self._receive_core = receive_core
        super().__init__()

    def _cores(self) -> tuple[ReceiveCore]:
        return (self._receive_core,)

    async def receive(self) -> T_co:
        """The next message.

        Raises `EndOfChannel`, `ChannelFailed` or `SessionLost` after all messages that arrived; `ChannelClosed`;
        `DecodeError` when the peer sent what is no message (its sender is refused, the channel is over).
        Cancelled: no message is lost.
        """
        return await self._get()  # type: ignore[no-any-return]

    def receive_nowait(self) -> T_co:
        """As `receive`, but raises `anyio.WouldBlock` instead of waiting."""
        return self._get_nowait()  # type: ignore[no-any-return]

    async def receive_many(self, limit: int = 1_000) -> list[T_co]:
        """At least one message, and as many more as are there already, up to `limit`; fewer if they are long.

        Raises as `receive`.
        """
        items = [await self.receive()]
        core = self._receive_core
        try:
            while len(items) < limit and core.steps < YIELD_AFTER and (item := core.take(0)) is not EMPTY:
                items.append(item)
        except (ChannelError, DecodeError):
            pass  # a reason is sticky: the next call raises it, also that of a message which could not be read
        return items

    async def __anext__(self) -> T_co:
        try:
            return await self._get()  # type: ignore[no-any-return]
        except EndOfChannel:
            raise StopAsyncIteration from None

    def close(self, reason: str = "") -> None:
        """Refuse: every sender is told at once, with `reason`. What was not taken is dropped. Twice is harmless."""
        self.refuse("closed", reason)

    def refuse(self, code: str, reason: str = "") -> None:
        """As `close`, with a code of your own."""
        if self._make_void(ChannelClosed):
            self._receive_core.refuse(Reason("refused", code, reason))

    def _release(self, sending: Reason, receiving: Reason) -> None:
        self._receive_core.refuse(receiving)

    async def aclose(self) -> None:
        """As `close`."""
        self.close()
        await checkpoint()

    def statistics(self) -> ReceiverStatistics:
        """What it is doing now."""
        core = self._receive_core
        failure = core.failure.error(core.taken) if core.failure is not None else None
        return ReceiverStatistics(core.taken, core.queued, len(core.receivers), len(core.feeds), failure)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        why = failure(exc_type)
        self.refuse(*(("closed", "") if why is None else (why.code, why.text)))


def failure(exc_type: type[BaseException] | None, exc: BaseException | None = None) -> Reason | None:
    """What the other side learns when a block is left by an exception: the name of its class, and its text if given."""
    if exc_type is None:
        return None
    # Cancelled of trio, CancelledError of asyncio; KeyboardInterrupt is no better.
    if not issubclass(exc_type, Exception):
        return Reason("failed", "cancelled")
    return Reason("failed", _as_code(exc_type.__name__), "" if exc is None else str(exc))


def _as_code(name: str) -> str:
    """The name of a class as codes are written (protocol section 6): ``TimeoutError`` is ``timeout-error``."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
    return "-".join(words).lower()[:MAX_CODE].rstrip("-") or "exception"
