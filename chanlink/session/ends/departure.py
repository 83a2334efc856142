"""Ends that leave in messages: the streams that they leave by.

A message with ends goes out in two steps, so that a failure leaves everything as it was:

    1. plan     every end, and every end in the messages that wait in it, is checked and those messages are encoded.
                Anything may be refused here; nothing has been changed.
    2. ship     for each end a stream is opened, what waited in the end is written to it, and the cores that stay are
                bound to it. What came here over a session goes on by a relay. Nothing can fail here.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from chanlink.channels.channel import Receiver
from chanlink.channels.cores import ReceiveCore, SendCore
from chanlink.channels.encoded import Encoded
from chanlink.channels.handle import Handle, ReceiveHandle, SendHandle
from chanlink.channels.memory import MemoryQueue, queue_before, queue_behind
from chanlink.channels.offers import Offer
from chanlink.channels.values import Attachments, End, Wrap, find_ends
from chanlink.errors import END, ChannelMoved, EncodeError, LimitReached, MessageTooLarge, Reason
from chanlink.instrument import Instruments
from chanlink.limits import PeerLimits
from chanlink.wire.messages.encode import PlainEncoder, encode, frame
from chanlink.wire.messages.framing import HAS_TABLE, read_table
from chanlink.wire.messages.pieces import Pieces
from chanlink.wire.multiplexer import Multiplexer, Observer
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .relay import Relay
from .remote import Arriving, ByteFeed, ByteOutlet, MessageFeed, MessageOutlet, StreamOutlet, Ways

MAX_BACKLOGS = 32
"""How deep ends may wait in the messages of ends that leave."""


class Shipment(NamedTuple):
    """One end that is about to leave, and the messages that wait in it, encoded."""

    end: Handle
    backlog: "list[tuple[bytes | Pieces, list[Shipment]]]"


class Departures:
    """What leaves by one session.

    `wrap` makes an end of a foreign stream (None for anything else), and `start` is called once such an end has left.
    """

    def __init__(
        self,
        mux: Multiplexer,
        peer_limits: PeerLimits,
        ways: Ways,
        *,
        wrap: Wrap,
        start: Callable[[Handle], None],
        observer: Observer | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self.encode_plain: Callable[[Any], bytes | Pieces | None] = PlainEncoder(peer_limits).encode
        """The body of a message of plain values; None for any other."""
        self._mux = mux
        self._peer_limits = peer_limits
        self._ways = ways
        self._wrap = wrap
        self._start = start
        self._observer = observer
        self.instruments = instruments
        self._relays: deque[tuple[MessageFeed | ByteFeed, SendCore]] = deque()
        self._shipping = False

    def encode(self, value: Any) -> tuple[Attachments, bytes | Pieces]:
        """The ends in a message, and its body."""
        if isinstance(value, Encoded):
            return {}, value._body_for(self._peer_limits)
        ends = find_ends(value, self._peer_limits, self._wrap)
        return ends, encode(value, ends, self._peer_limits)

    def send(self, offer: Offer, stream: Stream) -> None:
        """Write a message with ends to its stream; they move."""
        shipments = self._plan(offer.ends)
        self._mux.check_open(_count(shipments))
        offer.take_ends()
        self._write(stream, offer.body, shipments)

    def pass_on(
        self, outlet: MessageOutlet, head: int, payload: bytes | Pieces, *, origin: Arriving, source: Stream
    ) -> None:
        """Write to `outlet` a message that came in on the `source` of another session, unread; its ends go on, too.

        Raises `MessageTooLarge`, `LimitReached`, `SessionClosed`, `DecodeError`; nothing was written then.
        """
        if len(payload) > self._peer_limits.message_size:
            raise MessageTooLarge(f"the message has {len(payload)} bytes, the next peer takes less")
        if not head & HAS_TABLE:
            outlet.outgoing.write(*frame(payload))
            return
        entries, body = read_table(payload, origin.limits)
        if len(entries) > self._peer_limits.message_ends:
            raise LimitReached("message_ends", self._peer_limits.message_ends)
        self._mux.check_open(len(entries))
        ends = origin.adopt_entries(source, entries)
        self._write(outlet.stream, body, [Shipment(end, []) for end in ends])

    # --- 1. plan ----------------------------------------------------------------------------------

    def _plan(self, ends: Attachments, depth: int = 0) -> list[Shipment]:
        return [self._plan_end(end, path, depth) for end, path in ends.values()]

    def _plan_end(self, end: End, path: str, depth: int) -> Shipment:
        assert isinstance(end, Handle)
        if depth > MAX_BACKLOGS:
            raise EncodeError("messages wait in ends in messages that wait in ends, too deep", path)
        end._check_open()
        backlog = []
        queue = queue_before(end._receive_core) if isinstance(end, Receiver) else None
        if queue is not None:
            for value in queue.backlog():
                ends, body = self.encode(value)
                backlog.append((body, self._plan(ends, depth + 1)))
        return Shipment(end, backlog)

    # --- 2. ship ----------------------------------------------------------------------------------

    def _write(self, stream: Stream, body: bytes | Pieces, shipments: list[Shipment]) -> None:
        outermost, self._shipping = not self._shipping, True
        try:
            entries = [(one.end.kind, self._ship(one, stream).id) for one in shipments]
            stream.outgoing.write(*frame(body, entries))
            # Only now: they may open more streams. A list, no recursion: each may begin with messages with ends.
            while outermost and self._relays:
                self._relay(*self._relays.popleft())
        finally:
            if outermost:
                self._shipping = False

    def _ship(self, shipment: Shipment, parent: Stream) -> Stream:
        end = shipment.end
        sending = end._send_core if isinstance(end, SendHandle) else None
        receiving = end._receive_core if isinstance(end, ReceiveHandle) else None
        for core in end._cores():
            core.loop.settle()  # nobody looks there any more
        opening = Opening(
            end.kind,
            parent=parent.id,
            capacity=end.capacity,
            size=receiving.bytes_left if receiving is not None else None,
            answer_size=sending.bytes_left if sending is not None else None,
            item_type=next((core.contract for core in end._cores() if core.contract is not None), None),
            trace=next((core.trace for core in end._cores() if core.trace is not None), None),
        )
        stream = self._mux.open(opening)
        stream.came_by(parent)
        if receiving is not None:
            self._receiver_left(receiving, shipment, stream)
        if sending is not None:
            self._sender_left(sending, stream)
        end._make_void(ChannelMoved)
        self._start(end)
        return stream

    def _receiver_left(self, core: ReceiveCore, shipment: Shipment, stream: Stream) -> None:
        """The receiver goes away: its senders here, and what comes from other sessions, are bound to the stream."""
        outlet = self._ways.outlet(stream)
        queue = queue_before(core)
        if queue is None:
            sender = SendCore(outlet, self._ways.loop, shares=0)
        else:
            sender = queue.sender
            for body, inner in shipment.backlog:
                self._write(stream, body, inner)
            if stream.is_bytes:
                for data in queue.backlog():
                    outlet.write(data)
            queue.leave_by(outlet, self._ways.loop)
        stream.outgoing.belongs_to(sender)
        feeds = [feed for feed in core.feeds if isinstance(feed, MessageFeed | ByteFeed)]
        sender.stand_for(core, relays=len(feeds))
        for feed in feeds:
            self._relays.append((feed, sender))
        sender.settle()

    def _sender_left(self, core: SendCore, stream: Stream) -> None:
        """A sender goes away: what it will send comes in by the stream."""
        feed = self._ways.feed(stream)
        queue = queue_behind(core)
        if not core.shares:
            feed.refuse(Reason("refused", "closed"))  # it has said before that nothing more comes
        elif queue is None:
            self._relays.append((feed, core))  # which has the share of the handle now
        else:
            self._receive_from(core, queue, feed)

    def _receive_from(self, core: SendCore, queue: MemoryQueue, feed: "MessageFeed | ByteFeed") -> None:
        """A clone of the sender of a queue sends by a stream from now on."""
        receiver = queue.receiver
        assert receiver is not None
        receiver.wait_in(self._ways.loop)
        core.wait_in(self._ways.loop)
        if queue.reason is not None:
            feed.refuse(queue.reason)  # it arrives as it is: over
        else:
            receiver.also_from(feed)
            queue.after(partial(feed.feed, receiver))  # what the clone sent before comes first
        core.release(END)

    def _relay(self, feed: MessageFeed | ByteFeed, core: SendCore) -> None:
        outlet = core.outlet
        if self._observer is not None and isinstance(outlet, StreamOutlet):
            self._observer.joined(feed.stream, outlet.stream)
        match feed, outlet:
            case MessageFeed(), MessageOutlet() as messages:
                Relay(feed, core, messages)
            case ByteFeed(), ByteOutlet() as bytes_:
                Relay(feed, core, bytes_)


def _count(shipments: list[Shipment]) -> int:
    return sum(1 + sum(_count(inner) for _, inner in one.backlog) for one in shipments)
