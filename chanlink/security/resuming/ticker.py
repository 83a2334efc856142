"""When the connection of a session that may be resumed is looked at, and what a look concludes. No I/O.

Once a tick, as long as there is a reason to: something was sent that is not acknowledged, or has come that the peer was
not told of. A session that says nothing costs nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import anyio

from .silence import Silence


class Seen(NamedTuple):
    """What is known after a tick."""

    heard: bool
    """Whether something has come in it."""
    why: str
    """Why the connection is to be given up; empty if it is not."""


class Ticker:
    """Calls whoever looks after a connection, and keeps what was seen of the peer since the last tick."""

    def __init__(self, seconds: float, progress: float) -> None:
        """A tick takes so many ``seconds``; for ``progress`` seconds a peer that talks may acknowledge nothing."""
        self._seconds = seconds
        self._silence = Silence(progress / seconds)
        self._heard = False
        self._acknowledged = 0
        self._asked: int | None = None
        """What the peer has to acknowledge until it has answered; None while nothing is due."""
        self._waited = 0  # ticks since then
        self._is_idle = True
        self._stirred = anyio.Event()

    async def run(self, look: Callable[[], None]) -> None:
        """Call ``look`` once a tick while there is a reason to."""
        while True:
            while self._is_idle:
                self._stirred = anyio.Event()
                await self._stirred.wait()
            await anyio.sleep(self._seconds)
            look()

    def stir(self) -> None:
        """There is a reason to look."""
        if self._is_idle:
            self._is_idle = False
            self._stirred.set()

    def rest_unless(self, reason: bool) -> None:
        """This is the last look for now, unless there is a reason for another one."""
        self._is_idle = not reason

    def hear(self) -> None:
        """Something has come."""
        self._heard = True

    def hurry(self) -> None:
        """There is a reason to doubt that the peer is there."""
        self._silence.hurry()

    def begin(self) -> None:
        """There is another connection."""
        self._silence.begin()
        self._heard = False
        self._asked = None
        self.stir()

    def tick(self, *, sent: int, acknowledged: int) -> Seen:
        """Another tick is over: what was sent by now, and what the peer has acknowledged of it."""
        heard, self._heard = self._heard, False
        before, self._acknowledged = self._acknowledged, acknowledged
        due = sent > acknowledged
        self._measure(sent, acknowledged)
        return Seen(heard, self._silence.tick(heard=heard, due=due, acknowledged=acknowledged > before))

    def _measure(self, sent: int, acknowledged: int) -> None:
        """See how long an answer takes, also of a peer from which one is due all the time."""
        self._waited += 1
        if self._asked is not None and acknowledged >= self._asked:
            self._silence.answered(self._waited)
            self._asked = None
        if self._asked is None and sent > acknowledged:
            self._asked, self._waited = sent, 0
