"""Relays: an end that came over one session and goes on over another.

A relay moves what arrives on one stream, its source, to the `SendCore` of another one. It is no task: the source and
the core wake it, and it moves what can be moved, without waiting. The bodies of messages pass unread; the ends in them
become relays themselves.

What it owes both sides (protocol section 10):

- What was taken, and the credit for it, goes back to the source only when the far side has reported it. So pressure,
  capacity and counts are those of the whole way, and a relay holds one window at most.
- The end of the source comes after its last message, with its reason, and a refusal or loss ahead goes back with its
  own. What can't be passed on (too large for the next session, no room for its ends) fails the channel on both sides.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from chanlink.channels.cores import Outlet, SendCore
from chanlink.channels.waiting import Waiter
from chanlink.errors import END, ChanlinkError, DecodeError, LimitReached, MessageTooLarge, Reason
from chanlink.wire.incoming import Reader

CODES = ((MessageTooLarge, "too-large"), (LimitReached, "limit-reached"), (DecodeError, "bad-message"))
"""What both sides are told when something can't be passed on."""
RUN_BYTES = 1_024
"""Pieces of bytes that follow each other are remembered as one up to this size: each costs us a hundred more."""


class RelayOutlet(Outlet, Protocol):
    """An outlet that a relay can move to."""

    @property
    def position(self) -> int:
        """Where what was written last ends: a count of messages or bytes."""

    @property
    def progress(self) -> int:
        """Up to where the far application has taken."""

    @property
    def is_estimate(self) -> bool:
        """Whether `progress` is no more than an estimate, as it is of bytes."""

    def has_room(self) -> bool:
        """Whether there is room for the next message or piece of bytes."""


O_contra = TypeVar("O_contra", bound=RelayOutlet, contravariant=True)
O = TypeVar("O", bound=RelayOutlet)  # noqa: E741  (as in Outlet)


class Source(Protocol[O_contra]):
    """A feed that can be passed on, to an outlet of the same kind."""

    def ready(self) -> bool:
        """Whether `forward` has something."""

    def forward(self, outlet: O_contra) -> int:
        """Move one message, or some bytes; returns how many of what the outlet counts. Raises `ChanlinkError`."""

    def forwarded(self, count: int) -> None:
        """The far side has taken this many messages, in turn, or bytes."""

    def dropped(self) -> None:
        """The far side will not take what is under way."""

    def over(self) -> Reason | None:
        """Why nothing will come any more, once everything was moved."""

    def refuse(self, reason: Reason) -> None:
        """Nothing more is wanted."""

    def relayed_by(self, relay: Reader) -> None:
        """Tell this one when something has changed."""


class UnderWay:
    """What the relays of one core have passed on and the far side has not taken, in order.

    One core may have thousands of relays, as each clone of its sender may be in another process: what the far side
    reports concerns the first ones of these, and nobody else looks.
    """

    def __init__(self, outlet: RelayOutlet) -> None:
        self.relays: dict[Relay[Any], None] = {}
        """Those that are not done."""
        self._outlet = outlet
        self._runs: deque[_Run] = deque()

    @staticmethod
    def of(core: SendCore, outlet: RelayOutlet) -> "UnderWay":
        found = core.under_way
        if found is None:
            found = UnderWay(outlet)
            core.has_relays(found)
        assert isinstance(found, UnderWay)
        return found

    def add_relay(self, relay: "Relay[Any]") -> None:
        self.relays[relay] = None

    def remove_relay(self, relay: "Relay[Any]") -> None:
        self.relays.pop(relay, None)

    def add(self, count: int, relay: "Relay[Any]") -> None:
        """This much was written to the outlet last."""
        position = self._outlet.position
        begin = position - count
        if not (self._runs and self._runs[-1].goes_on(begin, position, relay)):
            self._runs.append(_Run(begin, position, relay, whole=self._outlet.is_estimate))

    def look(self) -> None:
        """Give back what was taken; if nothing more will be, everybody stops."""
        outlet = self._outlet
        while self._runs and (count := self._runs[0].take(outlet.progress)):
            run = self._runs[0]
            if run.begin == run.end:
                self._runs.popleft()
            run.relay.taken(count)
        if outlet.reason is not None:
            self._runs.clear()
            relays, self.relays = self.relays, {}
            for relay in relays:
                relay.stop(outlet.reason)


