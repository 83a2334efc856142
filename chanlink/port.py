"""The cores of ends: who waits, where messages go, where they come from.

An end that a program holds is a handle on a **core**. Tasks wait at the core, and what is behind a core can be
changed under them:

    Sender, ByteStream   -> SendCore     -> one outlet:     a Link in memory, or a stream of a session
    Receiver, ByteStream -> ReceiveCore  -> feeds, in turn: a Link in memory, then a stream of a session

`pipe()` joins two cores by a Link. When one end goes out in a message, the core that stays is bound to a
stream (carrier.py): a SendCore gets another outlet, and what waited in the Link goes first; a ReceiveCore gets
one more feed after the Link. No task copies anything, and nobody who waits notices.

The rules of waiting (DESIGN 3.3):

- A wake-up only says "look". The woken task takes without awaiting; if there is more to take it wakes the next one;
  if it is cancelled it passes its wake-up on. So nothing is lost by cancellation of any sort.
- A handle that was closed or sent away is void. Its tasks are woken and see that; those of other handles of the
  same core look, and wait on.
"""

from collections import deque
from typing import Any, Protocol, Self, TypeVar

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from . import codec
from .codec import Attachments
from .errors import ChannelClosed, ChannelMoved, EncodeError, Reason
from .limits import PeerLimits

MEMORY_MESSAGES = 64
"""Messages that a pipe in memory holds if no capacity was given."""
MEMORY_BYTES = 64 * 1024
"""Bytes that each direction of a byte pipe in memory holds."""
TURN = 64
"""After so many operations that did not have to wait, a task lets the others run."""

EMPTY: Any = object()
"""What a feed returns while it has nothing."""

T = TypeVar("T")


class Waiters:
    """Tasks that wait for the same thing, the one that came first at the front."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: dict[anyio.Event, None] = {}

    def __len__(self) -> int:
        return len(self._events)

    def wake(self) -> None:
        """Wake the first one, if any."""
        for event in self._events:
            del self._events[event]
            event.set()
            return

    def wake_all(self) -> None:
        events, self._events = self._events, {}
        for event in events:
            event.set()

    async def wait(self) -> None:
        event = anyio.Event()
        self._events[event] = None
        try:
            await event.wait()
        except BaseException:
            if self._events.pop(event, EMPTY) is EMPTY:
                self.wake()  # it was woken and can't look any more: the next one shall
            raise


class Offer:
    """A message on its way out: what is to be sent, and the ends that it lends until it is accepted."""

    __slots__ = ("body", "ends", "taken", "value")

    def __init__(self, value: Any, ends: Attachments, *, leaving: bool = False, body: bytes | None = None) -> None:
        self.value = value
        self.ends = ends
        self.body = body
        """The encoded value, once it is clear that it leaves the process."""
        self.taken = False
        """Of a rendezvous: a receiver has it."""
        if ends:
            self._lend(leaving)

    def _lend(self, leaving: bool) -> None:
        lent = []
        try:
            for end, path in self.ends.values():
                if leaving:
                    end.check_sendable(path)
                end.lend()
                lent.append(end)
        except BaseException:
            for end in lent:
                end.keep()
            raise

    def keep(self) -> None:
        """It was not sent: the ends are their owner's again."""
        for end, _ in self.ends.values():
            end.keep()


class Outlet(Protocol):
    """Where a `SendCore` puts what is sent.  `Offer` for messages, `bytes` for byte streams."""

    @property
    def reason(self) -> Reason | None:
        """Why nothing more will be accepted: refused or lost."""

    @property
    def capacity(self) -> int | None: ...

    @property
    def sent(self) -> int: ...

    @property
    def taken(self) -> int: ...

    def prepare(self, value: Any) -> Any:
        """What `commit` needs of a value.  Raises when it can't be sent at all."""

    def commit(self, offer: Any) -> bool:
        """Accept it, whole, now; or say that there is no room."""

    def finish(self, reason: Reason) -> None:
        """Nothing more comes, because of end or failed."""


class Feed(Protocol):
    """Where a `ReceiveCore` takes from."""

    @property
    def taken(self) -> int: ...

    def take(self, limit: int) -> Any:
        """The next message, or up to `limit` bytes; or `EMPTY`."""

    def over(self) -> Reason | None:
        """Why nothing will come any more, once everything was taken."""

    def refuse(self, reason: Reason) -> None:
        """The receiver is gone."""


