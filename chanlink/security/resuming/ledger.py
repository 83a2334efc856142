"""What was sent, what of it has arrived, and what came: the books of a session over all its connections. No I/O.

Positions are counts of bytes since the session began. A close record is one byte more, at the end of its direction:

    0 ........ acknowledged ........ sent on this connection ........ accepted   (+ 1: our close)
               |<------------ kept, to be sent again ------------------------>|

What is kept is what was given, if nobody can change it, and a copy else.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from chanlink.bytes_like import Part
from chanlink.errors import RemoteProtocolError

SOON = 1024 * 1024
"""Bytes that came after which we say so, at the latest."""
LARGE = 4 * 1024
"""Bytes of a part that is kept as it is; smaller ones are joined, since each object costs as much again."""
SHARE = 64
"""A part of something larger keeps all of that: no more than so many times itself, or it is copied."""

Kept = bytes | memoryview


class Ledger:
    """Both directions of one session. ``most`` is what we keep at most, ``peer_most`` what the peer does."""

    def __init__(self, most: int, peer_most: int) -> None:
        self.acknowledged = 0
        """What the peer has received of ours, as it says."""
        self.received = 0
        """What we have received of the peer's."""
        self.our_close: tuple[str, str] | None = None
        """Code and text of our close record, once there is to be one."""
        self.peer_closed = False
        self._most = most
        self._due_after = min(peer_most // 4, SOON)
        self._told = 0
        self._accepted = 0  # without the close
        self._at = 0  # what this connection was given
        self._begin = 0  # where the first kept part begins
        self._sent: deque[Kept] = deque()
        self._unsent: deque[Kept] = deque()

    def forget(self) -> None:
        """Drop what is kept: another process has the same."""
        self._sent.clear()
        self._unsent.clear()

    # --- out ---

    @property
    def sent(self) -> int:
        """What was accepted, the close included."""
        return self._accepted + (self.our_close is not None)

    def accept(self, parts: Iterable[Part]) -> None:
        """Keep bytes to send, in parts."""
        for part in _to_keep(list(parts)):
            self._unsent.append(part)
            self._accepted += len(part)

    @property
    def passes(self) -> bool:
        """Whether `pass_on` may be called: nothing waits, and there is room."""
        at = self._at
        return at == self._accepted and at - self.acknowledged < self._most and self.our_close is None

    def pass_on(self, parts: Iterable[Part]) -> list[Kept]:
        """As `accept`, and `next_parts` of all of it: what goes to the connection."""
        kept = _to_keep(list(parts))
        size = sum(map(len, kept))
        self._sent.extend(kept)
        self._accepted += size
        self._at += size
        return kept

    def close(self, code: str, text: str) -> None:
        """Nothing more is sent but the close record. The first one stays."""
        if self.our_close is None:
            self.our_close = code, text

    @property
    def has_next(self) -> bool:
        """Whether something may be sent now: it waits, and there is room for it."""
        return self._at < self.sent and (not self._unsent or self._at - self.acknowledged < self._most)

    @property
    def has_unsent(self) -> bool:
        """Whether something that was accepted was not given to this connection yet."""
        return self._at < self.sent

    @property
    def is_full(self) -> bool:
        """Whether as much is kept as may be."""
        return self.sent - self.acknowledged >= self._most

    def next_parts(self, most: int) -> list[Kept]:
        """The next bytes to send, as far as they may: this many at most, or those of one part."""
        parts: list[Kept] = []
        room = min(most, self._most - (self._at - self.acknowledged))
        while self._unsent and room > 0:
            part = self._unsent.popleft()
            if len(part) > room:
                self._unsent.appendleft(memoryview(part)[room:])
                part = memoryview(part)[:room]
            room -= len(part)
            self._at += len(part)
            self._sent.append(part)
            parts.append(part)
        return parts

    def next_close(self) -> tuple[str, str] | None:
        """What the close record says, if that comes next."""
        if self.our_close is None or self._at != self._accepted:
            return None
        self._at += 1
        return self.our_close

    @property
    def given(self) -> int:
        """What was given to this connection, or has arrived before."""
        return self._at

    @property
    def awaits(self) -> bool:
        """Whether something was sent that the peer has not acknowledged."""
        return self._at > self.acknowledged

    @property
    def settled(self) -> bool:
        """Whether the peer has all that was accepted."""
        return self.acknowledged == self.sent

    def fits(self, count: int) -> bool:
        """Whether the peer can have received this much."""
        return self.acknowledged <= count <= self._at

    def acknowledge(self, count: int) -> None:
        """The peer has received this much. Raises `RemoteProtocolError` if that can't be."""
        if not self.fits(count):
            raise RemoteProtocolError("the peer says that it has received what can't be")
        self.acknowledged = count
        sent = self._sent
        while sent and self._begin + len(sent[0]) <= count:
            self._begin += len(sent.popleft())

    def send_again(self, count: int) -> int:
        """There is another connection, and the peer has received this much: how many bytes have to be sent again.

        Raises as `acknowledge`.
        """
        self.acknowledge(count)
        if self._sent:
            first = self._sent.popleft()
            self._unsent.extendleft(reversed(self._sent))
            self._sent.clear()
            self._unsent.appendleft(memoryview(first)[count - self._begin :] if count > self._begin else first)
        self._begin = min(count, self._accepted)
        again, self._at = self._at - count, count
        return again

    # --- in ---

    def take(self, pieces: Iterable[bytes]) -> bool:
        """These have come: whether the peer has to be told soon."""
        self.received += sum(map(len, pieces))
        return self.received - self._told >= self._due_after

    def take_close(self) -> None:
        """The peer's close record has come."""
        self.received += 1
        self.peer_closed = True

    @property
    def is_untold(self) -> bool:
        """Whether something has come that the peer was not told of."""
        return self.received != self._told

    def tell(self) -> int:
        """What has come, for the peer, who knows it from now on."""
        self._told = self.received
        return self.received


def _to_keep(parts: Sequence[Part]) -> list[Kept]:
    """These parts, as they can be kept: nobody changes them, and they are not many small ones."""
    if len(parts) == 1 and len(parts[0]) < LARGE:  # the common case: a turn of the writer with short messages
        return [bytes(parts[0])]
    kept: list[Kept] = []
    small: list[Part] = []
    for part in parts:
        if len(part) >= LARGE and _stays(part):
            if small:
                kept.append(b"".join(small))
                small = []
            kept.append(part)  # type: ignore[arg-type]
        else:
            small.append(part)
    if small:
        kept.append(b"".join(small))
    return kept


def _stays(part: Part) -> bool:
    if type(part) is memoryview:
        return type(part.obj) is bytes and len(part) * SHARE >= len(part.obj)
    return type(part) is bytes
