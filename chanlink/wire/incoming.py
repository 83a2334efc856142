"""What comes in on a stream: an inbox with messages in it, and what the peer is to be told of it. No I/O, no clock.

`Mux.receive_data` calls `arrived`, and there the bytes stop. Whoever receives calls `next_message` or `read`, and then
`took_message` or `took_bytes`: only that gives the peer its credit back (credit follows use, protocol section 7).
"""

from collections.abc import Callable
from typing import Any, Protocol

from chanlink.errors import Reason
from chanlink.limits import Limits
from chanlink.wire.messages.framing import HAS_TABLE
from chanlink.wire.messages.pieces import Pieces

from .credit import Credit, Window
from .inbox import Inbox


class Reader(Protocol):
    """Whom incoming data belongs to."""

    def readable(self) -> None:
        """Look: something can be taken, or nothing will come any more."""


class _Nobody:
    def readable(self) -> None:
        pass


class Scheduler(Protocol):
    """What incoming data asks of the mux, which has the docstrings."""

    limits: Limits
    credit: Credit

    def credit_due(self, stream: Any) -> None: ...


class _Stream(Protocol):
    """What it asks of its stream, which has the docstrings."""

    in_reason: Reason | None

    @property
    def is_bytes(self) -> bool: ...

    def reject(self, code: str, text: str) -> None: ...
    def settle(self) -> None: ...


class Incoming(Inbox):
    """The bytes and counts of one half that carries data from the peer."""

    __slots__ = (
        "_head",
        "_mux",
        "_since_taken",
        "_stream",
        "arrived_bytes",
        "capacity",
        "in_relay",
        "owner",
        "progress_at",
        "taken_count",
        "taken_due",
        "window",
    )

    def __init__(self, mux: Scheduler, stream: _Stream, capacity: int | None, now: float) -> None:
        super().__init__()
        self._mux = mux
        self._stream = stream
        self.capacity = capacity
        self.owner: Reader = _NOBODY
        self.window = Window(mux.credit, stream, now)
        self.arrived_bytes = 0
        self.taken_count = 0
        self.taken_due = False
        """Whether the peer is to be told of that."""
        self.in_relay = 0
        """Messages that have left the inbox and are not taken yet: a relay has them."""
        self.progress_at = now
        """When something came last, or was made possible by credit."""
        self._head: int | None = None  # the header of the message that is next, once it is there
        self._since_taken = 0  # bytes, since the peer was told of a count

    def belongs_to(self, owner: Reader) -> None:
        self.owner = owner

    # --- the mux ---

    def arrived(self, data: bytes, now: float) -> None:
        """Some bytes of the peer's half; they were within its credit (h2 has seen to that)."""
        stream = self._stream
        if stream.in_reason is not None:
            return  # refused: what was under way is dropped
        self.append(data)
        self.arrived_bytes += len(data)
        self.progress_at = now
        if stream.is_bytes or self.message_ready():
            self.owner.readable()

    def credited(self, now: float) -> None:
        """The peer is told of credit: what it makes possible has from now on."""
        self.progress_at = now

    def tell_count(self) -> int:
        """How many messages were taken: the peer is told now."""
        self.taken_due = False
        return self.taken_count

    def stalled(self, overdue: Callable[[float, float], bool]) -> bool:
        """Whether a part of a message lies in the inbox and nothing was added to it for too long."""
        if not self.size or self._stream.is_bytes or self._stream.in_reason is not None:
            return False
        if self.in_relay or self.window.needed or self._wants_credit():
            return False
        return not self.message_ready() and overdue(self.progress_at, self._mux.limits.progress)

    def _wants_credit(self) -> bool:
        """Whether the message at the head is longer than what may come."""
        return self._head is not None and self.window.missing((self._head & ~HAS_TABLE) + 4) > 0

    # --- whoever receives ---

    def message_ready(self) -> bool:
        """Read the header at the head of the inbox, and say whether its whole message is there."""
        if self._head is None:
            if self.size < 4:
                return False
            head = self.peek()
            if head & ~HAS_TABLE > self._mux.limits.message_size:
                self._stream.reject("too-large", "a message over the limit")
                return False
            self._head = head
        size = (self._head & ~HAS_TABLE) + 4
        if self.size < size and self._stream.in_reason is None:
            self.window.make_way(size)
        return self.size >= size

    def next_message(self) -> tuple[int, bytes | Pieces] | None:
        """The header and the payload of the next message if it is there whole; then call `took_message`."""
        head = self._head
        if head is None or self.size < (head & ~HAS_TABLE) + 4:  # else `took_message` has looked already
            if not self.message_ready():
                return None
            head = self._head
            assert head is not None
        self._head = None
        self.in_relay += 1
        return head, self.take(4, head & ~HAS_TABLE)

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes of a byte stream, empty if there are none now; then call `took_bytes`."""
        return self.take_some(limit) if self.size else b""

    def took_message(self, size: int) -> None:
        """The application has one more message, whose payload had `size` bytes."""
        self.taken_count += 1
        self.in_relay -= 1
        size += 4
        self._since_taken += size
        if self.capacity is not None or not self.size or self._since_taken >= self.window.size // 2:
            self._since_taken = 0
            self.taken_due = True
            self._mux.credit_due(self._stream)
        self.window.took(size)
        if self._stream.in_reason is not None:
            self.release()
        if self.size:  # the next one may need credit to come
            self.message_ready()
        if self._stream.in_reason is not None:
            self._stream.settle()

    def took_bytes(self, size: int) -> None:
        """The application has `size` bytes more."""
        self.window.took(size)
        if self._stream.in_reason is not None:
            self.release()

    def let_go(self) -> None:
        """A message that has left the inbox will not be taken."""
        self.in_relay -= 1
        if self._stream.in_reason is not None:
            self.release()

    # --- the stream ---

    def drop(self) -> None:
        """What has arrived is for nobody."""
        self.clear()
        self._head = None

    def release(self) -> None:
        """Nothing more can come: give back what the session's budget gave, once nothing is in the inbox or a relay."""
        self.window.withdraw()
        if not self.size and not self.in_relay:
            self.window.release()


_NOBODY = _Nobody()
