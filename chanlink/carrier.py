"""Ends that leave in messages and ends that arrive: cores are bound to streams here.

A message with ends goes out in two steps, so that a failure leaves everything as it was:

    1. plan     every end, and every end in the messages that wait in it, is checked and those messages are encoded.
                Anything may be refused here; nothing has been changed.
    2. ship     for each end a stream is opened, the core that stays is bound to it, and what waited is written to
                it. Nothing can fail here.

A message that comes in is decoded when the application takes it; the streams that its table names become ends then.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from . import codec
from .codec import Attachments, End
from .errors import END, ChannelClosed, ChannelMoved, DecodeError, EncodeError, Reason
from .handle import Handle
from .limits import Limits, PeerLimits
from .link import ByteLink, Link, MessageLink
from .mux import Mux
from .port import EMPTY, MOVED_ON, Offer, ReceiveCore, SendCore
from .stream import HAS_TABLE, Kind, Stream

MAX_BACKLOGS = 32
"""How deep ends may wait in the messages of ends that leave."""

MakeEnd = Callable[[Kind, SendCore | None, ReceiveCore | None], Handle]


class Shipment(NamedTuple):
    """One end that is about to leave, and the messages that wait in it, encoded."""

    end: Handle
    backlog: "list[tuple[bytes, list[Shipment]]]"


class Carrier:
    """Moves ends between this process and one session.

    `make_end` makes the handle for cores; `wrap` makes an end of a foreign stream (None for anything else) and
    `start` is called once such an end has left.
    """

    def __init__(
        self,
        mux: Mux,
        limits: Limits,
        peer_limits: PeerLimits,
        *,
        make_end: MakeEnd,
        wrap: codec.Wrap,
        start: Callable[[Handle], None],
    ) -> None:
        self.mux = mux
        self.limits = limits
        self.peer_limits = peer_limits
        self._make_end = make_end
        self._wrap = wrap
        self._start = start

    # --- going out --------------------------------------------------------------------------------

    def offer(self, value: Any) -> Offer:
        """Encode a message and lend its ends.  Raises `MessageError`, `ChannelClosed`, `anyio.BusyResourceError`."""
        ends, body = self._encode(value)
        return Offer(value, ends, leaving=True, body=body)

    def _encode(self, value: Any) -> tuple[Attachments, bytes]:
        ends = codec.find_ends(value, self.peer_limits, self._wrap)
        return ends, codec.encode(value, ends, self.peer_limits)

    def send(self, offer: Offer, stream: Stream) -> None:
        """Write a message to its stream; the ends in it move."""
        if offer.body is None:  # it was offered to a channel in memory, whose receiver has left since then
            offer.ends, offer.body = self._encode(offer.value)
        if not offer.ends:
            stream.write(codec.frame(offer.body))
            return
        shipments = self._plan(offer.ends)
        self.mux.check_open(_count(shipments))
        _check_links(shipments)
        offer.ends = {}
        self._write(stream, offer.body, shipments)

    def _plan(self, ends: Attachments, depth: int = 0) -> list[Shipment]:
        return [self._plan_end(end, path, depth) for end, path in ends.values()]

    def _plan_end(self, end: End, path: str, depth: int) -> Shipment:
        assert isinstance(end, Handle)
        if depth > MAX_BACKLOGS:
            raise EncodeError("messages wait in ends in messages that wait in ends, too deep", path)
        end.check_sendable(path)
        backlog = []
        for link in end.links(path):
            if isinstance(link, MessageLink) and link.receiver is end.receive_core:
                for value in link.values():
                    ends, body = self._encode(value)
                    backlog.append((body, self._plan(ends, depth + 1)))
        return Shipment(end, backlog)

    def _write(self, stream: Stream, body: bytes, shipments: list[Shipment]) -> None:
        entries = [(one.end.kind, self._ship(one, stream).id) for one in shipments]
        stream.write(codec.frame(body, entries))

    def _ship(self, shipment: Shipment, parent: Stream) -> Stream:
        end = shipment.end
        links = end.links()
        stream = self.mux.open(end.kind, parent=parent.id, capacity=links[0].capacity)
        if end.receive_core is not None:
            self._receiver_left(end.receive_core, shipment, stream)
        if end.send_core is not None:
            self._sender_left(end.send_core, stream)
        end.void(ChannelMoved)
        self._start(end)
        return stream

    def _receiver_left(self, core: ReceiveCore, shipment: Shipment, stream: Stream) -> None:
        """The receiving side of a link goes away: the sender that stays is bound to the stream."""
        for link in core.feeds:
            assert isinstance(link, Link)
            sender = link.sender
            assert sender is not None
            outlet = self.outlet(stream)
            link.receiver = None
            if link.reason is not None:  # it was refused before: the sender keeps that, and nothing comes here
                outlet.finish(END)
                continue
            for body, inner in shipment.backlog:
                self._write(stream, body, inner)
            if isinstance(link, ByteLink):
                for data in link.items:
                    stream.write(bytes(data))
            if link.finished is not None:
                outlet.finish(link.finished)
            stream.on_writable = sender.writable
            sender.rebind(outlet)

    def _sender_left(self, core: SendCore, stream: Stream) -> None:
        """The sending side of a link goes away: the receiver that stays takes from the stream, after the link."""
        link = core.outlet
        assert isinstance(link, Link)
        receiver = link.receiver
        assert receiver is not None
        feed = self.feed(stream)
        link.sender = None
        stream.on_readable = receiver.readable
        over = link.reason or link.finished
        if over is not None:  # it arrives as it is: over
            feed.refuse(Reason("refused", over.code or "closed", over.text))
            return
        link.finished = MOVED_ON
        receiver.feeds.append(feed)
        receiver.waiting.wake_all()

    # --- coming in --------------------------------------------------------------------------------

    def outlet(self, stream: Stream) -> "MessageOutlet | ByteOutlet":
        return ByteOutlet(stream) if stream.is_bytes else MessageOutlet(self, stream)

    def feed(self, stream: Stream) -> "MessageFeed | ByteFeed":
        return ByteFeed(stream) if stream.is_bytes else MessageFeed(self, stream)

    def adopt(self, stream: Stream) -> Handle:
        """Make the end that a stream is for: of one that the peer opened, or of a top-level one of ours."""
        send_core = receive_core = None
        if stream.carries_out:
            send_core = SendCore(self.outlet(stream))
            stream.on_writable = send_core.writable
        if stream.carries_in:
            receive_core = ReceiveCore(self.feed(stream))
            stream.on_readable = receive_core.readable
        kind: Kind = "bytes" if stream.is_bytes else "sender" if stream.carries_out else "receiver"
        return self._make_end(kind, send_core, receive_core)

    def decode(self, stream: Stream, head: int, payload: bytes) -> object:
        """The value of a message of `stream`.  Raises `DecodeError`; none of its ends is left then."""
        claimed: dict[int, Stream] = {}
        unmade: dict[int, Stream] = {}

        def claim(kind: Kind, stream_id: int) -> Callable[[], End] | None:
            child = self.mux.claim(stream, kind, stream_id)
            if child is None:
                return None
            claimed[stream_id] = unmade[stream_id] = child
            return partial(make, child)

        def make(child: Stream) -> End:
            del unmade[child.id]
            return self.adopt(child)

        try:
            value = codec.decode(head, payload, self.limits, claim)
        except DecodeError:
            _discard(claimed.values(), "bad-message")
            raise
        _discard(unmade.values(), "not-taken")
        return value

    def revoke(self, allows: Callable[[str], bool]) -> None:
        """The peer may use only these services from now on: both sides of its streams for others are told so."""
        for stream in list(self.mux.streams.values()):
            if stream.ours or stream.service is None or allows(stream.service):
                continue
            if stream.carries_in:
                stream.reject("revoked", "")
            if stream.carries_out and stream.out_reason is None:
                stream.fail("revoked")
                stream.out_reason = Reason("refused", "revoked")  # for who sends here, and did not close it
                stream.on_writable()


def _discard(streams: Iterable[Stream], code: str) -> None:
    for stream in streams:
        stream.discard(code)


def _count(shipments: list[Shipment]) -> int:
    return sum(1 + sum(_count(inner) for _, inner in one.backlog) for one in shipments)


def _check_links(shipments: list[Shipment]) -> None:
    """Both ends of one channel can't leave together: nobody would stay to join them."""
    seen: set[int] = set()

    def visit(some: list[Shipment]) -> None:
        for one in some:
            links = {id(link) for link in one.end.links()}
            if links & seen:
                raise EncodeError("both ends of a channel can't be sent away; keep one")
            seen.update(links)
            for _, inner in one.backlog:
                visit(inner)

    visit(shipments)