class SendCore:
    """The core of a sender, or of the sending half of a byte stream."""

    __slots__ = ("_base", "changes", "outlet", "room", "turn")

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.room = Waiters()
        """Tasks that have something to send."""
        self.changes = Waiters()
        """Tasks that wait for what the far side does: `flush`, `wait_closed`, a rendezvous."""
        self.turn = 0
        self._base = 0

    @property
    def sent(self) -> int:
        return self._base + self.outlet.sent

    @property
    def taken(self) -> int:
        return self._base + self.outlet.taken

    def writable(self) -> None:
        """There is room, or something else has changed at the outlet."""
        if self.outlet.reason is not None:
            self.room.wake_all()
        else:
            self.room.wake()
        self.changes.wake_all()

    def wake_all(self) -> None:
        self.room.wake_all()
        self.changes.wake_all()

    def rebind(self, outlet: Outlet) -> None:
        """What is sent from now on goes to another outlet; what was taken at the old one still counts."""
        self._base += self.outlet.taken
        self.outlet = outlet
        self.wake_all()


class ReceiveCore:
    """The core of a receiver, or of the receiving half of a byte stream."""

    __slots__ = ("_base", "feeds", "reason", "turn", "waiting")

    def __init__(self, *feeds: Feed) -> None:
        self.feeds: deque[Feed] = deque(feeds)
        self.reason: Reason | None = None
        self.waiting = Waiters()
        self.turn = 0
        self._base = 0

    @property
    def taken(self) -> int:
        return self._base + sum(feed.taken for feed in self.feeds)

    def readable(self) -> None:
        """There is something to take, or a reason why nothing will come."""
        self.waiting.wake()

    def take(self, limit: int) -> Any:
        """The next message or bytes, or `EMPTY`.  Raises the reason when there will be none."""
        while self.reason is None:
            feed = self.feeds[0]
            item = feed.take(limit)
            if item is not EMPTY:
                self.waiting.wake()  # there may be more; whoever is woken looks
                return item
            reason = feed.over()
            if reason is None:
                return EMPTY
            if reason is not MOVED_ON:
                self.reason = reason
                break
            self._base += feed.taken
            self.feeds.popleft()
        self.waiting.wake_all()
        raise self.reason.error(self.taken)

    def refuse(self, reason: Reason) -> None:
        """The receiver is gone: every sender is told, and what was not taken is dropped."""
        if self.reason is None:
            self.reason = reason
            for feed in self.feeds:
                feed.refuse(reason)
        self.waiting.wake_all()


MOVED_ON = Reason("end", "moved-on")
"""A feed is drained, and the sender has gone to the next feed."""


# --- in memory ----------------------------------------------------------------------------------


class Link:
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

    def prepare(self, value: Any) -> Any:
        raise NotImplementedError

    def commit(self, offer: Any) -> bool:
        raise NotImplementedError

    def take(self, limit: int) -> Any:
        raise NotImplementedError

    def drop(self, item: Any) -> None:
        """An item will not be taken."""

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
        if self.reason is not None:
            raise self.reason.error(self.taken)
        if self._room == 0:
            return self._meet(offer)
        if len(self.items) >= self._room:
            return False
        self.accept(self._move(offer) if offer.ends else offer.value)
        return True

    def _move(self, offer: Offer) -> _Parcel:
        """The commit of a message with ends: their old handles are void from now on."""
        for end, path in offer.ends.values():
            assert isinstance(end, Handle)
            end.check_open()
            if end.receive_core is not None and end.receive_core is self.receiver:
                raise EncodeError("a receiver can't be sent through its own channel", path)
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
        if self.items:
            item = self.items.popleft()
        elif self._offers:
            offer = self._offers.popleft()
            item = self._move(offer) if offer.ends else offer.value
            offer.taken = True
            self.sent += 1
            if self.sender is not None:
                self.sender.room.wake_all()  # only the sender of this offer goes on
        else:
            return EMPTY
        self.taken += 1
        self.woken()
        return item.value if type(item) is _Parcel else item

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
        if self.reason is not None:
            raise self.reason.error(self.taken)
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


# --- handles ------------------------------------------------------------------------------------


