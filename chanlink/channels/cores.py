"""The cores of ends: where messages go, where they come from, and who waits.

An end that a program holds is a handle on a **core**. Tasks, cases of a select and relays wait at the core, and what
is behind a core can be changed under them:

    Sender, ByteStream   -> SendCore     -> one outlet:  a queue in memory, or a stream of a session
    Receiver, ByteStream -> ReceiveCore  -> feeds:       a queue in memory, streams of sessions, one for each clone

`pipe()` joins two cores by a queue in memory. When one end goes out in a message, the core that stays is bound to a
stream (session/ends): a SendCore gets another outlet, and what waited in the queue goes first; a ReceiveCore gets
one more feed. No task copies anything, and no task that waits notices.

A SendCore has **shares**: the handles and relays that send by it. Each is released once, with the reason why it is
over; the channel ends with the last one, for the first reason that was no orderly end.

Whole: the two cores are each other's mirror, and the interfaces are what they speak to.
"""

from typing import Any, Protocol

from chanlink.errors import END, Reason

from .offers import Offer
from .waiting import EMPTY, Loop, Steps, Waiter, Waiters

SENDS_PER_WAKE = 32
"""A task that had to wait may then send this many messages before the next waiter's turn, so that one task switch
serves them all. Not for channels with a capacity: one task would take all of it."""

# --- what is behind a core ------------------------------------------------------------------------


class Outlet(Protocol):
    """Where a `SendCore` puts what is sent: messages, or bytes of a byte stream."""

    @property
    def reason(self) -> Reason | None:
        """Why nothing more will be accepted: refused or lost."""

    @property
    def capacity(self) -> int | None: ...

    @property
    def sent(self) -> int: ...

    @property
    def taken(self) -> int: ...

    @property
    def queued(self) -> int:
        """Bytes that were accepted and have not left this process (in memory: messages not taken)."""

    @property
    def credit(self) -> int | None:
        """How much more would be accepted now: bytes, or messages in memory; None if that has no bound."""

    @property
    def meets(self) -> "ReceiveCore | None":
        """At a rendezvous in memory: the core whose receivers take messages out of the hands of senders."""

    def post(self, value: Any) -> bool:
        """Accept a value at once, if it is a plain one and all is well: what `prepare` and `commit` do for any.

        A short way: without it, messages one way take a third more processor time (bench row ``one-way``).
        """

    def prepare(self, value: Any) -> Offer:
        """What `commit` needs of a value. Raises when it can't be sent at all."""

    def commit(self, offer: Offer) -> bool:
        """Accept it, whole, now; or say that there is no room."""

    def stand(self, offer: Offer, waiter: Waiter) -> None:
        """Its sender begins to wait: at a rendezvous, whichever receiver comes may take it."""

    def withdraw(self, offer: Offer) -> None:
        """Its sender waits no more."""

    def failing(self, reason: Reason) -> None:
        """This will be the reason when the last sender has ended."""

    def finish(self, reason: Reason) -> None:
        """Nothing more comes, because of end, failed or lost."""


class Onward(Outlet, Protocol):
    """An outlet that leads out of this process, where what waited in memory goes first."""

    def write(self, value: Any) -> None:
        """Send what was accepted before this was the outlet. Raises `ChanlinkError`."""

    def spoil(self, reason: Reason) -> None:
        """What was accepted can't be sent after all: the channel fails, also instead of an end that has not left."""


class Feed(Protocol):
    """Where a `ReceiveCore` takes from."""

    @property
    def taken(self) -> int: ...

    @property
    def queued(self) -> int:
        """Messages in memory, or bytes of a stream, that have arrived and were not taken."""

    @property
    def drained(self) -> bool:
        """Whether everything was taken and nothing will come. May be read in any thread."""

    def take(self, limit: int) -> Any:
        """The next message, or up to `limit` bytes; or `EMPTY`."""

    def over(self) -> Reason | None:
        """Why nothing will come any more, once everything was taken."""

    def refuse(self, reason: Reason) -> None:
        """The receiver is gone."""


class UnderWay(Protocol):
    """What a core knows of its relays (session/ends/relay.py)."""

    def look(self) -> None:
        """Something has changed at the outlet."""


# --- the cores ------------------------------------------------------------------------------------


