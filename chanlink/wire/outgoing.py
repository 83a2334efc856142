"""What goes out on a stream: the queue, the peer's credit for it, and what the peer has said of it. No I/O.

Whoever sends asks `can_write` and then calls `write`, which queues; `Mux.data_to_send` calls `pull`. The peer gives
credit (`credited`) and says how many messages were taken (`peer_took`).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from chanlink.bytes_like import cut
from chanlink.limits import Limits, PeerLimits


class Writer(Protocol):
    """Whom outgoing data belongs to."""

    def writable(self) -> None:
        """Look: there is room, or something else has changed."""


class _Nobody:
    def writable(self) -> None:
        pass


class Scheduler(Protocol):
    """What outgoing data asks of the mux, which has the docstrings."""

    limits: Limits
    peer_limits: PeerLimits

    def activate(self, stream: Any, *, has_message: bool = False) -> None: ...


class _Stream(Protocol):
    @property
    def is_bytes(self) -> bool: ...


class Outgoing:
    """The bytes and counts of one half that carries data from here to the peer.

    h2 counts the credit, too: it refuses what overflows, but knows a stream only once the opening has left.
    """

    __slots__ = (
        "_mux",
        "_stream",
        "capacity",
        "credit",
        "outbox",
        "owner",
        "peer_taken",
        "queued",
        "returned",
        "sent",
        "sent_bytes",
        "uncredited",
    )

    def __init__(self, mux: Scheduler, stream: _Stream, capacity: int | None) -> None:
        self._mux = mux
        self._stream = stream
        self.capacity = capacity
        self.owner: Writer = _NOBODY
        self.credit = mux.peer_limits.stream_window
        """Bytes that may leave now."""
        self.queued = 0
        self.sent = 0
        """Messages, or pieces of bytes."""
        self.sent_bytes = 0
        self.peer_taken = 0
        """Messages that the far application has taken, as far as it is known here."""
        self.returned = 0
        """Credit that came, in total."""
        self.uncredited = self.credit // 2
        """Bytes the peer may have taken without telling us: it returns credit at half a window (protocol section 7)."""
        self.outbox: list[bytes | memoryview] | None = None
        """What was written and has not left. Made when it is needed: most channels are idle."""

    def belongs_to(self, owner: Writer) -> None:
        self.owner = owner

    # --- whoever sends ---

    def can_write(self) -> bool:
        """Whether the next message or piece of bytes would be accepted (protocol section 7)."""
        if self.credit <= self.queued or self.queued >= self._mux.limits.send_queue:
            return False
        return self.capacity is None or self.sent - self.peer_taken < max(self.capacity, 1)

    def write(self, data: bytes, more: Sequence[bytes | memoryview] = ()) -> None:
        """Queue one message, or some bytes. The caller has seen `can_write`, or bears the overdraft (a backlog).

        A long message comes in several parts, so that nobody has to copy them together.
        """
        size = len(data)
        if self.outbox:  # it is active, or waits for credit or to be mentioned
            self.outbox.append(data)
        else:
            self.outbox = [data]
            self._mux.activate(self._stream, has_message=not self._stream.is_bytes)
        if more:
            self.outbox += more
            size += sum(map(len, more))
        self.queued += size
        self.sent += 1
        self.sent_bytes += size

    # --- the mux ---

    def pull(self, size: int) -> list[bytes | memoryview]:
        """The next bytes for a DATA frame: what was queued, in parts, up to `size` and the credit."""
        size = min(size, self.credit, self.queued)
        outbox = self.outbox or []
        if self.queued > size:
            parts = cut(outbox, size)
        else:
            parts, self.outbox = outbox, None
        self.credit -= size
        self.queued -= size
        return parts

    def drop(self) -> None:
        """What has not left will not leave."""
        self.outbox = None
        self.queued = 0

    # --- the peer ---

    def credited(self, increment: int) -> None:
        """The peer gave credit for `increment` bytes."""
        had_room = self.can_write()
        self.credit += increment
        self.returned += increment
        if self.outbox:
            self._mux.activate(self._stream)
        if self.can_write() and (self._stream.is_bytes or not had_room):  # of bytes, it also says what was taken
            self.owner.writable()

    def peer_took(self, count: int) -> bool:
        """The far application has taken `count` messages in total. A count that falls or lies is left alone."""
        news = self.peer_taken < count <= self.sent
        if news:
            self.peer_taken = count
            self.owner.writable()
        return news


_NOBODY = _Nobody()
