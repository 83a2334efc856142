"""Is the peer there? What a session concludes from what comes, and from what does not (protocol section 9).

No I/O and no clock. Three rules keep it from blaming a peer for what is not its fault:

- **Read first.** `look` is called at intervals, and things are judged as they were at the call before. What had come
  by then has been read since, however long this process stood still between the two.
- **Ask first.** A peer that says nothing may have nothing to say: before a verdict it was asked by a PING, and had
  time to answer.
- **Stopped is not gone.** A client whose machine acknowledges what we send exists; somebody has pressed Ctrl-Z, or a
  debugger holds it. It has `Limits.client_stopped`, and nothing that it leaves undone meanwhile is held against it.
"""

import math
from typing import Protocol

from chanlink.errors import ConnectionLost, PeerTimeout
from chanlink.limits import Limits


class Connection(Protocol):
    """What a `SecureStream` knows of the peer's machine."""

    def peer_acknowledges(self, seconds: float) -> bool:
        """Whether it is known to be there, and has acknowledged something within this many seconds."""


class Liveness:
    """What is known of the life of one peer. ``client`` is the connection, if the peer is a client."""

    def __init__(self, limits: Limits, now: float, client: Connection | None = None) -> None:
        self.heard = now
        """When something came last; set by the reader."""
        self.writing_since = math.inf
        """Since when something is being written that has not left; set by the writer."""
        self.interval = min(limits.keepalive, limits.peer_timeout, limits.unmentioned, limits.progress) / 3
        """Seconds between two calls of `look`."""
        self._limits = limits
        self._ask_after = min(limits.keepalive, limits.peer_timeout / 3)
        self._client = client
        self._then = self._now = now  # the calls of `look` before the last one, and the last one
        self._awake = now  # since when this process has not stood still
        self._back = now  # since when the peer has answered, too
        self._asked = -math.inf
        self._must_ask = False

    @property
    def stood_still(self) -> bool:
        """Whether the last interval was much longer than it should be: this process or its machine stood still."""
        return self._now - self._then > 3 * self.interval

    def returned(self, now: float) -> None:
        """There is another connection: what comes by it is waited for from now on."""
        self.heard = self._awake = self._back = now
        self._asked = -math.inf

    def look(self, now: float) -> None:
        """Another interval has passed."""
        self._then, self._now = self._now, now
        if self.stood_still:
            self._awake = self._back = now
        elif self.heard < self._asked <= self._then:
            self._back = now

    def check(self, sent_at: float) -> None:
        """Raises `PeerTimeout` when the peer is gone, `ConnectionLost` when it takes nothing of what is being written;
        ``sent_at`` is when a part of that has left."""
        limits, silence = self._limits, self._then - self.heard
        time_to_answer = (limits.peer_timeout - self._ask_after) / 2
        if silence > limits.peer_timeout and self.heard < self._asked <= self._then - time_to_answer:
            if not self._may_be_stopped():
                raise PeerTimeout(f"nothing came from the peer for {limits.peer_timeout:g} s")
            if silence > limits.client_stopped:
                raise PeerTimeout(f"the client was stopped for more than {limits.client_stopped:g} s")
        since = max(self.writing_since, sent_at)
        talks = self.heard - since > limits.progress  # else it may be stopped, and take nothing for that
        if self._then - max(since, self._awake) > limits.progress and (talks or not self._may_be_stopped()):
            raise ConnectionLost(f"the peer took nothing for {limits.progress:g} s")

    def _may_be_stopped(self) -> bool:
        return self._client is not None and self._client.peer_acknowledges(self._limits.peer_timeout)

    def overdue(self, since: float, limit: float) -> bool:
        """Whether the peer has left something undone for ``limit`` seconds, since then, though it was there."""
        since = max(since, self._back)
        if self._then - since < limit:
            return False
        if self.heard - since < limit:  # is it there?
            self._must_ask = True
            return False
        return True

    def asks(self) -> bool:
        """Whether to ask the peer by a PING: once for each silence."""
        silent = self._must_ask or self._now - self.heard > self._ask_after
        self._must_ask = False
        if not silent or self._asked > self.heard:
            return False
        self._asked = self._now
        return True