class SendCore(Steps):
    """The core of senders of one channel, or of the sending half of a byte stream."""

    __slots__ = (
        "_base",
        "_lease",
        "_reserved",
        "bytes",
        "bytes_left",
        "failure",
        "outlet",
        "senders",
        "shares",
        "under_way",
        "watchers",
    )

    def __init__(self, outlet: Outlet, loop: Loop, *, shares: int = 1, size: int | None = None) -> None:
        super().__init__(loop)
        self.outlet = outlet
        self.shares = shares
        """Handles and relays that send by this core and have not been released."""
        self.failure: Reason | None = None
        """The first reason of one released that was no orderly end."""
        self.senders = Waiters()
        """Those that have something to send."""
        self.watchers = Waiters()
        """Those that wait for what the far side does: `flush`, `wait_closed`, a rendezvous."""
        self.under_way: UnderWay | None = None
        """What relays have passed on; there is none before a relay."""
        self.bytes_left = size
        """Of a byte stream with a size: the bytes that are still to be sent."""
        self.bytes = 0
        """Of a byte stream: how many were sent."""
        self._reserved = 0  # of `bytes_left`, those that tasks are waiting to send
        self._lease = 0
        self._base = 0

    @property
    def sent(self) -> int:
        return self._base + self.outlet.sent

    @property
    def taken(self) -> int:
        return self._base + self.outlet.taken

    def over(self) -> Reason | None:
        """Why nothing more can be sent, because of the other side."""
        return self.outlet.reason

    def is_over(self) -> bool:
        """Whether nobody on the other side would notice that a handle is closed."""
        return self.outlet.reason is not None or not self.shares

    # --- sending ---

    def has_lease(self) -> bool:
        """Whether a task may send at once though others wait: it is the one that was served last, and goes on."""
        self._lease -= 1
        return self._lease >= 0

    def served(self, *, well: bool) -> None:
        """A task that waited had its turn. If it came in vain, it is the next one again."""
        self._lease = SENDS_PER_WAKE if well and self.outlet.capacity is None else 0

    def full(self) -> bool:
        """Whether the outlet is certainly full. Waking a waiter now would waste its turn."""
        credit = self.outlet.credit
        return self.outlet.reason is None and self.outlet.capacity != 0 and credit is not None and credit <= 0

    def reserve(self, size: int) -> int:
        """Of a byte stream with a size: a task begins to send some. Returns how many of them are too many, if any."""
        assert self.bytes_left is not None
        more = size - (self.bytes_left - self._reserved)
        if more > 0:
            return more
        self._reserved += size
        return 0

    def release_reserved(self, size: int, *, sent: bool) -> None:
        """They were sent, or not."""
        assert self.bytes_left is not None
        self._reserved -= size
        if sent:
            self.bytes_left -= size

    def count(self, size: int) -> None:
        """Some bytes were sent."""
        self.bytes += size

    # --- its shares ---

    def share(self, count: int = 1) -> None:
        """Others send by this core, too: handles, relays."""
        self.shares += count

    def release(self, reason: Reason) -> None:
        """One of those that send is over; the last one ends the channel."""
        if self.failure is None and reason.kind != "end":
            self.failure = reason
            self.outlet.failing(reason)
        self.shares -= 1
        self.settle()

    def settle(self) -> None:
        """End the channel if nobody is left to send."""
        if self.shares == 0:
            self.outlet.finish(self.failure or END)

    def has_relays(self, under_way: UnderWay) -> None:
        """Some of those that send are relays: this is to look when something has changed at the outlet."""
        self.under_way = under_way

    # --- what the outlet says ---

    def writable(self) -> None:
        """There is room, or something else has changed at the outlet."""
        if self.senders:
            if self.outlet.reason is not None:
                self.senders.wake_all()
            elif not self.full():
                self.senders.wake()
        if self.watchers:
            self.watchers.wake_all()
        if self.under_way is not None:
            self.under_way.look()

    def wake_all(self) -> None:
        self.senders.wake_all()
        self.watchers.wake_all()

    # --- when ends leave ---

    def leave_by(self, outlet: Outlet, loop: Loop) -> None:
        """What is sent from now on goes to another outlet; what was taken at the old one still counts."""
        self._base += self.outlet.taken
        self.outlet = outlet
        self.loop = loop
        self.wake_all()

    def stand_for(self, receiver: "ReceiveCore", relays: int) -> None:
        """The receiver has left by the outlet: so do the reasons of its feeds, and relays send by this core, too."""
        if receiver.reason is not None:  # it is over already
            self.failure = _as_failure(receiver.reason)
        else:
            self.failure = receiver.failure or self.failure
        self.share(relays)


def _as_failure(reason: Reason) -> Reason | None:
    """The reason of a receiver that is over already, for whoever receives it."""
    if reason.kind == "refused":  # by its owner until now
        return Reason("failed", reason.code, reason.text)
    return None if reason.kind == "end" else reason


