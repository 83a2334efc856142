"""Ends that leave in messages and ends that arrive: cores are bound to streams here.

A message with ends goes out in two steps, so that a failure leaves everything as it was:

    1. plan     every end, and every end in the messages that wait in it, is checked and those messages are encoded.
                Anything may be refused here; nothing has been changed.
    2. ship     for each end a stream is opened, what waited in the end is written to it, and the cores that stay are
                bound to it. What came here over a session goes on by a relay. Nothing can fail here.

A message that comes in is decoded when the application takes it; the streams that its table names become ends then.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Receiver, Sender
from chanlink.channels.cores import ReceiveCore, SendCore
from chanlink.channels.handle import Handle, ReceiveHandle, SendHandle
from chanlink.channels.memory import MemoryQueue, queue_before, queue_behind
from chanlink.channels.offers import Offer
from chanlink.channels.values import Attachments, End, Kind, Wrap, find_ends
from chanlink.channels.waiting import Loop
from chanlink.errors import END, ChannelMoved, DecodeError, EncodeError, LimitReached, MessageTooLarge, Reason
from chanlink.limits import Limits, PeerLimits
from chanlink.wire.messages.decode import decode
from chanlink.wire.messages.encode import PlainEncoder, encode
from chanlink.wire.messages.framing import HAS_TABLE, MESSAGE_HEADER, frame, read_table
from chanlink.wire.messages.pieces import Pieces
from chanlink.wire.multiplexer import Multiplexer
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .relay import Relay
from .remote import ByteFeed, ByteOutlet, MessageFeed, MessageOutlet, StreamFeed, StreamOutlet

LONG = 8 * 1024
"""From this size on the body of a message is not copied behind its header."""
MAX_BACKLOGS = 32
"""How deep ends may wait in the messages of ends that leave."""


class Shipment(NamedTuple):
    """One end that is about to leave, and the messages that wait in it, encoded."""

    end: Handle
    backlog: "list[tuple[bytes | Pieces, list[Shipment]]]"


class Carrier:
    """Moves ends between this process and one session.

    `wrap` makes an end of a foreign stream (None for anything else), and `start` is called once such an end has left;
    `before_wait` is called before somebody waits at one of the ends.
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
    ) -> None:
        self.mux = mux
        self.limits = limits
        self.peer_limits = peer_limits
        self.loop = Loop(before_wait)
        self._encode_plain = PlainEncoder(peer_limits).encode
        self._relays: deque[tuple[MessageFeed | ByteFeed, SendCore]] = deque()
        self._shipping = False
        self._wrap = wrap
        self._start = start

    # --- going out --------------------------------------------------------------------------------

    def post(self, value: Any, stream: Stream) -> bool:
        """Write a message of plain values to its stream; False for any other."""
        body = self._encode_plain(value)
        if body is None:
            return False
        _write_body(stream, body)
        return True

    def offer(self, value: Any) -> Offer:
        """Encode a message and lend its ends.  Raises `MessageError`, `ChannelClosed`, `anyio.BusyResourceError`."""
        ends, body = self._encode(value)
        return Offer(value, ends, body=body)

    def _encode(self, value: Any) -> tuple[Attachments, bytes | Pieces]:
        ends = find_ends(value, self.peer_limits, self._wrap)
        return ends, encode(value, ends, self.peer_limits)

    def send(self, offer: Offer, stream: Stream) -> None:
        """Write a message to its stream; the ends in it move."""
        if offer.body is None:  # it was offered to a channel in memory, whose receiver has left since then
            offer.encoded(*self._encode(offer.value))
        if not offer.ends:
            _write_body(stream, offer.body)
            return
        shipments = self._plan(offer.ends)
        self.mux.check_open(_count(shipments))
        offer.take_ends()
        self._write(stream, offer.body, shipments)

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
                ends, body = self._encode(value)
                backlog.append((body, self._plan(ends, depth + 1)))
        return Shipment(end, backlog)

    def _write(self, stream: Stream, body: bytes | Pieces, shipments: list[Shipment]) -> None:
        outermost, self._shipping = not self._shipping, True
        try:
            entries = [(one.end.kind, self._ship(one, stream).id) for one in shipments]
            stream.outgoing.write(*frame(body, entries))
            # Only now: they may open more streams. A list, no recursion: each may begin with messages with ends.
            while outermost and self._relays:
                _relay(*self._relays.popleft())
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
            item_type=_item_type(end),
        )
        stream = self.mux.open(opening, parent.root_service)
        if receiving is not None:
            self._receiver_left(receiving, shipment, stream)
        if sending is not None:
            self._sender_left(sending, stream)
        end._make_void(ChannelMoved)
        self._start(end)
        return stream

    def _receiver_left(self, core: ReceiveCore, shipment: Shipment, stream: Stream) -> None:
        """The receiver goes away: its senders here, and what comes from other sessions, are bound to the stream."""
        outlet = self.outlet(stream)
        queue = queue_before(core)
        if queue is None:
            sender = SendCore(outlet, self.loop, shares=0)
        else:
            sender = queue.sender
            for body, inner in shipment.backlog:
                self._write(stream, body, inner)
            if stream.is_bytes:
                for data in queue.backlog():
                    outlet.write(data)
            queue.leave_by(outlet, self.loop)
        stream.outgoing.belongs_to(sender)
        feeds = [feed for feed in core.feeds if isinstance(feed, MessageFeed | ByteFeed)]
        sender.stand_for(core, relays=len(feeds))
        for feed in feeds:
            self._relays.append((feed, sender))
        sender.settle()

    def _sender_left(self, core: SendCore, stream: Stream) -> None:
        """A sender goes away: what it will send comes in by the stream."""
        feed = self.feed(stream)
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
        receiver.wait_in(self.loop)
        core.wait_in(self.loop)
        if queue.reason is not None:
            feed.refuse(queue.reason)  # it arrives as it is: over
        else:
            receiver.also_from(feed)
            queue.after(partial(feed.feed, receiver))  # what the clone sent before comes first
        core.release(END)

    # --- coming in --------------------------------------------------------------------------------

    def outlet(self, stream: Stream) -> "MessageOutlet | ByteOutlet":
        return ByteOutlet(stream) if stream.is_bytes else MessageOutlet(self, stream)

    def feed(self, stream: Stream) -> "MessageFeed | ByteFeed":
        return ByteFeed(stream) if stream.is_bytes else MessageFeed(self, stream)

    def adopt(self, stream: Stream) -> Handle:
        """Make the end that a stream is for: of one that the peer opened, or of a top-level one of ours."""
        if not stream.is_bytes:
            return Sender(self._sends(stream)) if stream.carries_out else Receiver(self._receives(stream))
        sizes = stream.opening.size, stream.opening.answer_size
        size, answer_size = sizes if stream.ours else reversed(sizes)
        return ByteStream(self._sends(stream, size), self._receives(stream, answer_size))

    def _sends(self, stream: Stream, size: int | None = None) -> SendCore:
        core = SendCore(self.outlet(stream), self.loop, size=size)
        stream.outgoing.belongs_to(core)
        return core

    def _receives(self, stream: Stream, size: int | None = None) -> ReceiveCore:
        core, feed = ReceiveCore(self.loop, stream.capacity, size=size), self.feed(stream)
        core.also_from(feed)
        feed.feed(core)
        return core

    def decode(self, stream: Stream, head: int, payload: bytes | Pieces) -> object:
        """The value of a message of `stream`.  Raises `DecodeError`; none of its ends is left then."""
        if not head & HAS_TABLE:
            return decode(head, payload, self.limits, _nothing_to_claim)
        unmade: dict[int, Stream] = {}
        made: list[Handle] = []

        def claim(kind: Kind, stream_id: int) -> Callable[[], End] | None:
            child = self.mux.claim(stream, kind, stream_id)
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

    # --- passing on -------------------------------------------------------------------------------

    def pass_on(self, stream: Stream, head: int, payload: bytes | Pieces, *, origin: "Carrier", source: Stream) -> None:
        """Write to `stream` a message that came in on the `source` of another session, unread; its ends go on, too.

        Raises `MessageTooLarge`, `LimitReached`, `SessionClosed`, `DecodeError`; nothing was written then.
        """
        if len(payload) > self.peer_limits.message_size:
            raise MessageTooLarge(f"the message has {len(payload)} bytes, the next peer takes less")
        if not head & HAS_TABLE:
            _write_body(stream, payload)
            return
        entries, body = read_table(payload, origin.limits)
        if len(entries) > self.peer_limits.message_ends:
            raise LimitReached("message_ends", self.peer_limits.message_ends)
        self.mux.check_open(len(entries))
        ends = origin.adopt_entries(source, entries)
        self._write(stream, body, [Shipment(end, []) for end in ends])

    def adopt_entries(self, source: Stream, entries: list[tuple[Kind, int]]) -> list[Handle]:
        """The ends that a table names.  Raises `DecodeError`; none of them is left then."""
        claimed: list[Stream] = []
        for kind, stream_id in entries:
            child = self.mux.claim(source, kind, stream_id)
            if child is None:
                lie = "a table that names what was not opened for it"
                _discard(claimed, "bad-message", lie)
                raise DecodeError(lie)
            claimed.append(child)
        return [self.adopt(child) for child in claimed]

    def revoke(self, allows: Callable[[str], bool]) -> None:
        """The peer may use only these services from now on: what came by others, at any depth, is over."""
        for stream in reversed(list(self.mux.streams.values())):  # nested ones first: they are told why, too
            if stream.root_service is not None and not allows(stream.root_service):
                _revoke(stream)


