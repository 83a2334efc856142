"""Channels of messages: `pipe`, `Sender`, `Receiver`.

Whole: the two ends that users hold, more than half of it what their methods promise.
"""

from collections.abc import AsyncIterator, Callable
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar, overload

from anyio.abc import ObjectReceiveStream, ObjectSendStream
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect, expect_function
from chanlink.errors import (
    END,
    ChannelClosed,
    ChannelError,
    DecodeError,
    EndOfChannel,
    MessageTypeError,
    Reason,
    as_code,
)

from .cores import Converter, ReceiveCore, SendCore
from .encoded import Encoded
from .handle import ReceiveHandle, SendHandle, check_contract
from .memory import MessageQueue
from .typed import converter_of
from .valid import Valid
from .values import Kind
from .waiting import EMPTY, YIELD_AFTER

if TYPE_CHECKING:
    from typing_extensions import TypeForm

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
def pipe(capacity: int | None = None, *, contract: str | None = None) -> "tuple[Sender[Any], Receiver[Any]]": ...


@overload
def pipe(
    capacity: int | None = None, *, item_type: type[T], check: bool = False, contract: str | None = None
) -> "tuple[Sender[T], Receiver[T]]": ...


@overload
def pipe(
    capacity: int | None = None, *, item_type: "TypeForm[T]", check: bool = False, contract: str | None = None
) -> "tuple[Sender[T], Receiver[T]]": ...


def pipe(
    capacity: int | None = None, *, item_type: object = Any, check: bool = False, contract: str | None = None
) -> "tuple[Sender[Any], Receiver[Any]]":
    """Make a channel; data flows from the left end to the right one.

    `capacity` is the number of messages that may be sent and not yet taken: ``None`` for 64 in memory and as much as
    the byte window holds over a session, ``0`` for a rendezvous (`send` returns when the message was taken).
    Either end may be sent to another process inside a message.

    With an `item_type` (a class, ``A | None``, ``list[A]``), objects of it are sent. What comes from another process is
    checked as it is taken: what does not fit is a `MessageTypeError`. In memory the object itself passes, unchecked.
    With `check` each message is also checked where it is sent. `contract` is the name of what the messages keep to
    (``orders/2``): it goes where the ends go, and whoever expects another one there does not take them.

    Raises `InterfaceError` for what can't be the type of a message, and `ConfigError` when msgspec is not installed
    (``chanlink[typed]``).
    """
    check_capacity(capacity)
    converter = converter_of(item_type, check=check)
    queue = MessageQueue(capacity, check_contract(contract))
    assert queue.receiver is not None
    sender, receiver = Sender[Any](queue.sender), Receiver[Any](queue.receiver)
    if converter is not None:
        sender._converts_by(converter)
        receiver._converts_by(converter)
    return sender, receiver


def pipe_without_trace() -> "tuple[Sender[Any], Receiver[Any]]":
    """A channel that belongs to no trace wherever its ends go: what it is for is told to instruments otherwise."""
    queue = MessageQueue(None, trace=b"")
    assert queue.receiver is not None
    return Sender[Any](queue.sender), Receiver[Any](queue.receiver)


def check_capacity(capacity: int | None) -> None:
    if capacity is not None:
        expect("capacity", capacity, int, NoneType)
        if capacity < 0:
            raise ValueError("capacity must be None or at least 0")


