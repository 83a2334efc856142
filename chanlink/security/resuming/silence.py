"""When a connection that says nothing is given up (protocol section 3.7). No I/O and no clock.

Time goes by in ticks, of one second or so. One in which this process or its machine stood still is one tick, however
long it was: what has come meanwhile is read before the time is over. An answer is **due** while something that was sent
is not acknowledged. How long it may take is doubled each time that a connection was given up for silence, since the way
may be a long one, until a short time has sufficed.
"""

ANSWER = 10
"""Ticks that an answer may take."""
LONGEST = 45
"""To no more than so many that grows."""
ASKED = 3
"""Ticks that an answer may take when there is a reason to doubt that the peer is there."""
PROGRESS = 3
"""Ticks without an acknowledgement that are always allowed: a peer may wait for one with it."""


class Silence:
    """What one connection after the other leaves unsaid. ``progress`` is how many ticks nothing may be acknowledged."""

    def __init__(self, progress: float) -> None:
        self._progress = max(progress, PROGRESS)
        self._allowed = ANSWER
        self._hurried = False
        self._fresh = False  # the doubt is younger than a tick: what came in that may be older
        self._silent = 0
        self._stuck = 0

    @property
    def allowed(self) -> int:
        """How many ticks an answer may take now."""
        return min(self._allowed, ASKED) if self._hurried else self._allowed

    def hurry(self) -> None:
        """There is a reason to doubt that the peer is there: the next answer may take `ASKED` from now on."""
        self._hurried = self._fresh = True
        self._silent = 0

    def tick(self, *, heard: bool, due: bool, acknowledged: bool) -> str:
        """Another tick is over: whether something came in it, an answer is due, and something was acknowledged.

        Returns why the connection is to be given up, or nothing.
        """
        if heard and not (self._fresh and due):
            self._hurried = False
        self._fresh = False
        if not due:
            self._silent = self._stuck = 0
            return ""
        self._silent = 0 if heard else self._silent + 1
        self._stuck = 0 if acknowledged else self._stuck + 1
        if self._silent > self.allowed:
            return f"nothing came from the peer for {self.allowed} s, though an answer was due"
        if heard and self._stuck > self._progress:  # else it may be stopped
            return f"the peer acknowledged nothing for {self._progress:g} s"
        return ""

    def answered(self, ticks: int) -> None:
        """What was sent is acknowledged, after so many ticks."""
        if ticks < ANSWER:
            self._allowed = ANSWER

    def is_over(self) -> bool:
        """Whether it was silence for which the connection has to be given up."""
        return self._silent > self.allowed

    def begin(self) -> None:
        """There is another connection."""
        if self.is_over() and not self._hurried:
            self._allowed = min(2 * self._allowed, LONGEST)
        self._hurried = False
        self._silent = self._stuck = 0