# --- outlets and feeds on a stream ----------------------------------------------------------------


class _StreamOutlet:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.capacity = stream.capacity

    @property
    def reason(self) -> Reason | None:
        reason = self.stream.out_reason
        return reason if reason is not None and reason.kind in ("refused", "lost") else self._gone()

    def _gone(self) -> Reason | None:
        # A sender whose last message was taken has lost nothing, but whoever waits for a byte stream's reader has.
        return self.stream.gone if self.stream.is_bytes else None

    @property
    def sent(self) -> int:
        return self.stream.sent

    @property
    def taken(self) -> int:
        return self.stream.peer_taken

    def finish(self, reason: Reason) -> None:
        if reason.kind == "end":
            self.stream.end()
        else:
            self.stream.fail(reason.code, reason.text)

    def _accepts(self) -> bool:
        stream = self.stream
        if self.reason is not None:
            raise self.reason.error(stream.peer_taken)
        if stream.out_reason is not None:
            raise ChannelClosed("this end has said that nothing more comes")
        return stream.room()


class MessageOutlet(_StreamOutlet):
    """Messages to a stream."""

    def __init__(self, carrier: Carrier, stream: Stream) -> None:
        super().__init__(stream)
        self._carrier = carrier

    def prepare(self, value: Any) -> Offer:
        return self._carrier.offer(value)

    def commit(self, offer: Offer) -> bool:
        if not self._accepts():
            return False
        self._carrier.send(offer, self.stream)
        return True


