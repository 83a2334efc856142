"""How wide the windows of a session's streams are (protocol section 7).  No I/O, no clock.

All that goes beyond the window that a stream begins with (windows that grow, messages longer than the window) is taken
from one budget of the session. Growth leaves as much of it as one message may need, and messages borrow one after the
other, each all that it needs: so the budget may be too small for all of them at a time, and still each gets through as
long as the application takes.
"""

import math
from collections.abc import Callable

from chanlink.limits import Limits

from .stream import Stream

QUICK = 0.004
"""A window is too small when half of it is used up in less than this (seconds), or than one and a half round trips."""
FAR = 0.01
"""From this round trip on (seconds) windows grow in longer steps."""
CALM = 128 * 1024
"""What a byte stream may have under way while others on the session exchange messages: those wait behind it. Over a
long way it is so much for each `FAR` of the round trip."""
CALM_FOR = 0.1
"""Seconds after the last message that this holds."""
_PAYLOAD = b"measured"
"""Of the PINGs that measure the round trip."""


class Windows:
    """The budget, and what is done with it."""

    def __init__(self, limits: Limits, *, credit_due: Callable[[Stream], None], ping: Callable[[bytes], None]) -> None:
        self.budget = limits.session_budget
        self.round_trip = 0.0
        """Seconds, the shortest that was measured."""
        self._limits = limits
        self._credit_due = credit_due
        self._ping = ping
        self._pinged_at = self._message_at = -math.inf
        self._measuring = False
        self._borrowers: dict[Stream, None] = {}  # that wait for the budget, the first one first

    # --- messages longer than the window ---

    def lend(self, stream: Stream) -> None:
        """The message at the head of the inbox is longer than the window: credit the rest."""
        self._borrowers[stream] = None
        self._lend_on()

    def withdraw(self, stream: Stream) -> None:
        """Nothing more comes on a stream: it wants no credit."""
        if stream in self._borrowers:
            del self._borrowers[stream]
            self._lend_on()  # it may have been the first one

    def repay(self, size: int) -> None:
        """So much of the budget is free again."""
        self.budget += size
        self._lend_on()

    def _lend_on(self) -> None:
        while self._borrowers:
            stream = next(iter(self._borrowers))
            missing = stream.missing()
            if missing > self.budget and self.budget < self._limits.session_budget:
                return  # (one message may always arrive, even if the whole budget is less)
            del self._borrowers[stream]
            if missing > 0:
                self.budget -= missing
                stream.lent += missing
                stream.loan_due += missing
                stream.credit_needed = True
                self._credit_due(stream)

    def clear(self) -> None:
        """The session is over."""
        self._borrowers.clear()

    # --- credit ---

    def arrived(self, stream: Stream, now: float) -> None:
        """Something has come on a stream."""
        if not stream.is_bytes and stream.window == self._limits.stream_window:
            self._message_at = now

    def credit(self, stream: Stream, under_way: int, now: float) -> int:
        """How much credit a stream gets now; `under_way` is what the peer may send without it."""
        calm = self._calm()
        if stream.is_bytes and stream.window > calm and now - self._message_at < CALM_FOR:
            room = calm - under_way - stream.waiting
            due = min(room, stream.unreturned) if room >= calm // 2 else 0
        else:
            if stream.unreturned >= stream.window // 2:
                self._grow(stream, now)
            due = stream.unreturned
        stream.unreturned -= due
        due += stream.loan_due
        stream.loan_due = 0
        stream.credit_needed = False
        return due

    def _calm(self) -> int:
        """As `CALM`.  Never less than a window begins with: relays count on half of that (protocol section 7)."""
        return max(int(CALM * max(self.round_trip / FAR, 1)), self._limits.stream_window)

    def _grow(self, stream: Stream, now: float) -> None:
        """Widen the window of a stream that used half of it up faster than credit can travel.

        Not by more than it needs: what is under way is what every other stream has to wait for.
        """
        quick = now - stream.credited_at < max(QUICK, 1.5 * self.round_trip)
        stream.credited_at = now
        if quick or not self.round_trip:
            self._measure(now)
        if not quick:
            return
        free = self.budget - self._limits.message_size
        step = stream.window if self.round_trip < FAR else 7 * stream.window  # each step takes a round trip
        extra = min(step, self._limits.stream_window_max - stream.window, free)
        if extra > 0:
            self.budget -= extra
            stream.window += extra
            stream.unreturned += extra

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
