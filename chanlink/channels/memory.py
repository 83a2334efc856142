"""Queues in memory: what joins two cores of one process, the outlet of one and a feed of the other.

Whole: what a queue is as an outlet, and what it is as a feed, are two sides of the same items.
"""

import abc
import sys
from bisect import bisect
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from chanlink.errors import ChanlinkError, ChannelClosed, Reason, not_taken
from chanlink.limits import PeerLimits

from .cores import Converter, Onward, ReceiveCore, SendCore
from .encoded import Encoded
from .objects import ends_in, replace_in_objects
from .offers import Offer
from .values import Attachments, End, count_plain, find_ends, replace_ends
from .waiting import EMPTY, Loop, Waiter

MEMORY_MESSAGES = 64
"""Messages that a pipe in memory holds if no capacity was given."""
MEMORY_BYTES = 64 * 1024
"""Bytes that each direction of a byte pipe in memory holds."""


class MemoryQueue(abc.ABC):
    """What joins two cores of one process: the outlet of one, a feed of the other."""

    def __init__(self, loop: Loop, *, capacity: int | None = None, size: int | None = None) -> None:
        self.capacity = capacity
        self.converter: Converter | None = None
        self.contract: bytes | None = None
        self.trace: bytes | None = None
        self.items: deque[Any] = deque()
        self.sender = SendCore(self, loop, size=size)
        self.receiver: ReceiveCore | None = ReceiveCore(loop, capacity, size=size)
        """The core that receives; None once it has been bound to something else."""
        self.receiver.also_from(self)
        self.reason: Reason | None = None
        self.finished: Reason | None = None
        self.sent = 0
        self.taken = 0
        self._after: deque[tuple[int, Callable[[], None]]] = deque()

    # --- as an outlet ---

    def converts_by(self, converter: Converter) -> None:
        """As an `Outlet`."""
        self.converter = converter

    @abc.abstractmethod
    def can_accept(self) -> bool:
        """Whether nothing is over, and there is room."""

    @abc.abstractmethod
    def post(self, value: Any) -> bool:
        """As an `Outlet`."""

    @abc.abstractmethod
    def prepare(self, value: Any) -> Offer:
        """As an `Outlet`."""

    @abc.abstractmethod
    def commit(self, offer: Offer) -> bool:
        """As an `Outlet`."""

    @property
    @abc.abstractmethod
    def queued(self) -> int:
        """As an `Outlet` and as a `Feed`."""

    @property
    @abc.abstractmethod
    def credit(self) -> int:
        """As an `Outlet`."""

    @property
    def meets(self) -> ReceiveCore | None:
        return None

    @property
    def instruments(self) -> None:
        """As of an `Outlet` and of a `Feed`: in memory there are none."""
        return None

    @property
    def service(self) -> None:
        """As of an `Outlet` and of a `Feed`: in memory there is none."""
        return None

    def stand(self, offer: Offer, waiter: Waiter) -> None:  # noqa: B027  (only a rendezvous needs it)
        """As an `Outlet`."""

    def withdraw(self, offer: Offer) -> None:  # noqa: B027
        """As an `Outlet`."""

    def check_open(self) -> None:
        """Raise why nothing can be sent any more, if so."""
        if self.reason is not None:
            raise self.reason.error(self.taken)
        if self.finished is not None:
            raise ChannelClosed("this end has said that nothing more comes")

    def accept(self, item: Any) -> None:
        self.items.append(item)
        self.sent += 1
        if self.receiver is not None:
            self.receiver.readable(self)

    def failing(self, reason: Reason) -> None:
        if self.receiver is not None:
            self.receiver.failing(reason)

    def finish(self, reason: Reason) -> None:
        if self.finished is None:
            self.finished = reason
            if self.receiver is not None:
                self.receiver.readable(self)

    # --- as a feed ---

    @abc.abstractmethod
    def take(self, limit: int) -> Any:
        """As a `Feed`."""

    def over(self) -> Reason | None:
        return None if self.items else self.finished

    @property
    def drained(self) -> bool:
        return self.finished is not None and not self.items

    def refuse(self, reason: Reason) -> None:
        if self.reason is None:
            self.reason = reason
        for item in self.items:
            self.drop(item)
        self.items.clear()
        self.sender.wake_all()

    def drop(self, item: Any) -> None:  # noqa: B027  (most items need nothing)
        """An item will not be taken."""

    # --- when ends leave ---

    @abc.abstractmethod
    def backlog(self) -> list[Any]:
        """The messages, or the bytes, that wait here, for a stream that takes over."""

    def leave_by(self, outlet: Onward, loop: Loop) -> None:
        """The receiver has left: what is sent goes there from now on, where the backlog has gone already."""
        self.receiver = None
        self.sender.leave_by(outlet, loop)

    def after(self, then: Callable[[], None]) -> None:
        """Call `then` once everything that was sent until now has been taken."""
        if self.taken == self.sent:
            then()
        else:
            self._after.append((self.sent, then))

    def note_taken(self) -> None:
        self.taken += 1
        while self._after and self._after[0][0] <= self.taken:
            self._after.popleft()[1]()