def check_reason(code: str, name: str, text: str) -> None:
    """What the other side is to learn; `name` is that of the argument for the text."""
    expect("code", code, str)
    expect(name, text, str)


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
    `ResourceWarning`, which says where it was made when Python runs with ``-X tracemalloc=25``.
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

    def _converts_by(self, converter: Converter) -> None:
        self._send_core.outlet.converts_by(converter)

    def _counts(self) -> dict[str, int]:
        now = self.statistics()
        others = max(now.senders - 1, 0)
        sent = {"sent": now.sent, "taken": now.taken, "queued": now.queued}
        return {**sent, "tasks that wait": now.waiting, "other senders": others}

    if TYPE_CHECKING:

        async def send(self, item: T_contra | Encoded) -> None:
            """As it stands in `SendHandle`, which has it for byte streams, too: these take nothing that is encoded."""

    def send_nowait(self, item: T_contra | Encoded) -> None:
        """As `send`, but raises `anyio.WouldBlock` instead of waiting."""
        self._put_nowait(item)

    async def flush(self) -> None:
        """Return once the far application has taken everything that was sent.

        Also after `close`. Raises `ChannelRefused` or `SessionLost` when that can't happen any more.
        """
        await checkpoint()
        await self._until_taken(self._send_core, self._send_core.sent, wherever=False)

    def sending(self, item: T_contra | Encoded) -> Sending:
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

    @overload
    def typed(self, item_type: type[T], *, check: bool = False, contract: str | None = None) -> "Sender[T]": ...

    @overload
    def typed(self, item_type: "TypeForm[T]", *, check: bool = False, contract: str | None = None) -> "Sender[T]": ...

    def typed(self, item_type: object, *, check: bool = False, contract: str | None = None) -> "Sender[Any]":
        """This end with an item type, as that of `pipe`, also for its clones; this handle is void from now on.

        When the channel was made with another `contract` than this one it fails as ``wrong-type``, and `ChannelRefused`
        is raised. Raises as `pipe`, `ChannelClosed`, and `anyio.BusyResourceError` while another task sends this end.
        """
        converter = converter_of(item_type, check=check)
        self._give_way(contract)
        typed = type(self)(self._send_core)
        typed.tell_text = self.tell_text
        if converter is not None:
            typed._converts_by(converter)
        return typed

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
        check_reason(code, "text", text)
        self._finish(Reason("failed", code, text))

    def _finish(self, reason: Reason) -> None:
        if self._make_void(ChannelClosed):
            self._send_core.release(reason)

    def _release(self, sending: Reason, receiving: Reason) -> None:
        self._send_core.release(sending)

    async def wait_closed(self) -> ChannelError:
        """Return, with the reason, when the receiver is gone, though nothing is being sent.

        Raises `ChannelClosed` when this end is closed, or sent away, before.
        """
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

    def _converts_by(self, converter: Converter) -> None:
        self._receive_core.converts_by(converter)

    @overload
    def typed(self, item_type: type[T], *, contract: str | None = None) -> "Receiver[T]": ...

    @overload
    def typed(self, item_type: "TypeForm[T]", *, contract: str | None = None) -> "Receiver[T]": ...

    def typed(self, item_type: object, *, contract: str | None = None) -> "Receiver[Any]":
        """This end with an item type, as that of `pipe`; this handle is void from now on.

        When the channel was made with another `contract` it is refused, ``wrong-type``, and `ChannelFailed` raised.
        Raises as `pipe`, `ChannelClosed`, and `anyio.BusyResourceError` while another task sends this end.
        """
        converter = converter_of(item_type)
        self._give_way(contract)
        typed = type(self)(self._receive_core)
        if converter is not None:
            typed._converts_by(converter)
        return typed

    def _counts(self) -> dict[str, int]:
        now = self.statistics()
        return {"taken": now.taken, "queued": now.queued, "tasks that wait": now.waiting}

    async def receive(self) -> T_co:
        """The next message.

        Raises `EndOfChannel`, `ChannelFailed` or `SessionLost` after all messages that arrived; `ChannelClosed`;
        `DecodeError` when the peer sent what is no message (its sender is refused, the channel is over);
        `MessageTypeError` when it is not of the channel's type (it is dropped, and its ends are refused; the next call
        brings what follows).
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
        if type(limit) is not int:
            expect("limit", limit, int)
        items = [await self.receive()]
        core = self._receive_core
        try:
            while len(items) < limit and core.steps < YIELD_AFTER and (item := core.take(0)) is not EMPTY:
                items.append(item)
        except (ChannelError, DecodeError):
            pass  # a reason is sticky: the next call raises it, also that of a message which could not be read
        except Exception as exc:  # what is wrong with a message of a type: the next call raises it
            core.raises(exc)
        return items

    def valid(self, on_bad: Callable[[MessageTypeError], object]) -> AsyncIterator[T_co]:
        """Iterate over the messages that are of the channel's type; `on_bad` is called with the error of each other.

        Otherwise as to iterate over the receiver itself.
        """
        expect_function("on_bad", on_bad)
        return Valid(self, on_bad)

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
        check_reason(code, "reason", reason)
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
    return Reason("failed", as_code(exc_type.__name__), "" if exc is None else str(exc))