class Handle(codec.End):
    """What `Sender`, `Receiver` and `ByteStream` have in common: being open, lent, closed or moved."""

    def __init__(self, send_core: SendCore | None, receive_core: ReceiveCore | None) -> None:
        self.send_core = send_core
        self.receive_core = receive_core
        self._void: type[ChannelClosed] | None = None
        self._lent = False

    def check_open(self) -> None:
        """Raise `ChannelClosed` or `ChannelMoved` if this handle can't be used any more."""
        if self._void is not None:
            if self._void is ChannelMoved:
                raise ChannelMoved("this end was sent away in a message")
            raise ChannelClosed("this end is closed")

    def check_sendable(self, path: str) -> None:
        self.check_open()
        self.links(path)

    def links(self, path: str = "") -> list[Link]:
        """The links in memory behind this end.  Raises `EncodeError` if its other side is not in this process."""
        behind: list[object] = []
        if self.send_core is not None:
            behind.append(self.send_core.outlet)
        if self.receive_core is not None:
            behind.extend(self.receive_core.feeds)
        links = [one for one in behind if isinstance(one, Link) and one.sender is not None and one.receiver is not None]
        if len(links) != len(behind):
            raise EncodeError("its other side is in another process; such an end can't be sent on yet", path)
        return links

    def lend(self) -> None:
        self.check_open()
        if self._lent:
            raise anyio.BusyResourceError("sending, in another message, this end")
        self._lent = True

    def keep(self) -> None:
        self._lent = False

    def moved(self) -> Self:
        new = type(self)(self.send_core, self.receive_core)
        self.void(ChannelMoved)
        return new

    def void(self, why: type[ChannelClosed]) -> bool:
        """Nothing can be done with this handle from now on; tasks that wait are told.  False if it was so before."""
        if self._void is not None:
            return False
        self._void = why
        self._lent = False
        if self.send_core is not None:
            self.send_core.wake_all()
        if self.receive_core is not None:
            self.receive_core.waiting.wake_all()
        return True

    def forsake(self, code: str) -> None:
        if self.void(ChannelClosed):
            if self.send_core is not None:
                self.send_core.outlet.finish(Reason("failed", code))
            if self.receive_core is not None:
                self.receive_core.refuse(Reason("refused", code))

    # --- what the ends do with their cores ---

    async def put(self, value: Any) -> None:
        """Send one message or some bytes; returns when accepted."""
        core = self.send_core
        assert core is not None
        await let_others_run(core)
        self.check_open()
        offer = core.outlet.prepare(value)
        try:
            while not core.outlet.commit(offer):
                await core.room.wait()
                self.check_open()
        except BaseException:
            self._withdraw(core, offer)
            core.room.wake()
            raise
        if core.outlet.capacity == 0:
            await self._until_taken(core, core.sent)
        elif core.room:
            core.room.wake()  # there may be more room; whoever is woken looks

    def put_nowait(self, value: Any) -> None:
        """Send one message or some bytes if there is room; raises `anyio.WouldBlock` if there is none."""
        core = self.send_core
        assert core is not None
        self.check_open()
        offer = core.outlet.prepare(value)
        try:
            if not core.outlet.commit(offer):
                raise anyio.WouldBlock
        except BaseException:
            self._withdraw(core, offer)
            raise

    def _withdraw(self, core: SendCore, offer: Any) -> None:
        if isinstance(offer, Offer):
            offer.keep()
            if isinstance(core.outlet, MessageLink):
                core.outlet.withdraw(offer)

    async def _until_taken(self, core: SendCore, count: int) -> None:
        while core.taken < count:
            if core.outlet.reason is not None:
                raise core.outlet.reason.error(core.taken)
            await core.changes.wait()

    async def get(self, limit: int = 0) -> Any:
        """The next message, or up to `limit` bytes."""
        core = self.receive_core
        assert core is not None
        await let_others_run(core)
        while True:
            self.check_open()
            item = core.take(limit)
            if item is not EMPTY:
                return item
            await core.waiting.wait()

    def get_nowait(self, limit: int = 0) -> Any:
        """The next message or bytes; raises `anyio.WouldBlock` when there is none now."""
        assert self.receive_core is not None
        self.check_open()
        item = self.receive_core.take(limit)
        if item is EMPTY:
            raise anyio.WouldBlock
        return item


async def let_others_run(core: SendCore | ReceiveCore) -> None:
    """Notice a cancellation each time, and yield now and then; a yield each time would be half of the cost."""
    core.turn += 1
    if core.turn >= TURN:
        core.turn = 0
        await checkpoint()
    else:
        await checkpoint_if_cancelled()