def queue_behind(core: SendCore) -> MemoryQueue | None:
    """The queue that a core sends to, if it sends to one."""
    return core.outlet if isinstance(core.outlet, MemoryQueue) else None


def queue_before(core: ReceiveCore) -> MemoryQueue | None:
    """The queue that a core takes from, if it takes from one."""
    return next((feed for feed in core.feeds if isinstance(feed, MemoryQueue)), None)


class _Parcel:
    """A message in memory that holds ends; one without is kept as it is."""

    __slots__ = ("ends", "value")

    def __init__(self, value: Any, ends: list[End]) -> None:
        self.value = value
        self.ends = ends


_NO_LIMITS = PeerLimits()


class MessageQueue(MemoryQueue):
    """Messages in memory.

    With capacity 0 a rendezvous: a sender gives its message to a receiver that waits, or its offer stands until a
    receiver comes and takes it. Either way both sides commit at the same instant.
    """

    def __init__(self, capacity: int | None, contract: bytes | None = None, trace: bytes | None = None) -> None:
        super().__init__(Loop(), capacity=capacity)
        self.contract = contract
        self.trace = trace
        self._places = MEMORY_MESSAGES if capacity is None else capacity
        self._offers: dict[Offer, None] = {}
        self._given_back: list[int] = []
        """Of a rendezvous: which of the messages sent are in `items`, as the tasks that had them were cancelled."""
        self._onward: Onward | None = None
        """Where messages go since the receiver has left."""

    def can_accept(self) -> bool:
        return self.reason is None and self.finished is None and len(self.items) < self._places

    def post(self, value: Any) -> bool:
        if not (self.can_accept() and count_plain(value, _NO_LIMITS.message_depth, sys.maxsize)):
            return False
        if self.converter is not None and self.converter.checks:
            self.converter.outgoing(value)
        self.accept(value)
        return True

    def prepare(self, value: Any) -> Offer:
        if isinstance(value, Encoded):
            plain = value._value()
            return Offer(plain if self.converter is None else self.converter.incoming(plain), {})
        ends = find_ends(value, _NO_LIMITS, None) if self.converter is None else self._ends_of(value, self.converter)
        if ends:
            with suppress(RuntimeError):  # there is no event loop, and so nobody waits
                # If the receiver is garbage collected, the ends in this message must be dropped even if no task waits.
                self.sender.loop.watch()
        return Offer(value, ends)

    def _ends_of(self, value: Any, converter: Converter) -> Attachments:
        if converter.checks:
            converter.outgoing(value)
        return ends_in(value) if converter.may_hold_ends else {}

    def commit(self, offer: Offer) -> bool:
        if self._places and self.can_accept():
            self.accept(self._move(offer))
            return True
        self.check_open()
        return self._places == 0 and self._give(offer)

    def _move(self, offer: Offer) -> Any:
        """The commit of a message: the old handles of its ends are void from now on."""
        if not offer.ends:
            return offer.value
        for end, path in offer.ends.values():
            end._check_movable(self.receiver, path)
        new = {identity: end._moved() for identity, (end, _) in offer.take_ends().items()}
        replace = replace_ends if self.converter is None else replace_in_objects
        return _Parcel(replace(offer.value, new), list(new.values()))

    # --- rendezvous ---

    @property
    def meets(self) -> ReceiveCore | None:
        return self.receiver if self._places == 0 else None

    def _give(self, offer: Offer) -> bool:
        """Give the message to a receiver that waits for one."""
        if self.receiver is None or (taker := self.receiver.receivers.taker()) is None:
            return False
        try:
            item = self._move(offer)
        except ChanlinkError:
            self.receiver.receivers.add(taker, first=True)
            raise
        self._offers.pop(offer, None)
        offer.take()
        self.sent += 1
        self.note_taken()
        taker.give(_value(item), partial(self._take_back, item, self.sent))
        return True

    def _take_back(self, item: Any, position: int) -> None:
        """The task that it was given to was cancelled: it is the next one's, as a message that was sent."""
        if self.reason is not None:
            self.drop(item)  # the receiver was closed meanwhile
        elif self._onward is not None:  # it was sent away meanwhile: the message goes there
            self._send_onward(item, self._onward)
        else:
            assert self.receiver is not None
            self.taken -= 1
            at = bisect(self._given_back, position)
            self._given_back.insert(at, position)
            self.items.insert(at, item)
            self.receiver.readable(self, first=True)

    def _send_onward(self, item: Any, outlet: Onward) -> None:
        try:
            outlet.write(_value(item))
        except ChanlinkError as exc:
            self.drop(item)
            outlet.spoil(Reason("failed", "not-sent", str(exc)))

    def stand(self, offer: Offer, waiter: Waiter) -> None:
        if self._places == 0:
            offer.stand(waiter)
            self._offers[offer] = None
            if self.receiver is not None:
                self.receiver.readable(self)

    def withdraw(self, offer: Offer) -> None:
        self._offers.pop(offer, None)

    def _take_offer(self) -> Any:
        """The message of the first sender at the rendezvous; it is committed now."""
        while (offer := next((one for one in self._offers if one.stands()), None)) is not None:
            del self._offers[offer]
            try:
                item = self._move(offer)
                offer.take()
            except ChanlinkError as exc:
                offer.fail(exc)  # its sender's fault, and its sender's error
            assert offer.waiter is not None
            self.sender.senders.discard(offer.waiter)  # only the sender of this offer goes on
            offer.waiter.set()
            if offer.taken:
                self.sent += 1
                return item
        return EMPTY

    # --- as a feed ---

    def take(self, limit: int) -> Any:
        item = self.items.popleft() if self.items else self._take_offer() if self._offers else EMPTY
        if item is EMPTY:
            return EMPTY
        if self._given_back:
            del self._given_back[0]
        self.note_taken()
        self.sender.writable()
        return _value(item)

    def drop(self, item: Any) -> None:
        if type(item) is _Parcel:
            for end in item.ends:
                end._forsake(*not_taken(self.reason))

    def backlog(self) -> list[Any]:
        values = map(_value, self.items)
        return list(values if self.converter is None else map(self.converter.outgoing, values))

    def leave_by(self, outlet: Onward, loop: Loop) -> None:
        self._onward = outlet
        super().leave_by(outlet, loop)

    @property
    def queued(self) -> int:
        return len(self.items)

    @property
    def credit(self) -> int:
        return self._places - len(self.items)


