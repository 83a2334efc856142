"""What a session is doing just now.

It reads what sessions, streams and cores keep for themselves; nothing is counted for it, so that it costs nothing
until somebody asks. Names of peers and services are told, contents are not.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from chanlink.channels.cores import ReceiveCore, SendCore
from chanlink.session.ends.relay import Relay
from chanlink.session.ends.remote import ByteFeed, MessageFeed
from chanlink.wire.stream import Stream

from .session import Session, Side
from .telling import end_of

MOST_CHANNELS = 1_000
"""Of one session in a report, so that it is one message of some 300 KB at most."""

Wait = Literal["credit", "capacity", "peer-sends", "we-take"]


class ChannelState(NamedTuple):
    """A channel or byte stream of a session, as this side sees it."""

    id: int
    """Of its stream (protocol section 4)."""
    parent: int | None
    """The id of the channel in a message of which it travelled."""
    service: str | None
    """Of one that was opened to a service."""
    end: str
    """What this side has: ``sender``, ``receiver`` or ``bytes``."""
    ours: bool
    """Whether this side has opened it."""
    capacity: int | None
    """Messages that may be sent and not yet taken; `None` where only the windows of bytes bound them."""
    sent: int
    """Messages accepted here; bytes of a byte stream."""
    untaken: int
    """Of those messages, the ones that the peer is not known to have taken."""
    queued: int
    """Bytes that were accepted here and have not left."""
    credit: int
    """Bytes that may leave before the peer takes something."""
    taken: int
    """Messages taken here; bytes of a byte stream."""
    arrived: int
    """Bytes that have arrived and were not taken."""
    window: int
    """How many may arrive before this side takes something."""
    sending: int
    """How many wait here to send."""
    receiving: int
    """How many wait here to receive."""
    relayed: bool
    """Whether it goes on over another session."""
    waits: tuple[Wait, ...]
    """Who waits for whom: this side for ``credit``, or for a place within the ``capacity``, both of which come when the
    peer takes something; this side to receive (``peer-sends``); the peer until this side takes (``we-take``)."""


class SessionState(NamedTuple):
    """A session, as this side sees it."""

    peer: str
    """The name that this side knows it by."""
    key: str
    """Its fingerprint; empty for a session without keys."""
    address: str
    """As `Peer.address`."""
    suite: str
    """The record suite; empty for a session without keys."""
    age: float
    """Seconds."""
    volume: int
    """Bytes of both directions, as they are on the wire."""
    round_trip: float
    """Seconds, as measured last."""
    unaccepted: int
    """Channels of the peer that wait for `Session.accept`."""
    budget: int
    """Bytes by which windows may still grow."""
    channels: tuple[ChannelState, ...]
    """The first `MOST_CHANNELS` of them."""
    left_out: int
    """How many more there are."""
    id: str
    """The same on both sides; empty for a session in the clear."""
    side: Side
    """Which of the two this side is."""

    def to_map(self) -> dict[str, Any]:
        """As it travels in a message, and as ``chanlink top --json`` prints it."""
        channels = [{**one._asdict(), "waits": list(one.waits)} for one in self.channels]
        return {**self._asdict(), "channels": channels}


def snapshot(session: Session) -> SessionState:
    """What a session is doing now; takes some microseconds for each channel."""
    streams = list(session._mux.streams.values())
    statistics = session.statistics()
    peer = session.peer
    return SessionState(
        peer.name,
        peer.key.fingerprint if peer.key is not None else "",
        peer.address,
        session.suite,
        statistics.age,
        statistics.volume,
        statistics.round_trip,
        statistics.unaccepted,
        statistics.budget,
        tuple(_channel(stream) for stream in streams[:MOST_CHANNELS]),
        max(0, len(streams) - MOST_CHANNELS),
        session.id,
        session._side,
    )


def _channel(stream: Stream) -> ChannelState:
    sending = _sending(stream)
    receiver = _receiver(stream)
    receiving = len(receiver.receivers) if isinstance(receiver, ReceiveCore) else 0
    taken = receiver.bytes if isinstance(receiver, ReceiveCore) else 0
    return ChannelState(
        stream.id,
        stream.parent,
        stream.opening.service,
        end_of(stream),
        stream.ours,
        stream.capacity,
        *_out(stream),
        taken if stream.is_bytes or not stream.carries_in else stream.incoming.taken_count,
        stream.incoming.size if stream.carries_in else 0,
        stream.incoming.window.size if stream.carries_in else 0,
        sending,
        receiving,
        isinstance(receiver, Relay),
        tuple(_waits(stream, sending, receiving)),
    )


def _sending(stream: Stream) -> int:
    """How many wait to send on it."""
    owner = stream.outgoing.owner if stream.carries_out else None
    return len(owner.senders) if isinstance(owner, SendCore) else 0


def _out(stream: Stream) -> tuple[int, int, int, int]:
    """What was sent, was not taken, is queued, and may still leave."""
    if not stream.carries_out:
        return 0, 0, 0, 0
    out = stream.outgoing
    sent, untaken = (out.sent_bytes, 0) if stream.is_bytes else (out.sent, out.sent - out.peer_taken)
    return sent, untaken, out.queued, max(0, out.credit - out.queued)


def _receiver(stream: Stream) -> object:
    """The core that takes from it, or the relay."""
    owner = stream.incoming.owner if stream.carries_in else None
    return owner.core if isinstance(owner, MessageFeed | ByteFeed) else owner


def _waits(stream: Stream, sending: int, receiving: int) -> Iterator[Wait]:
    if stream.carries_out:
        out = stream.outgoing
        full = out.capacity is not None and out.sent - out.peer_taken >= max(out.capacity, 1)
        if full and (sending or out.capacity == 0):  # whoever has sent at a rendezvous waits until that is taken
            yield "capacity"
        elif sending and not out.can_write():
            yield "credit"
    if stream.carries_in and stream.in_reason is None:
        inbox = stream.incoming
        if receiving and not inbox.size:
            yield "peer-sends"
        if inbox.size and not receiving:
            single = inbox.capacity is not None and inbox.capacity <= 1  # how many messages wait, nobody has counted
            if single or inbox.window.full(inbox.size):
                yield "we-take"
