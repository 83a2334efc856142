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

from .errors import END, ChanlinkError, DecodeError, LimitReached, MessageTooLarge, Reason
from .port import SendCore
from .waiting import Waiter

CODES = ((MessageTooLarge, "too-large"), (LimitReached, "limit-reached"), (DecodeError, "bad-message"))
"""What both sides are told when something can't be passed on."""
MAX_UNDER_WAY = 4_096
"""Messages that a relay has passed on and that were not taken: each is remembered, however short it is."""


class Source(Protocol):
    """A feed that can be passed on."""

    def ready(self) -> bool:
        """Whether `forward` has something."""

    def forward(self, outlet: Any) -> int:
        """Move one message, or some bytes; returns their size.  Raises `ChanlinkError`."""

    def forwarded(self, size: int) -> None:
        """The far side has taken so much: the next message in turn, or so many bytes."""

    def dropped(self) -> None:
        """The far side will not take what is the next in turn."""

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
        self._items: deque[tuple[int, int, Relay]] = deque()  # position in the outlet, and size

    @staticmethod
    def of(core: SendCore) -> "UnderWay":
        if core.under_way is None:
            core.under_way = UnderWay(core)
        assert isinstance(core.under_way, UnderWay)
        return core.under_way

    def add(self, position: int, size: int, relay: "Relay") -> None:
        self._items.append((position, size, relay))

    def look(self) -> None:
        """Give back what was taken; if nothing more will be, everybody stops."""
        outlet: Any = self._core.outlet
        while self._items and self._items[0][0] <= outlet.progress:
            _, size, relay = self._items.popleft()
            relay.taken(size)
        if outlet.reason is not None:
            self._items.clear()
            relays, self.relays = self.relays, {}
            for relay in relays:
                relay.stop(outlet.reason)


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

    def taken(self, size: int) -> None:
        """The far side has taken the first of what is under way."""
        was_full = self._under_way >= MAX_UNDER_WAY
        self._under_way -= 1
        self._source.forwarded(size)
        if was_full:
            self.arrived()
        self._finish()

    def stop(self, reason: Reason) -> None:
        """The far side takes nothing any more."""
        self._done = True
        self._core.room.discard(self._turn)
        for _ in range(self._under_way):
            self._source.dropped()
        self._under_way = 0
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
        room = self._core.room
        turn, self._has_turn = self._has_turn, False
        while self._source.ready() and self._under_way < MAX_UNDER_WAY:
            has_room = outlet.room()
            if not has_room or (room and not turn):
                if self._turn not in room:
                    if has_room:
                        room.wake()  # who waits in front of us shall look
                    room.add(self._turn, first=turn)
                return
            turn = False
            try:
                size = self._source.forward(outlet)
            except ChanlinkError as exc:
                code = next((code for kind, code in CODES if isinstance(exc, kind)), "relay-failed")
                self._release(Reason("failed", code, str(exc)))
                self._source.refuse(Reason("refused", code, str(exc)))
                break
            self._under_way += 1
            self._all.add(outlet.position, size, self)
        room.discard(self._turn)
        reason = self._source.over()
        if reason is not None:
            self._release(reason)
        if outlet.room():
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
