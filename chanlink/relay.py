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

    def over(self) -> Reason | None:
        """Why nothing will come any more, once everything was moved."""

    def refuse(self, reason: Reason) -> None:
        """Nothing more is wanted."""

    def watch(self, look: Callable[[], None]) -> None:
        """Call this when something has changed."""


class Relay:
    """Moves what comes from `source` to `core`, of which it has a share."""

    def __init__(self, source: Source, core: SendCore) -> None:
        self._source = source
        self._core = core
        self._under_way: deque[tuple[int, int]] = deque()  # position in the outlet, and size
        self._queued = False
        self._released = False
        self._done = False
        self._looking = False
        self._again = False
        source.watch(self.set)
        self.set()

    # --- as a waiter of the core ---

    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        raise AssertionError("a relay takes nothing from a rendezvous")

    def set(self) -> None:
        """Something has changed on one side; perhaps because of what is being done just now."""
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

    def _look(self) -> None:
        outlet: Any = self._core.outlet
        while self._under_way and self._under_way[0][0] <= outlet.progress:
            self._source.forwarded(self._under_way.popleft()[1])
        if outlet.reason is not None:
            self._stop(outlet.reason, END)
            return
        if not self._released:
            self._move(outlet)
        if self._released and not self._under_way:
            self._done = True
        if self._done:
            self._core.changes.discard(self)
        else:
            self._core.changes.add(self)

    def _move(self, outlet: Any) -> None:
        while self._source.ready():
            if len(self._under_way) >= MAX_UNDER_WAY:
                return  # until some were taken
            if not outlet.room():
                if self not in self._core.room:
                    self._core.room.add(self, first=self._queued)
                    self._queued = True
                return
            self._queued = False
            try:
                size = self._source.forward(outlet)
            except ChanlinkError as exc:
                code = next((code for kind, code in CODES if isinstance(exc, kind)), "relay-failed")
                self._stop(Reason("refused", code, str(exc)), Reason("failed", code, str(exc)))
                return
            self._under_way.append((outlet.position, size))
        reason = self._source.over()
        if reason is not None:
            self._released = True
            self._core.release(reason)
        if outlet.room():
            self._core.room.wake()  # the wake-up may have been for somebody else

    def _stop(self, backward: Reason, forward: Reason) -> None:
        self._done = True
        self._core.changes.discard(self)
        self._core.room.discard(self)
        self._source.refuse(backward)
        if not self._released:
            self._core.release(forward)