class _Run:
    """What one relay has passed on, one after the other: from where to where in the outlet.

    Of bytes it counts as taken when the whole of it was: what the far side reports of them is no more than an estimate.
    """

    __slots__ = ("begin", "end", "relay", "whole")

    def __init__(self, begin: int, end: int, relay: "Relay[Any]", *, whole: bool) -> None:
        self.begin, self.end, self.relay, self.whole = begin, end, relay, whole

    def goes_on(self, begin: int, end: int, relay: "Relay[Any]") -> bool:
        """Whether what goes from there to there is a part of this, which then ends there."""
        short = not self.whole or self.end - self.begin < RUN_BYTES
        if not (short and self.end == begin and self.relay is relay):
            return False
        self.end = end
        return True

    def take(self, progress: int) -> int:
        """How much of it was taken since it was asked last."""
        count = min(progress, self.end) - self.begin
        if count <= 0 or (self.whole and progress < self.end):
            return 0
        self.begin += count
        return count


class Relay(Generic[O]):
    """Moves what comes from `source` to `core`, of which it has a share, and which sends by `outlet` for good."""

    def __init__(self, source: Source[O], core: SendCore, outlet: O) -> None:
        self._source = source
        self._core = core
        self._outlet = outlet
        self._all = UnderWay.of(core, outlet)
        self._all.add_relay(self)
        self._under_way = 0
        """How much of what is under way is of this one."""
        self._released = False
        self._done = False
        self._looking = False
        self._again = False
        self._turn: Waiter = _Listener(self._turn_came)
        """It waits at the core as one of those that have something to send."""
        self._has_turn = False
        source.relayed_by(self)
        self.readable()

    @property
    def joins(self) -> tuple[Source[O], O]:
        """From where, and to where."""
        return self._source, self._outlet

    # --- what wakes it ---

    def readable(self) -> None:
        """The source has something, or is over; perhaps because of what is being done just now."""
        self._again = True
        if self._looking:
            return
        self._looking = True
        try:
            while self._again and not self._done:
                self._again = False
                self._look()
        finally:
            self._looking = False

    def _turn_came(self) -> None:
        self._has_turn = True
        self.readable()

    def taken(self, count: int) -> None:
        """The far side has taken the first of what is under way."""
        was_ready = self._source.ready()
        self._under_way -= count
        self._source.forwarded(count)
        if not was_ready and self._source.ready():
            self.readable()
        self._finish()

    def stop(self, reason: Reason) -> None:
        """The far side takes nothing any more."""
        self._done = True
        self._core.senders.discard(self._turn)
        self._under_way = 0
        self._source.dropped()
        self._source.refuse(reason)
        self._release(END)

    def _look(self) -> None:
        if self._outlet.reason is None and not self._released:
            self._move()
        self._all.look()  # bytes may be as good as taken already
        self._finish()

    def _finish(self) -> None:
        if self._released and not self._under_way:
            self._done = True
            self._all.remove_relay(self)

    def _move(self) -> None:
        outlet, senders = self._outlet, self._core.senders
        turn, self._has_turn = self._has_turn, False
        while self._source.ready():
            has_room = outlet.has_room()
            if not has_room or (senders and not turn):
                if self._turn not in senders:
                    if has_room:
                        senders.wake()  # the one in front of us shall look
                    senders.add(self._turn, first=turn)
                return
            turn = False
            try:
                count = self._source.forward(outlet)
            except ChanlinkError as exc:
                code = next((code for kind, code in CODES if isinstance(exc, kind)), "relay-failed")
                self._release(Reason("failed", code, str(exc)))
                self._source.refuse(Reason("refused", code, str(exc)))
                break
            self._under_way += count
            self._all.add(count, self)
        senders.discard(self._turn)
        reason = self._source.over()
        if reason is not None:
            self._release(reason)
        if outlet.has_room():
            senders.wake()  # the wake-up may have been for another one

    def _release(self, reason: Reason) -> None:
        """Nothing more comes from here. What is under way may still be taken, and is the source's until then."""
        if not self._released:
            self._released = True
            self._core.release(reason)


class _Listener:
    """A waiter that only listens."""

    def __init__(self, set_: Callable[[], None]) -> None:
        self.set = set_

    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        raise AssertionError("a relay takes nothing from a rendezvous")
