"""What has arrived on a stream and was not taken yet."""

from typing import Any

from chanlink.wire.messages.framing import MESSAGE_HEADER
from chanlink.wire.messages.pieces import Pieces

_JOINED_BYTES = 2_048
"""Pieces are joined up to this size: each costs us some 60 bytes and more, however short a peer makes it."""
IN_PIECES = 128 * 1024
"""From this size on a message is not joined but left in pieces: memory for a copy is mapped anew, page by page."""
_NOTHING: Any = ()
"""In the place of pieces until there are any: a list of its own is 56 bytes for each idle channel, a deque 700."""


class Inbox:
    """Bytes that arrived and were not taken yet: pieces as they came, nothing much is copied together without need."""

    __slots__ = ("_offset", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = _NOTHING
        self._offset = 0
        self.size = 0

    def append(self, data: bytes) -> None:
        pieces = self._pieces
        if not pieces:
            self._pieces = [data]
        elif len(pieces[-1]) + len(data) <= _JOINED_BYTES:
            pieces[-1] += data
        else:
            pieces.append(data)
        self.size += len(data)

    def clear(self) -> None:
        self._pieces = _NOTHING
        self._offset = self.size = 0

    def peek(self) -> int:
        """The first four bytes as a number; there must be as many."""
        head = self._pieces[0]
        if len(head) - self._offset >= 4:  # the common case: a header is seldom cut by a frame
            return MESSAGE_HEADER.unpack_from(head, self._offset)[0]  # type: ignore[no-any-return]
        # No piece is empty, so that four are enough; there may be thousands.
        start = head[self._offset :] + b"".join(piece[:4] for piece in self._pieces[1:4])
        return MESSAGE_HEADER.unpack_from(start)[0]  # type: ignore[no-any-return]

    def take(self, skip: int, size: int) -> bytes | Pieces:
        """Drop `skip` bytes and return the next `size`; there must be as many. What is long may come in pieces."""
        self.size -= skip + size
        head, begin = self._pieces[0], self._offset + skip
        end = begin + size
        if end < len(head):  # the common cases: many messages in one frame, or one
            self._offset = end
            return head[begin:end]
        if end == len(head):
            del self._pieces[0]
            self._offset = 0
            return head[begin:end]
        parts = self._take_across(begin, end)
        return b"".join(parts) if size < IN_PIECES else Pieces(parts)

    def _take_across(self, begin: int, end: int) -> list[memoryview]:
        parts = []
        while True:
            head = self._pieces[0]
            if begin < len(head):
                parts.append(memoryview(head)[begin:end])
            if end < len(head):
                self._offset = end
                break
            del self._pieces[0]
            self._offset = 0
            if end == len(head):
                break
            begin, end = max(begin - len(head), 0), end - len(head)
        return parts

    def take_some(self, limit: int) -> bytes:
        """At most `limit` bytes: as many pieces as fit, joined, or the beginning of a long one; there must be some."""
        size = -self._offset
        for piece in self._pieces:
            if size + len(piece) > limit:
                break
            size += len(piece)
        return bytes(self.take(0, size if size > 0 else limit))