class ReceiveCore(Steps):
    """The core of a receiver, or of the receiving half of a byte stream."""

    __slots__ = (
        "_base",
        "_last",
        "_ready",
        "bytes",
        "bytes_left",
        "capacity",
        "failure",
        "feeds",
        "reason",
        "receivers",
        "watchers",
    )

    def __init__(self, loop: Loop, capacity: int | None = None, *, size: int | None = None) -> None:
        super().__init__(loop)
        self.capacity = capacity
        self.feeds: dict[Feed, None] = {}
        """Those that are not over yet."""
        self.reason: Reason | None = None
        """Why nothing will come any more: refused by this side, or every feed is over."""
        self.failure: Reason | None = None
        """The first reason of a feed that was no orderly end."""
        self.receivers = Waiters()
        """Those that want to take something; each wake-up is for one of them."""
        self.watchers = Waiters()
        """Those that only wait for the end."""
        self.bytes_left = size
        """Of a byte stream with a size: the bytes that are still to come."""
        self.bytes = 0
        """Of a byte stream: how many were taken."""
        self._ready: dict[Feed, None] = {}  # that may have something, the next one first
        self._last: Feed | None = None  # that was over
        self._base = 0

    @property
    def taken(self) -> int:
        return self._base + sum(feed.taken for feed in self.feeds)

    @property
    def queued(self) -> int:
        return sum(feed.queued for feed in self.feeds)

    # --- what the feeds say ---

    def also_from(self, feed: Feed) -> None:
        """One more feed, which says by `readable` when it has something."""
        self.feeds[feed] = None

    def readable(self, feed: Feed, *, first: bool = False) -> None:
        """A feed has something to take, or a reason why nothing will come."""
        if feed in self.feeds:
            if first:
                self._ready = {feed: None, **self._ready}
            self._ready[feed] = None
            if self.receivers:
                self.receivers.wake()
            if self.watchers:
                self.watchers.wake_all()

    def failing(self, reason: Reason) -> None:
        """This will be the reason when everything was taken."""
        if self.failure is None:
            self.failure = reason

    # --- taking ---

    def take(self, limit: int) -> Any:
        """The next message or bytes, or `EMPTY`. Raises the reason when there will be none."""
        ready = self._ready
        while ready:
            feed = next(iter(ready))
            item = feed.take(limit)
            if item is not EMPTY:
                if len(ready) > 1:  # the others' turn
                    del ready[feed]
                    ready[feed] = None
                if self.receivers:
                    self.receivers.wake()  # there may be more; whichever is woken looks
                if self.watchers:
                    self.watchers.wake_all()  # or that was the last one
                return item
            del ready[feed]
            self._drop_if_over(feed)
        if self.reason is None:
            return EMPTY
        raise self.reason.error(self.taken)

    def count(self, size: int) -> None:
        """Some bytes were taken."""
        self.bytes += size
        if self.bytes_left is not None:
            self.bytes_left -= size

    def over(self) -> Reason | None:
        """Why nothing will come any more, once everything was taken."""
        for feed in list(self._ready):
            self._drop_if_over(feed)
        return self.reason

    def is_over(self) -> bool:
        """Whether nobody on the other side would notice that the handle is closed. May be asked in any thread."""
        return self.reason is not None or all(feed.drained for feed in self.feeds)

    def _drop_if_over(self, feed: Feed) -> None:
        reason = feed.over()
        if reason is None:
            return
        self._base += feed.taken
        del self.feeds[feed]
        self._ready.pop(feed, None)
        if reason.kind != "end":
            self.failing(reason)
        if not self.feeds and self.reason is None:
            self._last = feed
            self.reason = self.failure or END
            self.wake_all()

    def wake_all(self) -> None:
        self.receivers.wake_all()
        self.watchers.wake_all()

    # --- its own end ---

    def refuse(self, reason: Reason) -> None:
        """The receiver is gone: every sender is told, and what was not taken is dropped."""
        if self.reason is None:
            self._close(reason, reason)
        elif self._last is not None:
            self._last.refuse(reason)  # nothing is lost, but somebody may wait for it
        self.wake_all()

    def fail(self, reason: Reason) -> None:
        """What came breaks a rule: the receiver sees a failure from now on, also instead of an end."""
        self._close(reason, Reason("refused", reason.code, reason.text))
        self.wake_all()

    def _close(self, reason: Reason, refusal: Reason) -> None:
        self.reason = reason
        self._base = self.taken
        feeds, self.feeds = self.feeds, {}
        self._ready = {}
        for feed in feeds:
            feed.refuse(refusal)
