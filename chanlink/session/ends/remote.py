"""Streams of a session as the outlets and feeds of cores (cores.py), and as the two sides of a relay (relay.py).

Whole: outlets and feeds are each other's mirror.
"""

import abc
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from chanlink import clock
from chanlink.channels.cores import Converter, ReceiveCore
from chanlink.channels.encoded import Encoded
from chanlink.channels.handle import Handle
from chanlink.channels.offers import Offer
from chanlink.channels.typed import take_ends
from chanlink.channels.values import Attachments, Kind
from chanlink.channels.waiting import EMPTY, Loop, Waiter
from chanlink.errors import ChanlinkError, ChannelClosed, DecodeError, Reason
from chanlink.instrument import Instruments
from chanlink.limits import Limits
from chanlink.wire.incoming import Reader
from chanlink.wire.messages.encode import frame
from chanlink.wire.messages.framing import HAS_TABLE
from chanlink.wire.messages.pieces import Pieces
from chanlink.wire.stream import Stream

RELAYED_BYTES = 64 * 1024
"""What a relay moves at a time of a byte stream."""
MAX_UNDER_WAY = 4_096
"""Messages that a relay has passed on and that were not taken: of each the size is remembered, however short it is."""
BYTES_A_STEP, STEPS_A_SECOND = 1_024, 12_800
"""A longer message counts as more of the steps after which a task lets others run: by its length, and by how long it
took to decode (a turn is ten milliseconds), which has little to do with that if its keys were chosen to be slow."""


class Departing(Protocol):
    """What an outlet wants of the session that it leads to: `Departures`."""

    encode_plain: Callable[[Any], bytes | Pieces | None]
    instruments: Instruments | None

    def encode(self, value: Any) -> tuple[Attachments, bytes | Pieces]: ...
    def send(self, offer: Offer, stream: Stream) -> None: ...
    def pass_on(
        self, outlet: "MessageOutlet", head: int, payload: bytes | Pieces, *, origin: "Arriving", source: Stream
    ) -> None: ...


class Arriving(Protocol):
    """What a feed wants of the session that it belongs to: `Arrivals`."""

    limits: Limits
    instruments: Instruments | None

    def decode(self, stream: Stream, head: int, payload: bytes | Pieces) -> object: ...
    def adopt_entries(self, source: Stream, entries: list[tuple[Kind, int]]) -> list[Handle]: ...


class Ways(Protocol):
    """What makes the outlets and feeds of a session's streams: `Ends`."""

    loop: Loop

    def outlet(self, stream: Stream) -> "MessageOutlet | ByteOutlet": ...
    def feed(self, stream: Stream) -> "MessageFeed | ByteFeed": ...


# --- outlets --------------------------------------------------------------------------------------


