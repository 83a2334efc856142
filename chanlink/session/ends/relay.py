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
from typing import Any, Protocol

from chanlink.channels.cores import SendCore
from chanlink.channels.waiting import Waiter
from chanlink.errors import END, ChanlinkError, DecodeError, LimitReached, MessageTooLarge, Reason

CODES = ((MessageTooLarge, "too-large"), (LimitReached, "limit-reached"), (DecodeError, "bad-message"))
"""What both sides are told when something can't be passed on."""
SHORT = 1_024
"""Pieces of bytes that follow each other are remembered as one up to this size: each costs us a hundred more."""


class Source(Protocol):
    """A feed that can be passed on."""

    def ready(self) -> bool:
        """Whether `forward` has something."""

    def forward(self, outlet: Any) -> int:
        """Move one message, or some bytes; returns how many of what the outlet counts.  Raises `ChanlinkError`."""

    def forwarded(self, count: int) -> None:
        """The far side has taken so many messages, in turn, or bytes."""

    def dropped(self) -> None:
        """The far side will not take what is under way."""

    def over(self) -> Reason | None:
        """Why nothing will come any more, once everything was moved."""

    def refuse(self, reason: Reason) -> None:
        """Nothing more is wanted."""

    def watch(self, look: Callable[[], None]) -> None:
        """Call this when something has changed."""


class UnderWay:
    """What the relays of one core have passed on and the far side has not taken, in order.

    One core may have thousands of relays, as each clone of its sender may be in another process: what the far side
    reports concerns the first ones of these, and nobody else looks.
    """

    def __init__(self, core: SendCore) -> None:
        self.relays: dict[Relay, None] = {}
        """Those that are not done."""
        self._core = core
        self._runs: deque[_Run] = deque()

    @staticmethod
    def of(core: SendCore) -> "UnderWay":
        if core.under_way is None:
            core.under_way = UnderWay(core)
        assert isinstance(core.under_way, UnderWay)
        return core.under_way

    def add(self, position: int, count: int, relay: "Relay") -> None:
        """So much, up to this position in the outlet."""
        begin = position - count
        if self._runs and self._runs[-1].goes_on(begin, relay):
            self._runs[-1].end = position
        else:
            self._runs.append(_Run(begin, position, relay, whole=self._core.outlet.stream.is_bytes))  # type: ignore[attr-defined]

    def look(self) -> None:
        """Give back what was taken; if nothing more will be, everybody stops."""
        outlet: Any = self._core.outlet
        while self._runs and (count := self._runs[0].taken_at(outlet.progress)):
            run = self._runs[0]
            run.begin += count
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

    Bytes count as taken when the whole of it was: what the far side reports of them is no more than an estimate.
    """

    __slots__ = ("begin", "end", "relay", "whole")

    def __init__(self, begin: int, end: int, relay: "Relay", *, whole: bool) -> None:
        self.begin, self.end, self.relay, self.whole = begin, end, relay, whole

    def goes_on(self, begin: int, relay: "Relay") -> bool:
        """Whether what begins there is a part of this."""
        short = not self.whole or self.end - self.begin < SHORT
        return short and self.end == begin and self.relay is relay

    def taken_at(self, progress: int) -> int:
        """How much of it was taken."""
        if progress >= self.end:
            return self.end - self.begin
        return 0 if self.whole else max(progress - self.begin, 0)


class Relay:
    """Moves what comes from `source` to `core`, of which it has a share."""

    def __init__(self, source: Source, core: SendCore) -> None:
        self._source = source
        self._core = core
        self._all = UnderWay.of(core)
        self._all.relays[self] = None
        self._under_way = 0
        """How much of what is under way is of this one."""
        self._released = False
        self._done = False
        self._looking = False
        self._again = False
        self._turn: Waiter = _Listener(self._turn_came)
        """It waits in the core's room as one of those that have something to send."""
        self._has_turn = False
        source.watch(self.arrived)
        self.arrived()

    # --- what wakes it ---

    def arrived(self) -> None:
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
        self.arrived()

    def taken(self, count: int) -> None:
        """The far side has taken the first of what is under way."""
        was_ready = self._source.ready()
        self._under_way -= count
        self._source.forwarded(count)
        if not was_ready and self._source.ready():
            self.arrived()
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
        outlet: Any = self._core.outlet
        if outlet.reason is None and not self._released:
            self._move(outlet)
        self._all.look()  # bytes may be as good as taken already
        self._finish()

    def _finish(self) -> None:
        if self._released and not self._under_way:
            self._done = True
            self._all.relays.pop(self, None)

    def _move(self, outlet: Any) -> None:
        room = self._core.senders
        turn, self._has_turn = self._has_turn, False
        while self._source.ready():
            has_room = outlet.outgoing.can_write()
            if not has_room or (room and not turn):
                if self._turn not in room:
                    if has_room:
                        room.wake()  # who waits in front of us shall look
                    room.add(self._turn, first=turn)
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
            self._all.add(outlet.position, count, self)
        room.discard(self._turn)
        reason = self._source.over()
        if reason is not None:
            self._release(reason)
        if outlet.outgoing.can_write():
            room.wake()  # the wake-up may have been for somebody else

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
