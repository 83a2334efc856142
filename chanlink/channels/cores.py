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
from chanlink.instrument import Instruments

from .offers import Offer
from .waiting import EMPTY, Loop, Steps, Waiter, Waiters

SENDS_PER_WAKE = 32
"""A task that had to wait may then send this many messages before the next waiter's turn, so that one task switch
serves them all. Not for channels with a capacity: one task would take all of it."""

# --- what is behind a core ------------------------------------------------------------------------


class Converter(Protocol):
    """What makes objects of messages, and messages of objects, of a typed channel (typed.py)."""

    @property
    def checks(self) -> bool:
        """Whether `outgoing` checks, too; then it is also asked in memory, where the object itself passes."""

    @property
    def may_hold_ends(self) -> bool:
        """Whether there may be ends in such an object."""

    def outgoing(self, value: Any) -> Any:
        """What travels of an object: plain data and ends. Raises `EncodeError`, `MessageTypeError`."""

    def incoming(self, value: Any) -> Any:
        """The object that plain data and ends become. Raises `MessageTypeError`, `DecodeError`."""


class Outlet(Protocol):
    """Where a `SendCore` puts what is sent: messages, or bytes of a byte stream."""

    @property
    def reason(self) -> Reason | None:
        """Why nothing more will be accepted: refused or lost."""

    @property
    def capacity(self) -> int | None: ...

    @property
    def contract(self) -> bytes | None:
        """What the messages keep to, if whoever made the channel has said so."""

    @property
    def instruments(self) -> Instruments | None:
        """Those that are told of calls by it; None if there are none."""

    @property
    def trace(self) -> bytes | None:
        """To which trace it belongs; None if nobody has said, empty if to none."""

    @property
    def converter(self) -> Converter | None:
        """What makes plain data of what is sent, once it leaves this process."""

    def converts_by(self, converter: Converter) -> None:
        """The channel is a typed one from now on."""

    @property
    def service(self) -> str | None:
        """The name of the service that this is of, at any depth; None in memory."""

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
    def service(self) -> str | None:
        """As of an `Outlet`."""

    @property
    def contract(self) -> bytes | None:
        """As of an `Outlet`."""

    @property
    def instruments(self) -> Instruments | None:
        """As of an `Outlet`."""

    @property
    def trace(self) -> bytes | None:
        """As of an `Outlet`."""

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
    def capacity(self) -> int | None:
        return self.outlet.capacity

    @property
    def service(self) -> str | None:
        """The name of the service that this is of, if it is of any."""
        return self.outlet.service

    @property
    def contract(self) -> bytes | None:
        """What the messages keep to, if whoever made the channel has said so."""
        return self.outlet.contract

    @property
    def instruments(self) -> Instruments | None:
        """Those that are told of calls by it; None if there are none."""
        return self.outlet.instruments

    @property
    def trace(self) -> bytes | None:
        """To which trace it belongs; None if nobody has said, empty if to none."""
        return self.outlet.trace

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
        if self.outlet.converter is not None:
            outlet.converts_by(self.outlet.converter)
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
        "converter",
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
        self.converter: Converter | None = None
        """What makes objects of the messages that come over a session."""
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
    def service(self) -> str | None:
        """As of a `SendCore`; not known any more when this side has refused."""
        feeds = self.feeds if self._last is None else (*self.feeds, self._last)
        return next((feed.service for feed in feeds if feed.service is not None), None)

    @property
    def contract(self) -> bytes | None:
        """As of a `SendCore`."""
        return next((feed.contract for feed in self.feeds if feed.contract is not None), None)

    @property
    def instruments(self) -> Instruments | None:
        """As of a `SendCore`."""
        return next((feed.instruments for feed in self.feeds if feed.instruments is not None), None)

    @property
    def trace(self) -> bytes | None:
        """As of a `SendCore`."""
        return next((feed.trace for feed in self.feeds if feed.trace is not None), None)

    @property
    def taken(self) -> int:
        return self._base + sum(feed.taken for feed in self.feeds)

    @property
    def queued(self) -> int:
        return sum(feed.queued for feed in self.feeds)

    def converts_by(self, converter: Converter) -> None:
        """The channel is a typed one from now on."""
        self.converter = converter

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
                if self.receivers and self._has_more(feed):
                    self.receivers.wake()
                if self.watchers:
                    self.watchers.wake_all()  # or that was the last one
                return item
            del ready[feed]
            self._drop_if_over(feed)
        if self.reason is None:
            return EMPTY
        raise self.reason.error(self.taken)

    def _has_more(self, feed: Feed) -> bool:
        """Whether the next one who looks may find something, or the end. Offers at a rendezvous are not counted."""
        return len(self._ready) > 1 or self.capacity == 0 or feed.queued > 0 or feed.drained

    def raises(self, error: Exception) -> None:
        """The next one who takes something gets this error: what was wrong with a message that was taken."""
        failing = _Failing(error)
        self.also_from(failing)
        self.readable(failing, first=True)

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

    def ending(self) -> Reason | None:
        """What the reason is, or will be for whoever looks first; none while something may come. Changes nothing."""
        if self.reason is not None or not self.is_over():
            return self.reason
        reasons = self.failure, *(feed.over() for feed in self.feeds)
        return next((reason for reason in reasons if reason is not None and reason.kind != "end"), END)

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


class _Failing:
    """A feed that raises once, and is over then."""

    taken = queued = 0
    service: str | None = None
    contract: bytes | None = None
    instruments: Instruments | None = None
    trace: bytes | None = None

    def __init__(self, error: Exception) -> None:
        self._error: Exception | None = error

    @property
    def drained(self) -> bool:
        return self._error is None

    def take(self, limit: int) -> Any:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return EMPTY

    def over(self) -> Reason | None:
        return END if self._error is None else None

    def refuse(self, reason: Reason) -> None:
        self._error = None
