"""How long to wait before one connects again: longer each time, and never as long as all others do."""

import random

FIRST, LONGEST = 0.1, 30.0
"""Seconds that the first pause and any later one take at most."""
GOOD = 10.0
"""Seconds after which a session was a good one: the next pause is as short as the first."""


class Backoff:
    """The pauses of one link, or of whatever else comes back by itself; none is longer than ``longest`` (seconds).

    Each is a random part of its longest ("full jitter"): when a server ends, all its clients lose their sessions at
    one moment, and would come back at one moment, again and again.
    """

    def __init__(self, longest: float = LONGEST) -> None:
        self._most = longest
        self._longest = FIRST

    def pause(self) -> float:
        """Seconds to wait now."""
        longest, self._longest = self._longest, min(2 * self._longest, self._most)
        return random.uniform(0, longest)

    def lived(self, seconds: float) -> None:
        """A session was ready for so long."""
        if seconds >= GOOD:
            self._longest = FIRST
