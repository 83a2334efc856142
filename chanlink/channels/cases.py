"""The cases of a select: how each waits, and how it happens.

A case that waits is registered at the core of its end like a task; there is no task for it. When it is woken the
select looks at its cases and commits to one of them without awaiting, so exactly one happens. At a rendezvous in
memory the other side may commit a case; the select returns that one then, whatever else has happened.

A wake-up that a case got and did not use goes to the next waiter there.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import anyio

from chanlink.errors import ChanlinkError, ChannelClosed, ChannelError, DecodeError, MessageError, MessageTypeError
from chanlink.printing import printable

from .channel import Receiver, Sending
from .cores import ReceiveCore, SendCore
from .describing import brief
from .handle import Closing, Handle
from .offers import Offer
from .waiting import EMPTY, Waiters


class Selected(NamedTuple):
    """The case that happened."""

    index: int  # type: ignore[assignment]
    """Its place among the arguments of `select`, or what `Selector.add` returned."""
    channel: Any
    """The end that the case is about."""
    value: Any
    """Of a receiver: the message."""
    error: ChanlinkError | None
    """Why the end is over, or what was wrong with the message that came (`DecodeError`, `MessageTypeError`)."""

    def __repr__(self) -> str:
        outcome = f"value={brief(self.value)}" if self.error is None else f"error={brief(self.error)}"
        return printable(f"Selected(index={self.index}, channel={self.channel!r}, {outcome})")


class Opener(abc.ABC):
    """What receives by a receiver, and makes something else of its messages: selected, it is a case as well."""

    @property
    @abc.abstractmethod
    def receiver(self) -> Receiver[Any]:
        """Where its messages come from."""

    @abc.abstractmethod
    def _opened(self, item: Any) -> Any:
        """What a message stands for. Raises `MessageError`; the channel goes on."""


Case = Receiver[Any] | Opener | Sending | Closing
"""What can be selected: a receiver, a `Subscription`, ``sender.sending(value)``, ``end.closing()``."""


class BaseCase(abc.ABC):
    """A case of one select, about one core of its end."""

    once = True
    """Whether a `Selector` forgets it when it has happened."""
    core: SendCore | ReceiveCore

    def __init__(self, index: int, end: Handle, selection: "Selection", queue: Waiters) -> None:
        self.index = index
        self.end = end
        self.selection = selection
        self.woken = False
        """Whether it had a wake-up that it has not used."""
        self._queue = queue  # where it waits

    @abc.abstractmethod
    def poll(self) -> Any:
        """Commit if that is possible now: the value; else `EMPTY`. Raises why the end is over."""

    def wait(self) -> None:
        """Register at the core."""
        self._queue.add(self)

    def look(self) -> Selected | None:
        """Let it happen if it is ready."""
        self.core.loop.watch()
        try:
            self.end._check_open()
            value = self.poll()
        except (ChannelError, DecodeError, MessageTypeError) as exc:
            return self.over(exc)
        return None if value is EMPTY else self.selected(value)

    def selected(self, value: Any) -> Selected:
        return Selected(self.index, self.end, value, None)

    def over(self, exc: ChannelError | DecodeError | MessageTypeError) -> Selected:
        """The outcome of an error; raises it if it is not of this end, but of one in the message."""
        if isinstance(exc, ChannelClosed) and not self.end.is_void:
            raise exc
        return Selected(self.index, self.end, None, exc)

    def decided(self, value: Any) -> Selected:
        """The other side of a rendezvous has committed this case."""
        return self.selected(value)

    def leave(self) -> None:
        """Wait no more."""
        self._queue.discard(self)

    def close(self) -> None:  # noqa: B027  (only a message to send has something to give back)
        """It is not a case any more."""

    # --- as a waiter ---

    def set(self) -> None:
        self.woken = True
        self.selection.wake(self)

    def use(self) -> None:
        """It has looked: that is what its wake-up was for."""
        self.woken = False

    def pass_on(self) -> None:
        """A wake-up that was not used is for the next one."""
        if self.woken:
            self.woken = False
            self._queue.wake()

    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        raise AssertionError("this case takes nothing")


class ReceiveCase(BaseCase):
    """A message is taken."""

    once = False

    def __init__(self, index: int, end: Receiver[Any], selection: "Selection") -> None:
        self.core: ReceiveCore = end._receive_core
        super().__init__(index, end, selection, self.core.receivers)

    def poll(self) -> Any:
        return self.core.take(0)

    def takes(self) -> bool:
        return self.selection.free

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        self.selection.decide(self, item, undo)


class OpenedCase(ReceiveCase):
    """A message is taken, and opened."""

    def __init__(self, index: int, opener: Opener, selection: "Selection") -> None:
        super().__init__(index, opener.receiver, selection)
        self._opener = opener

    def selected(self, value: Any) -> Selected:
        try:
            return Selected(self.index, self._opener, self._opener._opened(value), None)
        except MessageError as exc:
            return Selected(self.index, self._opener, None, exc)

    def over(self, exc: ChannelError | DecodeError | MessageTypeError) -> Selected:
        return super().over(exc)._replace(channel=self._opener)


class SendCase(BaseCase):
    """A message is sent."""

    def __init__(self, index: int, case: Sending, selection: "Selection") -> None:
        self.core: SendCore = case.end._send_core
        super().__init__(index, case.end, selection, self.core.senders)
        self._offer: Offer | None = None
        self._error: ChannelError | None = None
        try:
            case.end._check_open()
            self._offer = self.core.outlet.prepare(case.value)
            self._offer.made_by(case.end, decider=self)
        except ChannelError as exc:
            if not case.end.is_void:
                raise  # an end in the message is closed: a fault of the caller's
            self._error = exc

    @property
    def meets(self) -> ReceiveCore | None:
        """At a rendezvous in this process: whose receivers take the message from the offer."""
        return self.core.outlet.meets

    def poll(self) -> Any:
        if self._error is not None:
            raise self._error
        assert self._offer is not None
        if not self._offer.settled() and not self.core.outlet.commit(self._offer):
            return EMPTY
        self._offer = None
        return None

    def wait(self) -> None:
        assert self._offer is not None
        self.core.outlet.stand(self._offer, self)
        super().wait()

    def leave(self) -> None:
        super().leave()
        if self._offer is not None:
            self.core.outlet.withdraw(self._offer)

    def close(self) -> None:
        if self._offer is not None:
            self._offer.keep()
            self._offer = None

    def claim(self, offer: Offer) -> bool:
        """A receiver has come to the rendezvous."""
        if not self.selection.free:
            return False
        self.selection.decide(self, offer, None)
        return True

    def decided(self, value: Any) -> Selected:
        """A receiver has the message, whatever became of the sender since then."""
        try:
            value.settled()
        except ChannelError as exc:
            return self.over(exc)
        self._offer = None
        return self.selected(None)


class CloseCase(BaseCase):
    """The end is over: of a byte stream, its sending half."""

    def __init__(self, index: int, end: Handle, selection: "Selection") -> None:
        self.core = end._cores()[0]
        super().__init__(index, end, selection, self.core.watchers)

    def poll(self) -> Any:
        reason = self.core.over()
        if reason is None:
            return EMPTY
        raise reason.error(self.core.taken)


class Selection:
    """What waits for several cases and commits to one: a call of `select`, a `Selector`."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._decided: tuple[BaseCase, Any] | None = None
        self._undo: Callable[[], None] | None = None

    @property
    def free(self) -> bool:
        """Whether another side may commit one of the cases now."""
        return self._event is not None and self._decided is None

    def wake(self, case: BaseCase) -> None:
        """A case may be ready."""
        if self._event is not None:
            self._event.set()

    def decide(self, case: BaseCase, value: Any, undo: Callable[[], None] | None) -> None:
        """The other side of a rendezvous has committed a case."""
        assert self._event is not None
        self._decided, self._undo = (case, value), undo
        self._event.set()

    async def wait(self) -> Selected | None:
        """Wait until a case is woken; returns the one that the other side has committed, if any."""
        self._event = anyio.Event()
        try:
            await self._event.wait()
        except BaseException:
            if self._decided is not None and self._undo is not None:
                self._undo()  # the message is the next one's
                self.wake(self._decided[0])
                self._decided = self._undo = None
            if self._decided is None:
                raise
            # A message was sent: that is the result, and a cancellation comes with the next checkpoint.
        finally:
            self._event = None
        decided, self._decided, self._undo = self._decided, None, None
        if decided is None:
            return None
        case, value = decided
        return case.decided(value)


def make_case(index: int, case: Case, selection: Selection) -> BaseCase:
    match case:
        case Receiver():
            return ReceiveCase(index, case, selection)
        case Sending():
            return SendCase(index, case, selection)
        case Closing(end):
            return CloseCase(index, end, selection)
        case Opener():
            return OpenedCase(index, case, selection)
    wanted = "a receiver, sender.sending(value) or end.closing()"
    raise TypeError(f"case {index} must be {wanted}, not {type(case).__name__}")
