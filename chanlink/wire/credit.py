"""How wide the windows of streams are, and when a peer gets credit (protocol section 7). No I/O, no clock.

A `Window` is what one stream has; `Credit` is what all windows of a session have together. All that goes beyond the
window that a stream begins with (windows that grow, messages longer than the window) is taken from one budget of the
session. Growth leaves as much of it as one message may need, and messages borrow one after the other, each all that it
needs: so the budget may be too small for all of them at a time, and still each gets through as long as the application
takes.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

from chanlink.errors import Reason
from chanlink.limits import Limits

QUICK_SECONDS = 0.004
"""A window is too small when half of it is used up in less than this, or than one and a half round trips."""
FAR_SECONDS = 0.01
"""From this round trip on windows grow in longer steps."""
CALM_BYTES = 128 * 1024
"""Bytes a byte stream may have in flight while messages flow on the same session, since messages queue behind them.
Scales with the round trip beyond `FAR_SECONDS`."""
CALM_SECONDS = 0.1
"""Seconds after the last message that this holds."""
_PAYLOAD = b"measured"
"""Of the PINGs that measure the round trip."""


class Reading(Protocol):
    """What a window knows of its stream."""

    in_reason: Reason | None
    """Why nothing more comes."""


class Window:
    """What may come on one stream, and lie in its inbox, before the application takes something."""

    __slots__ = ("_credit", "_credited_at", "_loan_due", "_stream", "loan", "needed", "size", "unreturned")

    def __init__(self, credit: "Credit", stream: Reading, now: float) -> None:
        self._credit = credit
        self._stream = stream
        self._credited_at = now
        self.size = credit.limits.stream_window
        self.loan = 0
        """Credit beyond the window, out of the session's budget, for the message at the head."""
        self._loan_due = 0  # of it, what the peer was not told of yet
        self.unreturned = 0
        """What the application took and the peer has no credit for yet."""
        self.needed = False
        """Whether the message at the head can't arrive before the peer is told of both."""

    # --- what the stream says ---

    def took(self, size: int) -> None:
        """The application has `size` bytes more."""
        back = min(self.loan, size) if self.loan else 0
        self.unreturned += size - back
        if self.unreturned >= self.size // 2 and self._stream.in_reason is None:
            self._credit.due(self._stream)
        if back:
            self.loan -= back
            self._credit.repay(back)

    def make_way(self, size: int) -> None:
        """A part of a message of `size` bytes is at the head: see that the rest can come (protocol section 7)."""
        if self.missing(size) > 0:
            self._credit.lend(self, size)
        if not self.needed and self.unreturned and size + self.unreturned > self.size + self.loan:
            self.needed = True
            self._credit.due(self._stream)

    def missing(self, size: int) -> int:
        """By how much a message of `size` bytes is longer than the window and what was lent for it."""
        return size - self.size - self.loan

    def full(self, waiting: int) -> bool:
        """Whether nothing more may come while this many bytes wait in the inbox."""
        return waiting + self.unreturned >= self.size + self.loan

    def is_due(self) -> bool:
        """Whether the peer is to be told of credit now."""
        return self.needed or self.unreturned >= self.size // 2

    def withdraw(self) -> None:
        """Nothing more comes: no credit is wanted."""
        self._credit.withdraw(self)

    def release(self) -> None:
        """Give back what the session's budget gave: nothing more can come, nor is there anything left in the inbox."""
        first = self._credit.limits.stream_window
        beyond = self.loan + self.size - first
        if beyond:
            self.loan, self.size = 0, first
            self._credit.repay(beyond)

    # --- what the session's credit says ---

    def lend(self, size: int) -> None:
        """`size` bytes of the budget are for the message at the head."""
        self.loan += size
        self._loan_due += size
        self.needed = True
        self._credit.due(self._stream)

    def grow(self, size: int) -> None:
        """Be wider from now on."""
        self.size += size
        self.unreturned += size

    def since(self, now: float) -> float:
        """Seconds since this was asked last, which is when half of the window was used up the time before."""
        passed, self._credited_at = now - self._credited_at, now
        return passed

    def give(self, size: int) -> int:
        """The credit that leaves now: what is lent, and `size` bytes of what was taken."""
        self.unreturned -= size
        size += self._loan_due
        self._loan_due = 0
        self.needed = False
        return size