class ByteOutlet(_StreamOutlet):
    """Bytes to a stream."""

    def prepare(self, value: bytes) -> bytes:
        return value

    def commit(self, offer: bytes) -> bool:
        if not self._accepts():
            return False
        self.stream.write(offer)
        return True


class _StreamFeed:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    @property
    def taken(self) -> int:
        return self.stream.taken_count

    def over(self) -> Reason | None:
        return self.stream.exhausted()

    def refuse(self, reason: Reason) -> None:
        self.stream.refuse(reason.code, reason.text)


class MessageFeed(_StreamFeed):
    """Messages from a stream."""

    def __init__(self, carrier: Carrier, stream: Stream) -> None:
        super().__init__(stream)
        self._carrier = carrier

    def take(self, limit: int) -> Any:
        message = self.stream.next_message()
        if message is None:
            return EMPTY
        head, payload = message
        try:
            if head & HAS_TABLE:
                value = self._carrier.decode(self.stream, head, payload)
            else:
                value = codec.decode(head, payload, self._carrier.limits, _nothing_to_claim)
        except DecodeError as exc:
            self.stream.reject("bad-message", str(exc))
            raise
        self.stream.taken(len(payload))
        return value


def _nothing_to_claim(kind: Kind, stream_id: int) -> None:
    return None


class ByteFeed(_StreamFeed):
    """Bytes from a stream."""

    def take(self, limit: int) -> Any:
        data = self.stream.read(limit)
        if not data:
            return EMPTY
        self.stream.consumed(len(data))
        return data