class StreamOutlet:
    """What both kinds of outlets have in common."""

    __slots__ = ("converter", "outgoing", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.outgoing = stream.outgoing
        self.converter: Converter | None = None

    def converts_by(self, converter: Converter) -> None:
        """As an `Outlet`."""
        self.converter = converter

    @property
    def reason(self) -> Reason | None:
        reason = self.stream.out_reason
        if reason is not None and reason is not self.stream.our_reason and reason.kind in ("refused", "lost"):
            return reason
        return self._gone()

    def _gone(self) -> Reason | None:
        # Losing the session matters to a byte stream even after its last byte; to a channel, only before its last
        # message was taken.
        return self.stream.reader_gone if self.stream.is_bytes else None

    @property
    def capacity(self) -> int | None:
        return self.outgoing.capacity

    @property
    def service(self) -> str | None:
        return self.stream.service

    @property
    def contract(self) -> bytes | None:
        return self.stream.opening.item_type

    @property
    def trace(self) -> bytes | None:
        return self.stream.opening.trace or b""  # what goes on belongs to nothing that is done here

    @property
    def instruments(self) -> Instruments | None:
        return None  # there are no calls by bytes

    @property
    def sent(self) -> int:
        return self.outgoing.sent

    @property
    def taken(self) -> int:
        return self.outgoing.peer_taken

    @property
    def queued(self) -> int:
        return self.outgoing.queued

    @property
    def credit(self) -> int:
        return self.outgoing.credit - self.outgoing.queued

    @property
    def meets(self) -> None:
        return None

    def stand(self, offer: Offer, waiter: Waiter) -> None:
        """As an `Outlet`; the far side does not take from here."""

    def withdraw(self, offer: Offer) -> None:
        """As an `Outlet`."""

    def failing(self, reason: Reason) -> None:
        """As an `Outlet`; the far side learns it at the end."""

    def finish(self, reason: Reason) -> None:
        self.stream.finish(reason)

    def spoil(self, reason: Reason) -> None:
        """What was accepted can't be sent after all: the channel fails, also instead of an end that has not left."""
        self.stream.spoil(reason)

    def has_room(self) -> bool:
        """As a `RelayOutlet`."""
        return self.outgoing.can_write()

    def can_accept(self) -> bool:
        """Whether nothing is over, and there is room."""
        return self.stream.out_reason is None and self.outgoing.can_write()

    def check_open(self) -> None:
        """Raise why nothing can be sent any more, if so."""
        if self.stream.out_reason is not None and self.stream.out_reason is self.stream.our_reason:
            raise ChannelClosed("this end has said that nothing more comes")
        if self.reason is not None:
            raise self.reason.error(self.outgoing.peer_taken)


class MessageOutlet(StreamOutlet):
    """Messages to a stream."""

    __slots__ = ("departures",)

    def __init__(self, stream: Stream, departures: Departing) -> None:
        super().__init__(stream)
        self.departures = departures

    @property
    def instruments(self) -> Instruments | None:
        return self.departures.instruments

    def post(self, value: Any) -> bool:
        if self.outgoing.capacity == 0 or not self.can_accept():
            return False
        if self.converter is not None:
            value = self._plain(value)
        body = self.departures.encode_plain(value)
        if body is None:
            if type(value) is not Encoded:
                return False
            _, body = self.departures.encode(value)
        self.outgoing.write(*frame(body))
        return True

    def prepare(self, value: Any) -> Offer:
        """Encode a message and lend its ends. Raises `MessageError`, `ChannelClosed`, `anyio.BusyResourceError`."""
        value = self._plain(value)
        ends, body = self.departures.encode(value)
        return Offer(value, ends, body=body)

    def _plain(self, value: Any) -> Any:
        return value if self.converter is None or isinstance(value, Encoded) else self.converter.outgoing(value)

    def commit(self, offer: Offer) -> bool:
        if not self.can_accept():
            self.check_open()
            return False
        self._send(offer)
        return True

    def _send(self, offer: Offer) -> None:
        if offer.body is None:  # it was offered to a channel in memory, whose receiver has left since then
            offer.encoded(*self.departures.encode(self._plain(offer.value)))
        if offer.ends:
            self.departures.send(offer, self.stream)
        else:
            self.outgoing.write(*frame(offer.body))

    def write(self, value: Any) -> None:
        """Send a message that was accepted before this was its outlet. Raises `ChanlinkError`."""
        if self.reason is not None:
            raise self.reason.error(self.taken)
        self._send(self.prepare(value))

    @property
    def position(self) -> int:
        """As a `RelayOutlet`."""
        return self.outgoing.sent

    @property
    def progress(self) -> int:
        """As a `RelayOutlet`."""
        return self.outgoing.peer_taken

    @property
    def is_estimate(self) -> bool:
        return False


class ByteOutlet(StreamOutlet):
    """Bytes to a stream."""

    __slots__ = ()

    def post(self, value: bytes) -> bool:
        if not self.can_accept():
            return False
        self.outgoing.write(value)
        return True

    def can_accept(self) -> bool:
        stream = self.stream
        return stream.out_reason is None and stream.reader_gone is None and self.outgoing.can_write()

    def prepare(self, value: bytes) -> Offer:
        return Offer(value, {})

    def commit(self, offer: Offer) -> bool:
        self.check_open()
        return self.post(offer.value)

    def write(self, value: bytes) -> None:
        """Send bytes that were accepted before this was the outlet."""
        self.outgoing.write(value)

    @property
    def position(self) -> int:
        """As a `RelayOutlet`."""
        return self.outgoing.sent_bytes

    @property
    def progress(self) -> int:
        """As a `RelayOutlet`. A window that grows runs ahead of what was taken, by as much as it grows."""
        return self.outgoing.returned + self.outgoing.uncredited

    @property
    def is_estimate(self) -> bool:
        return True


# --- feeds ----------------------------------------------------------------------------------------


class StreamFeed(abc.ABC):
    """What both kinds of feeds have in common."""

    __slots__ = ("core", "incoming", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.incoming = stream.incoming

    @property
    def service(self) -> str | None:
        return self.stream.service

    @property
    def contract(self) -> bytes | None:
        return self.stream.opening.item_type

    @property
    def trace(self) -> bytes | None:
        return self.stream.opening.trace or b""  # what goes on belongs to nothing that is done here

    @property
    def instruments(self) -> Instruments | None:
        return None  # there are no calls by bytes

    @property
    def taken(self) -> int:
        return self.incoming.taken_count

    @property
    def queued(self) -> int:
        return self.incoming.size

    @property
    def drained(self) -> bool:
        return self.stream.in_reason is not None and not self.incoming.size

    def over(self) -> Reason | None:
        return self.stream.exhausted()

    def refuse(self, reason: Reason) -> None:
        self.stream.refuse(reason)

    def feed(self, core: ReceiveCore) -> None:
        """Tell this core when something has come."""
        self.core = core
        self.incoming.belongs_to(self)
        if self.incoming.size or self.stream.in_reason is not None:
            self.readable()

    def readable(self) -> None:
        self.core.readable(self)

    @abc.abstractmethod
    def take(self, limit: int) -> Any:
        """As a `Feed`."""

    def relayed_by(self, relay: Reader) -> None:
        """Tell this one, and no core, when something has changed."""
        self.incoming.belongs_to(relay)


class MessageFeed(StreamFeed):
    """Messages from a stream."""

    __slots__ = ("_arrivals", "_passed")

    def __init__(self, stream: Stream, arrivals: Arriving) -> None:
        super().__init__(stream)
        self._arrivals = arrivals
        self._passed: deque[int] | None = None
        """The sizes of messages that went on and were not taken; there is none before a relay."""

    @property
    def instruments(self) -> Instruments | None:
        return self._arrivals.instruments

    def take(self, limit: int) -> Any:
        message = self.incoming.next_message()
        if message is None:
            return EMPTY
        head, payload = message
        size = len(payload)
        began = clock.now() if size >= BYTES_A_STEP else 0.0
        try:
            value = self._arrivals.decode(self.stream, head, payload)
        except DecodeError as exc:
            self.incoming.let_go()
            self.stream.reject("bad-message", str(exc))
            raise
        if size >= BYTES_A_STEP:
            self.core.worked(size // BYTES_A_STEP + int((clock.now() - began) * STEPS_A_SECOND))
        self.incoming.took_message(size)
        converter = self.core.converter
        return value if converter is None else self._object(converter, value, size, with_ends=bool(head & HAS_TABLE))

    def _object(self, converter: Converter, value: Any, size: int, *, with_ends: bool) -> Any:
        """What a message of a typed channel becomes. It was taken, and so were its ends, whatever comes of it."""
        began = clock.now() if size >= BYTES_A_STEP else 0.0
        try:
            return take_ends(converter, value) if with_ends else converter.incoming(value)
        except DecodeError as exc:
            self.stream.reject("bad-message", str(exc))
            raise
        except Exception:
            self.core.readable(self)  # there may be more, for the next one who waits
            raise
        finally:
            if size >= BYTES_A_STEP:
                self.core.worked(int((clock.now() - began) * STEPS_A_SECOND))

    # --- as the source of a relay ---

    def ready(self) -> bool:
        if self._passed is not None and len(self._passed) >= MAX_UNDER_WAY:
            return False
        return self.incoming.message_ready()

    def forward(self, outlet: MessageOutlet) -> int:
        if self._passed is None:
            self._passed = deque()
        message = self.incoming.next_message()
        assert message is not None
        head, payload = message
        try:
            outlet.departures.pass_on(outlet, head, payload, origin=self._arrivals, source=self.stream)
        except ChanlinkError:
            self.incoming.let_go()
            raise
        self._passed.append(len(payload))
        return 1

    def forwarded(self, count: int) -> None:
        while count and self._passed:  # with the first of them, the source may turn out to be over
            count -= 1
            self.incoming.took_message(self._passed.popleft())

    def dropped(self) -> None:
        while self._passed:
            self._passed.popleft()
            self.incoming.let_go()


class ByteFeed(StreamFeed):
    """Bytes from a stream."""

    __slots__ = ()

    def take(self, limit: int) -> Any:
        data = self.incoming.read(limit)
        if not data:
            return EMPTY
        self.incoming.took_bytes(len(data))
        return data

    # --- as the source of a relay ---

    def ready(self) -> bool:
        return self.incoming.size > 0

    def forward(self, outlet: ByteOutlet) -> int:
        data = self.incoming.read(RELAYED_BYTES)
        outlet.outgoing.write(data)
        return len(data)

    def forwarded(self, count: int) -> None:
        self.incoming.took_bytes(count)

    def dropped(self) -> None:
        """Bytes that were read are within the next session's bounds."""
