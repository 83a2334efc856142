"""The ends of one session: those that leave by it, and those that arrive."""

from collections.abc import Callable

from chanlink.channels.handle import Handle
from chanlink.channels.values import Wrap
from chanlink.channels.waiting import Loop
from chanlink.instrument import Instruments
from chanlink.limits import Limits, PeerLimits
from chanlink.wire.multiplexer import Multiplexer, Observer
from chanlink.wire.stream import Stream

from .arrival import Arrivals
from .departure import Departures
from .remote import ByteFeed, ByteOutlet, MessageFeed, MessageOutlet


class Ends:
    """Makes the outlets and feeds of a session's streams.

    `wrap` makes an end of a foreign stream (None for anything else), and `start` is called once such an end has left;
    `before_wait` is called before a task waits at one of the ends.
    """

    def __init__(
        self,
        mux: Multiplexer,
        limits: Limits,
        peer_limits: PeerLimits,
        *,
        wrap: Wrap,
        start: Callable[[Handle], None],
        before_wait: Callable[[], bool],
        observer: Observer | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self.loop = Loop(before_wait)
        self.arrivals = Arrivals(mux, limits, self, instruments=instruments)
        self.departures = Departures(
            mux, peer_limits, self, wrap=wrap, start=start, observer=observer, instruments=instruments
        )

    def outlet(self, stream: Stream) -> MessageOutlet | ByteOutlet:
        return ByteOutlet(stream) if stream.is_bytes else MessageOutlet(stream, self.departures)

    def feed(self, stream: Stream) -> MessageFeed | ByteFeed:
        return ByteFeed(stream) if stream.is_bytes else MessageFeed(stream, self.arrivals)

    def adopt(self, stream: Stream) -> Handle:
        """Make the end that a stream is for: of one that the peer opened, or of a top-level one of ours."""
        return self.arrivals.adopt(stream)