def _revoke(stream: Stream) -> None:
    """Tell both sides, and drop what waits here for either, also behind an end that has not left."""
    refusal = Reason("refused", "revoked", "the service that this came by may not be used any more")
    if stream.carries_in:
        stream.reject(refusal.code, refusal.text)
    if stream.carries_out and not stream.out_ended:
        stream.refused(refusal)
        stream.out_reason = None
        stream.finish(Reason("failed", refusal.code, refusal.text))
        stream.out_reason = refusal  # for who sends here


def _write_body(stream: Stream, body: bytes | Pieces) -> None:
    """Write a message without ends."""
    if type(body) is bytes and len(body) < LONG:
        stream.outgoing.write(MESSAGE_HEADER.pack(len(body)) + body)
    else:
        stream.outgoing.write(*frame(body))


def _nothing_to_claim(kind: Kind, stream_id: int) -> None:
    return None


def _relay(feed: MessageFeed | ByteFeed, core: SendCore) -> None:
    match feed, core.outlet:
        case MessageFeed(), MessageOutlet() as messages:
            Relay(feed, core, messages)
        case ByteFeed(), ByteOutlet() as bytes_:
            Relay(feed, core, bytes_)


def _item_type(end: Handle) -> bytes | None:
    """What the process that made this end has said of its items, if it has come by a stream."""
    ways: list[object] = [end._send_core.outlet] if isinstance(end, SendHandle) else []
    ways += end._receive_core.feeds if isinstance(end, ReceiveHandle) else []
    streams = (way.stream for way in ways if isinstance(way, StreamOutlet | StreamFeed))
    return next((stream.opening.item_type for stream in streams if stream.opening.item_type is not None), None)


def _discard(streams: Iterable[Stream], code: str, text: str) -> None:
    for stream in streams:
        stream.discard(code, text)


def _count(shipments: list[Shipment]) -> int:
    return sum(1 + sum(_count(inner) for _, inner in one.backlog) for one in shipments)
