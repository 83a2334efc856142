"""Ends that arrive: of streams that a peer opens, and in messages.

A message that comes in is decoded when the application takes it; the streams that its table names become ends then.
"""

from collections.abc import Callable, Iterable
from functools import partial

from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Receiver, Sender
from chanlink.channels.cores import ReceiveCore, SendCore
from chanlink.channels.handle import Handle
from chanlink.channels.values import End, Kind
from chanlink.errors import DecodeError
from chanlink.instrument import Instruments
from chanlink.limits import Limits
from chanlink.wire.messages.decode import decode, unpack
from chanlink.wire.messages.framing import HAS_TABLE
from chanlink.wire.messages.pieces import Pieces
from chanlink.wire.multiplexer import Multiplexer
from chanlink.wire.stream import Stream

from .remote import Ways


class Arrivals:
    """What arrives by one session."""

    def __init__(self, mux: Multiplexer, limits: Limits, ways: Ways, *, instruments: Instruments | None = None) -> None:
        self.limits = limits
        self.instruments = instruments
        self._mux = mux
        self._ways = ways

    def adopt(self, stream: Stream) -> Handle:
        """Make the end that a stream is for: of one that the peer opened, or of a top-level one of ours."""
        if not stream.is_bytes:
            return Sender(self._sends(stream)) if stream.carries_out else Receiver(self._receives(stream))
        sizes = stream.opening.size, stream.opening.answer_size
        size, answer_size = sizes if stream.ours else reversed(sizes)
        return ByteStream(self._sends(stream, size), self._receives(stream, answer_size))

    def _sends(self, stream: Stream, size: int | None = None) -> SendCore:
        core = SendCore(self._ways.outlet(stream), self._ways.loop, size=size)
        stream.outgoing.belongs_to(core)
        return core

    def _receives(self, stream: Stream, size: int | None = None) -> ReceiveCore:
        core, feed = ReceiveCore(self._ways.loop, stream.capacity, size=size), self._ways.feed(stream)
        core.also_from(feed)
        feed.feed(core)
        return core

    def decode(self, stream: Stream, head: int, payload: bytes | Pieces) -> object:
        """The value of a message of `stream`. Raises `DecodeError`; none of its ends is left then."""
        if not head & HAS_TABLE:
            return unpack(payload, self.limits)
        unmade: dict[int, Stream] = {}
        made: list[Handle] = []

        def claim(kind: Kind, stream_id: int) -> Callable[[], End] | None:
            child = self._mux.claim(stream, kind, stream_id)
            if child is None:
                return None
            unmade[stream_id] = child
            return partial(make, child)

        def make(child: Stream) -> End:
            del unmade[child.id]
            made.append(self.adopt(child))
            return made[-1]

        try:
            value = decode(head, payload, self.limits, claim)
        except DecodeError as exc:
            for end in made:
                end._forsake("bad-message", str(exc))
            _discard(unmade.values(), "bad-message", str(exc))
            raise
        _discard(unmade.values(), "not-taken", "the message does not refer to it")
        return value

    def adopt_entries(self, source: Stream, entries: list[tuple[Kind, int]]) -> list[Handle]:
        """The ends that a table names. Raises `DecodeError`; none of them is left then."""
        claimed: list[Stream] = []
        for kind, stream_id in entries:
            child = self._mux.claim(source, kind, stream_id)
            if child is None:
                lie = "a table that names what was not opened for it"
                _discard(claimed, "bad-message", lie)
                raise DecodeError(lie)
            claimed.append(child)
        return [self.adopt(child) for child in claimed]

    def revoke(self, allows: Callable[[str], bool]) -> None:
        """The peer may use only these services from now on: what came by others, at any depth, is over."""
        for stream in reversed(list(self._mux.streams.values())):  # nested ones first: they are told why, too
            if stream.root_service is not None and not allows(stream.root_service):
                stream.revoke("revoked", "the service that this came by may not be used any more")


def _discard(streams: Iterable[Stream], code: str, text: str) -> None:
    for stream in streams:
        stream.discard(code, text)
