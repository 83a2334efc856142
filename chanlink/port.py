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
from typing import Any, Protocol

import anyio

from . import codec
from .codec import Attachments
from .errors import Reason

EMPTY: Any = object()
"""What a feed returns while it has nothing."""


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

    __slots__ = ("body", "by", "ends", "error", "taken", "value")

    def __init__(self, value: Any, ends: Attachments, *, leaving: bool = False, body: bytes | None = None) -> None:
        self.value = value
        self.ends = ends
        self.body = body
        """The encoded value, once it is clear that it leaves the process."""
        self.by: codec.End | None = None
        """Of a rendezvous: the handle that offers; once it is void, so is the offer."""
        self.taken = False
        """Of a rendezvous: a receiver has it."""
        self.error: Exception | None = None
        """Of a rendezvous: why it could not be given to the receiver that came, such as an end closed meanwhile."""
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

    def settled(self) -> bool:
        """Of a rendezvous: whether a receiver has it.  Whatever became of the sender since then, it was sent."""
        if self.error is not None:
            raise self.error
        return self.taken

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