def _value(item: Any) -> Any:
    return item.value if type(item) is _Parcel else item


class ByteQueue(MemoryQueue):
    """One direction of a byte pipe in memory."""

    def __init__(self, loop: Loop, size: int | None = None) -> None:
        super().__init__(loop, size=size)
        self._bytes = 0

    def can_accept(self) -> bool:
        return self.reason is None and self.finished is None and self._bytes < MEMORY_BYTES

    def post(self, value: bytes) -> bool:
        if not self.can_accept():
            return False
        self._bytes += len(value)
        self.accept(value)
        return True

    def prepare(self, value: bytes) -> Offer:
        return Offer(value, {})

    def commit(self, offer: Offer) -> bool:
        self.check_open()
        return self.post(offer.value)

    def take(self, limit: int) -> Any:
        if not self.items:
            return EMPTY
        item = self.items[0]
        if len(item) > limit:
            item, self.items[0] = item[:limit], memoryview(item)[limit:]
        else:
            self.items.popleft()
            self.note_taken()
        self._bytes -= len(item)
        self.sender.writable()
        return bytes(item)

    def drop(self, item: bytes) -> None:
        self._bytes -= len(item)

    def backlog(self) -> list[Any]:
        return [bytes(item) for item in self.items]

    @property
    def queued(self) -> int:
        return self._bytes

    @property
    def credit(self) -> int:
        return MEMORY_BYTES - self._bytes
