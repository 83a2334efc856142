"""Links: what joins two cores of one process (port.py).  The outlet of one, a feed of the other."""

import abc
from collections import deque
from typing import Any

from . import codec
from .errors import ChanlinkError, ChannelClosed, Reason
from .limits import PeerLimits
from .port import EMPTY, MOVED_ON, Offer, ReceiveCore, SendCore

MEMORY_MESSAGES = 64
"""Messages that a pipe in memory holds if no capacity was given."""
MEMORY_BYTES = 64 * 1024
"""Bytes that each direction of a byte pipe in memory holds."""


class Link(abc.ABC):
    """What joins two cores of one process: the outlet of one, a feed of the other."""

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.items: deque[Any] = deque()
        self.sender: SendCore | None = SendCore(self)
        """The core that sends; None once that end has been sent away."""
        self.receiver: ReceiveCore | None = ReceiveCore(self)
        self.reason: Reason | None = None
        self.finished: Reason | None = None
        self.sent = 0
        self.taken = 0

    @abc.abstractmethod
    def prepare(self, value: Any) -> Any:
        """As an `Outlet`."""

    @abc.abstractmethod
    def commit(self, offer: Any) -> bool:
        """As an `Outlet`."""

    @abc.abstractmethod
    def take(self, limit: int) -> Any:
        """As a `Feed`."""

    def drop(self, item: Any) -> None:  # noqa: B027  (most items need nothing)
        """An item will not be taken."""

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
            self.receiver.waiting.wake()

    def finish(self, reason: Reason) -> None:
        if self.finished is None:
            self.finished = reason
            if self.receiver is not None:
                self.receiver.waiting.wake_all()

    def over(self) -> Reason | None:
        return self.finished

    def refuse(self, reason: Reason) -> None:
        if self.reason is None and self.finished is not MOVED_ON:
            self.reason = reason
        for item in self.items:
            self.drop(item)
        self.items.clear()
        if self.sender is not None:
            self.sender.wake_all()

    def woken(self) -> None:
        """Something was taken."""
        if self.sender is not None:
            self.sender.writable()


class _Parcel:
    """A message in memory that holds ends; one without is kept as it is."""

    __slots__ = ("ends", "value")

    def __init__(self, value: Any, ends: list[codec.End]) -> None:
        self.value = value
        self.ends = ends


_NO_LIMITS = PeerLimits()


class MessageLink(Link):
    """Messages in memory; with capacity 0 a rendezvous, where offers wait until a receiver takes one."""

    def __init__(self, capacity: int | None) -> None:
        super().__init__(capacity)
        self._room = MEMORY_MESSAGES if capacity is None else capacity
        self._offers: deque[Offer] = deque()

    def prepare(self, value: Any) -> Offer:
        return Offer(value, codec.find_ends(value, _NO_LIMITS, None))

    def commit(self, offer: Offer) -> bool:
        self.check_open()
        if self._room == 0:
            return self._meet(offer)
        if len(self.items) >= self._room:
            return False
        self.accept(self._move(offer) if offer.ends else offer.value)
        return True

    def _move(self, offer: Offer) -> _Parcel:
        """The commit of a message with ends: their old handles are void from now on."""
        for end, path in offer.ends.values():
            end.check_movable(self.receiver, path)
        new = {identity: end.moved() for identity, (end, _) in offer.ends.items()}
        offer.ends = {}
        return _Parcel(codec.replace_ends(offer.value, new), list(new.values()))

    def _meet(self, offer: Offer) -> bool:
        if not offer.taken and offer not in self._offers:
            self._offers.append(offer)
            if self.receiver is not None:
                self.receiver.waiting.wake()
        return offer.taken

    def withdraw(self, offer: Offer) -> None:
        """The sender of an offer does not wait any more."""
        if offer in self._offers:
            self._offers.remove(offer)

    def take(self, limit: int) -> Any:
        item = self.items.popleft() if self.items else self._take_offer()
        if item is EMPTY:
            return EMPTY
        self.taken += 1
        self.woken()
        return item.value if type(item) is _Parcel else item

    def _take_offer(self) -> Any:
        """The message of the first sender at the rendezvous; it is committed now."""
        while self._offers:
            offer = self._offers.popleft()
            if offer.by is not None and offer.by.is_void:
                continue  # its task has been woken, and will say why
            try:
                item = self._move(offer) if offer.ends else offer.value
                offer.taken = True
            except ChanlinkError as exc:
                offer.error = exc  # its sender's fault, and its sender's error
            if self.sender is not None:
                self.sender.room.wake_all()  # only the sender of this offer goes on
            if offer.taken:
                self.sent += 1
                return item
        return EMPTY

    def drop(self, item: Any) -> None:
        if type(item) is _Parcel:
            for end in item.ends:
                end.forsake("not-taken")

    def values(self) -> list[Any]:
        """What waits here, for a stream that takes over."""
        return [item.value if type(item) is _Parcel else item for item in self.items]


class ByteLink(Link):
    """One direction of a byte pipe in memory."""

    def __init__(self) -> None:
        super().__init__(None)
        self._size = 0

    def prepare(self, value: Any) -> Any:
        return value

    def commit(self, offer: bytes) -> bool:
        self.check_open()
        if self._size >= MEMORY_BYTES:
            return False
        self._size += len(offer)
        self.accept(offer)
        return True

    def take(self, limit: int) -> Any:
        if not self.items:
            return EMPTY
        item = self.items[0]
        if len(item) > limit:
            item, self.items[0] = item[:limit], memoryview(item)[limit:]
        else:
            self.items.popleft()
            self.taken += 1
        self._size -= len(item)
        self.woken()
        return bytes(item)