class Credit:
    """The budget, and what is done with it."""

    def __init__(self, limits: Limits, *, due: Callable[[Any], None], ping: Callable[[bytes], None]) -> None:
        self.limits = limits
        self.budget = limits.session_budget
        self.round_trip = 0.0
        """Seconds, the shortest that was measured."""
        self.due = due
        """Called with a stream that has credit to give."""
        self._ping = ping
        self._pinged_at = self._message_at = -math.inf
        self._measuring = False
        self._borrowers: dict[Window, int] = {}  # that wait for the budget, the first one first; for messages how long

    # --- messages longer than the window ---

    def lend(self, window: Window, size: int) -> None:
        """The message at the head of the inbox has `size` bytes, more than the window: credit the rest."""
        self._borrowers[window] = size
        self._lend_on()

    def withdraw(self, window: Window) -> None:
        """Nothing more comes: it wants no credit."""
        if window in self._borrowers:
            del self._borrowers[window]
            self._lend_on()  # it may have been the first one

    def repay(self, size: int) -> None:
        """`size` bytes of the budget are free again."""
        self.budget += size
        self._lend_on()

    def _lend_on(self) -> None:
        while self._borrowers:
            window, size = next(iter(self._borrowers.items()))
            missing = window.missing(size)
            if missing > self.budget and self.budget < self.limits.session_budget:
                return  # (one message may always arrive, even if the whole budget is less)
            del self._borrowers[window]
            if missing > 0:
                self.budget -= missing
                window.lend(missing)

    def clear(self) -> None:
        """The session is over."""
        self._borrowers.clear()

    # --- credit ---

    def message_arrived(self, window: Window, now: float) -> None:
        """Some of a message has come. A channel with a grown window carries bulk: byte streams don't wait for it."""
        if window.size == self.limits.stream_window:
            self._message_at = now

    def give(self, window: Window, *, ahead: int | None, now: float) -> int:
        """How much credit a stream gets now. `ahead`: of a byte stream, what is in front of it: in the inbox, or
        under way without that credit."""
        calm = self._calm()
        if ahead is not None and window.size > calm and now - self._message_at < CALM_SECONDS:
            room = calm - ahead
            return window.give(min(room, window.unreturned) if room >= calm // 2 else 0)
        if window.unreturned >= window.size // 2:
            self._grow(window, now)
        return window.give(window.unreturned)

    def _calm(self) -> int:
        """As `CALM_BYTES`. Never less than a window begins with: relays count on half of that (protocol section 7)."""
        return max(int(CALM_BYTES * max(self.round_trip / FAR_SECONDS, 1)), self.limits.stream_window)

    def _grow(self, window: Window, now: float) -> None:
        """Widen a window of which half was used up faster than credit can travel.

        Not by more than it needs: what is under way is what every other stream has to wait for.
        """
        quick = window.since(now) < max(QUICK_SECONDS, 1.5 * self.round_trip)
        if quick or not self.round_trip:
            self._measure(now)
        if not quick:
            return
        free = self.budget - self.limits.message_size
        step = window.size if self.round_trip < FAR_SECONDS else 7 * window.size  # each step takes a round trip
        extra = min(step, self.limits.stream_window_max - window.size, free)
        if extra > 0:
            self.budget -= extra
            window.grow(extra)

    # --- the round trip ---

    def _measure(self, now: float) -> None:
        """Send a PING, at most one a second, and none while one is under way: nothing tells which came back."""
        if now - self._pinged_at >= 1 and not self._measuring:
            self._measuring = True
            self._pinged_at = now
            self._ping(_PAYLOAD)

    def pong(self, payload: bytes, now: float) -> bool:
        """A PING has come back; False if it is not one of these."""
        if payload == _PAYLOAD and self._measuring:
            self._measuring = False
            self.measured(now - self._pinged_at)
        return payload == _PAYLOAD

    def measured(self, round_trip: float) -> None:
        """How long a round trip took."""
        self.round_trip = min(self.round_trip or math.inf, round_trip)
