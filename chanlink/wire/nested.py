"""Nested streams: each is opened before the message that mentions it (protocol section 5). No I/O, no clock.

What a peer can make us keep here is within the bounds of the session. A stream that waits to be mentioned keeps its own
last words back, and with them its place among the open ones. One that is over all the same (its time was up, the peer
reset it) holds nothing any more: it is only remembered, so that a message which comes late holds an end that is over,
and is no lie. Of those there are never more than streams may be open, of all parents together.
"""

from collections.abc import Callable, Iterable, Iterator

from chanlink.channels.values import Kind
from chanlink.limits import Limits

from .stream import Stream


class Nested:
    """The streams that no message has mentioned yet."""

    def __init__(self, streams: dict[int, Stream], limits: Limits, *, activate: Callable[[Stream], None]) -> None:
        self.waiting: dict[int, Stream] = {}
        """Those that are not over, the oldest first."""
        self.over: dict[int, Stream] = {}
        """Parents, by the ids of children that are over; the oldest first."""
        self._streams = streams
        self._limits = limits
        self._activate = activate
        self._forsaken: list[tuple[Stream, str, str]] = []
        self._forsaking = False

    def add(self, stream: Stream) -> bool:
        """Keep a stream until a message mentions it; False if none will, because its parent is over or can't."""
        parent = self._streams.get(stream.parent or 0)
        if parent is None or parent.is_bytes or not parent.carries_in or parent.in_reason is not None:
            return False
        parent.nest(stream)
        self.waiting[stream.id] = stream
        return True

    def claim(self, parent: Stream, kind: Kind, stream_id: int) -> Stream | None:
        """The nested stream that a message of `parent` mentions; None if that is a lie."""
        stream = parent.mentioned(kind, stream_id)
        if stream is not None:
            self.release(stream)
        return stream

    def release(self, stream: Stream) -> None:
        """`stream` waits no more for a message that mentions it."""
        self.over.pop(stream.id, None)
        if self.waiting.pop(stream.id, None) is not None and stream.has_output():
            self._activate(stream)

    def forsake(self, streams: Iterable[Stream], code: str, text: str) -> None:
        """No message will mention these. A list, not recursion: each may be the parent of the next, for thousands."""
        self._forsaken.extend((stream, code, text) for stream in streams)
        if self._forsaking:
            return
        self._forsaking = True
        while self._forsaken:
            stream, *why = self._forsaken.pop()
            self.release(stream)
            stream.discard(*why)
        self._forsaking = False

    def ended(self, stream: Stream) -> None:
        """Both halves of `stream` are over. If no message has mentioned it yet, one still may."""
        self.waiting.pop(stream.id, None)
        parent = self._streams.get(stream.parent or 0)
        if parent is None or stream.id not in (parent.children or {}):
            return
        self.over[stream.id] = parent
        if len(self.over) > self._limits.open_channels:
            first = next(iter(self.over))
            self.over.pop(first).forget(first)

    def unmentioned(self, overdue: Callable[[float, float], bool]) -> Iterator[Stream]:
        """Those that have waited too long."""
        for stream in list(self.waiting.values()):
            parent = self._streams.get(stream.parent or 0)
            # The message that mentions it may still wait in the inbox, or may just have got the credit to come.
            since = stream.opened_at
            if parent is not None:
                if parent.incoming.size or parent.incoming.in_relay:
                    continue
                since = max(since, parent.incoming.progress_at)
            if overdue(since, self._limits.unmentioned):
                yield stream

    def clear(self) -> None:
        """The session is over."""
        self.waiting.clear()
        self.over.clear()
