"""The multiplexer: streams over one HTTP/2 connection, in turn (protocol sections 4 to 7). No I/O, no clock.

The way of a message, in the order of the functions below:

    out  1. `open` makes a stream; its HEADERS frame leaves before any DATA of the same turn, so that
            a stream is always opened before it is mentioned.
         2. `Outgoing.write` queues a message and marks the stream active.
         3. `data_to_send` makes the frames of one turn: openings, then credit and taken counts, then DATA
            of the active streams in turn, one frame each, as far as their credit goes. Nobody else makes frames.
    in   4. `receive_data` cuts frames and brings them to the inbox of their stream, and there they stop.
         5. `Incoming.next_message`, then `took_message`: the credit leaves with the next turn.

Half-states are our own (stream.py): h2 closes a stream without a word when it is asked for something illegal, so it is
only asked for what is legal.

What a peer can make us keep is bounded: the streams by `Limits.open_channels`, each inbox by its window, and all that
goes beyond by one budget of the session (credit.py).

Whole: it reads in the order of a message's way.
"""

import struct
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

import h2.events as ev
import h2.exceptions

from chanlink.channels.values import Kind
from chanlink.errors import (
    END,
    ChannelRefused,
    LimitReached,
    LocalProtocolError,
    Reason,
    RemoteProtocolError,
    SessionClosed,
    SessionError,
    not_taken,
)
from chanlink.features import FEATURES, TOP_LEVEL_DRAIN, TRACE_CONTEXT
from chanlink.limits import Limits, PeerLimits
from chanlink.printing import printable
from chanlink.wire.h2.connection import MAX_DEBUG_DATA, Connection, settings
from chanlink.wire.h2.rules import NAMES

from .credit import Credit
from .h2 import frames, headers
from .multiplexer import DRAINING, TURN_BYTES, MuxStatistics, Observer, Owner
from .nested import Nested
from .opening import MAX_TRACE, Opening
from .stream import Stream

_COUNT = struct.Struct(">Q")
_ID = struct.Struct(">I")
_NO_PARTS: list[bytes | memoryview] = []


class Mux:
    """All streams of one session.

    Whole: one job, in the order of a message's way.
    """

    def __init__(
        self,
        owner: Owner,
        *,
        client_side: bool,
        limits: Limits,
        peer_limits: PeerLimits,
        features: Collection[str] = FEATURES,
        observer: Observer | None = None,
    ) -> None:
        # Whole: what there is of one mux.
        self.limits = limits
        self.peer_limits = peer_limits
        self.streams: dict[int, Stream] = {}
        """Those of which not both halves are over, by their ids."""
        self.has_message = False
        """Whether a message was written since `data_to_send` was called last."""
        self.arrivals = 0
        """Frames of data that have arrived."""
        self._owner = owner
        self._observer = observer
        self._next_id = 1 if client_side else 2
        self.nested = Nested(self.streams, limits, activate=self.activate)
        self._opening: list[Stream] = []
        self._active: deque[Stream] = deque()
        self._is_active: set[Stream] = set()  # the same; a dict for both would walk over what left at its front
        self._credit_due: dict[Stream, None] = {}
        self._may_live_on = TOP_LEVEL_DRAIN in features  # else only a side that closes says DRAIN
        self._may_trace = TRACE_CONTEXT in features
        self._drained_at: int | None = None  # we serve no top-level stream above
        self._drains = 0  # DRAIN frames that we have made
        self._peer_drains = 0  # those of the peer: it takes nothing new; everything that it accepted has left
        self._cause: SessionError | None = None  # the session is over
        self._h2 = Connection(
            client_side=client_side,
            our_settings=settings(open_channels=limits.open_channels, stream_window=limits.stream_window),
            peer_settings=settings(open_channels=peer_limits.open_channels, stream_window=peer_limits.stream_window),
        )
        self._h2.initiate_connection()
        self._h2.open_connection_window()
        self.credit = Credit(limits, due=self.credit_due, ping=self._h2.ping)
        self._h2_events: dict[type[object], Callable[[Any, float], None]] = {
            frames.Data: self._data_received,
            frames.Block: self._block_received,
            frames.Extension: self._extension_received,
            ev.WindowUpdated: self._window_updated,
            ev.StreamReset: self._stream_reset,
            ev.PingAckReceived: self._ping_acknowledged,
            ev.ConnectionTerminated: self._connection_terminated,
        }

    # --- 1. opening -------------------------------------------------------------------------------

    def slots(self) -> int:
        """How many more streams may be opened now."""
        return self.peer_limits.open_channels - self._h2.open_outbound_streams - len(self._opening)

    def check_open(self, count: int, *, top_level: bool = False) -> None:
        """Raise what `open` would raise, when `count` more streams can't be opened: `LimitReached`, `ChannelRefused`
        if they are top-level ones, or `SessionError`."""
        if self._cause is not None:
            raise self._cause.again()
        if self._peer_drains and top_level:
            raise ChannelRefused("draining", "the peer takes no new channels")
        if self._peer_drains and not self._may_live_on:
            raise SessionClosed("draining", "the peer closes the session, and takes no new channels")
        if count > self.slots():
            raise LimitReached("open_channels", self.peer_limits.open_channels)
        if self._next_id + 2 * count >= 2**31:
            raise SessionClosed("exhausted", "all stream ids of this session are used up")

    def open(self, opening: Opening) -> Stream:
        """Open a stream, for an end that leaves. Usable at once; never waits (see `check_open`)."""
        self.check_open(1, top_level=opening.parent is None)
        stream = Stream(self, self._next_id, opening, ours=True)
        self._next_id += 2
        self.streams[stream.id] = stream
        if self._observer is not None:
            stream.known_as(*self._observer.opened(stream, self.streams.get(opening.parent or 0)))
        self._opening.append(stream)
        self._owner.wake_writer()
        return stream

    # --- 2. streams that have something to say ----------------------------------------------------

    def activate(self, stream: Stream, *, has_message: bool = False) -> None:
        """`stream` has data (a message, perhaps) or last words."""
        if has_message:
            self.has_message = True
        # A stream that no message has mentioned yet does not send its last words, so it keeps counting as open: else a
        # peer could open and end any number of streams, each with a full inbox, that wait to be mentioned.
        if stream not in self._is_active and not stream.out_ended and stream.id not in self.nested.waiting:
            self._is_active.add(stream)
            self._active.append(stream)
            self._owner.wake_writer()

    def credit_due(self, stream: Stream) -> None:
        """`stream`, on which data come in, has credit, a taken count or a STOP to give."""
        if stream not in self._credit_due and not (stream.in_ended and stream.out_ended):
            self._credit_due[stream] = None
            self._owner.wake_writer()

    # --- 3. making frames -------------------------------------------------------------------------

    def data_to_send(self, now: float) -> list[bytes | bytearray | memoryview]:
        """The frames of one turn in parts, or nothing. Call it again until it returns nothing."""
        self.has_message = False
        try:
            if self._opening:
                self._send_openings()
            if self._credit_due:
                self._send_credit(now)
            if self._active:
                self._send_active()
            if self._peer_drains == 2:
                self._answer_drain()
        except h2.exceptions.H2Error as exc:
            raise LocalProtocolError(f"h2: {exc}") from exc
        return self._h2.take_output()

    def has_output(self) -> bool:
        """Whether accepted messages, last words or openings have not left yet, for want of credit or of a turn."""
        if self._opening:
            return True
        return any(s.has_unsent() and s.id not in self.nested.waiting for s in self.streams.values())

    def _send_openings(self) -> None:
        opening, self._opening = self._opening, []
        for stream in opening:
            self._h2.send_headers(stream.id, headers.opening_fields(stream.opening, may_trace=self._may_trace))

    def _send_credit(self, now: float) -> None:
        due, self._credit_due = self._credit_due, {}
        for stream in due:
            if stream.stop_due is not None:
                stop = stream.stop()
                if stop is not None:
                    self._h2.send_extension(frames.STOP, stream.id, stop)
            incoming = stream.incoming
            if incoming.taken_due and not stream.out_ended:
                self._h2.send_extension(frames.TAKEN, stream.id, _COUNT.pack(incoming.tell_count()))
            if stream.in_reason is None and incoming.window.is_due():
                self._return_credit(stream, now)

    def _return_credit(self, stream: Stream, now: float) -> None:
        incoming, ahead = stream.incoming, None
        if stream.is_bytes:
            ahead = self._h2.remote_flow_control_window(stream.id) + incoming.size
        credit = self.credit.give(incoming.window, ahead=ahead, now=now)
        if credit:
            self._h2.increment_flow_control_window(credit, stream.id)
            incoming.credited(now)

    def _send_active(self) -> None:
        bytes_left = TURN_BYTES
        # The window of the connection is small only until the peer's first frames are there.
        while self._active and bytes_left > 0 and (window := self._h2.outbound_flow_control_window) > 0:
            if self._opening:  # by a relay, for a message that may leave in this turn
                self._send_openings()
            stream = self._active.popleft()
            bytes_left -= self._send_from(stream, min(window, frames.FULL_BYTES))
            if stream.has_output() and not stream.out_ended:
                self._active.append(stream)
            else:
                self._is_active.discard(stream)

    def _send_from(self, stream: Stream, size: int) -> int:
        """One DATA frame, or the last words, of one stream; returns about how many bytes that made."""
        if stream.out_ended:
            return 0
        pulled, parts, was_full = 0, _NO_PARTS, False
        if stream.carries_out:
            outgoing = stream.outgoing
            was_full, queued = not outgoing.can_write(), outgoing.queued
            parts = outgoing.pull(size)
            pulled = queued - outgoing.queued
        last = stream.end()
        if not pulled and last is None:
            return 0  # it waits for credit
        if not stream.accepted:
            stream.accept()
            if stream.carries_out:
                self._h2.send_headers(stream.id, [(b"accepted", b"")])
        if pulled or last == []:
            self._h2.send_parts(stream.id, parts, pulled, end_stream=last == [])
        if last:
            self._h2.send_headers(stream.id, last, end_stream=True)
        if last is not None:
            self._reap(stream)
        elif was_full and outgoing.can_write():
            outgoing.owner.writable()
        return pulled + 64

    def ping(self, payload: bytes) -> None:
        """Send a PING with 8 bytes; `Owner.pong` tells when it came back."""
        try:
            self._h2.ping(payload)
        except h2.exceptions.H2Error as exc:
            raise LocalProtocolError(f"h2: {exc}") from exc
        self._owner.wake_writer()

    def measured(self, round_trip: float) -> None:
        """How long a round trip took."""
        self.credit.measured(round_trip)

    def statistics(self) -> MuxStatistics:
        return MuxStatistics(len(self.streams), self.credit.budget, self.credit.round_trip)

    @property
    def draining(self) -> bool:
        """Whether this side takes no more top-level streams from the peer."""
        return self._drained_at is not None

    def drain(self) -> None:
        """Take no more top-level streams from the peer; all else goes on."""
        if self._drained_at is None:
            self._drained_at = self._h2.highest_inbound_stream_id
            if self._may_live_on:
                self._say_drain()

    def conclude(self) -> None:
        """Drain, and tell the peer so in any case: the session is to end when everything accepted has left."""
        if not self._drains:
            self._drained_at = self._h2.highest_inbound_stream_id
            self._say_drain()
        self._owner.wake_writer()  # who asks `drained`

    def drained(self) -> bool:
        """Whether a session that was concluded can end: everything accepted has left here, and there if the peer drains
        too.

        The first time the former is so, the peer is told.
        """
        if self.has_output():
            return False
        if self._drains == 1:
            self._say_drain()
            return False
        return self._peer_drains != 1

    def _answer_drain(self) -> None:
        """The peer closes, and waits for our second DRAIN if there was a first one."""
        if self._drains == 1 and not self.has_output():
            self._say_drain()

    def _say_drain(self) -> None:
        assert self._drained_at is not None
        self._drains += 1
        self._h2.send_extension(frames.DRAIN, 0, _ID.pack(self._drained_at))
        self._owner.wake_writer()

    # --- 4. frames that arrived -------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray, now: float) -> None:
        """Take what the connection brought. Raises `RemoteProtocolError`, or `SessionClosed` after the peer's GOAWAY.

        The session is over then. After the former, a GOAWAY of ours waits in `data_to_send`.
        """
        try:
            for event in self._h2.receive(data, now):
                handler = self._h2_events.get(type(event))
                if handler is not None:
                    handler(event, now)
            self._h2.refill_connection_window()
        except RemoteProtocolError as exc:
            self._h2.goaway(exc, str(exc))
            raise
        except h2.exceptions.H2Error as exc:
            error = RemoteProtocolError(str(exc))
            self._h2.goaway(exc, str(error))
            raise error from exc
        if self._h2.has_output:  # what h2 answers by itself: acknowledgements of SETTINGS and PING
            self._owner.wake_writer()

    def _data_received(self, event: frames.Data, now: float) -> None:
        stream_id, data, ended = event
        stream = self.streams[stream_id]
        if not stream.carries_in:
            raise RemoteProtocolError(f"DATA on stream {stream_id}: this half carries none")
        if data:
            self.arrivals += 1
            stream.incoming.arrived(data, now)
            if not stream.is_bytes:
                self.credit.message_arrived(stream.incoming.window, now)
        if ended:
            stream.peer_ended(END)
            self._reap(stream)

    def _window_updated(self, event: ev.WindowUpdated, now: float) -> None:
        if event.stream_id:
            stream = self.streams[event.stream_id]
            if stream.carries_out:  # else it may only say last words, which need no credit
                stream.outgoing.credited(event.delta)

    def _extension_received(self, frame: frames.Extension, now: float) -> None:
        kind, stream_id, body = frame
        stream = self.streams.get(stream_id)
        size = len(body)
        if kind == frames.TAKEN and size == _COUNT.size:
            self._taken_received(stream, _COUNT.unpack(body)[0], now)
        elif kind == frames.STOP and size and size > body[0]:
            end = 1 + body[0]
            self._stop_received(stream, headers.refusal(body[1:end], body[end:]))
        elif kind == frames.DRAIN and size == _ID.size and stream_id == 0:
            self._drain_received()
        else:
            raise RemoteProtocolError(f"{NAMES[kind]} on stream {stream_id}: malformed, or not on such a stream")

    def _drain_received(self) -> None:
        if self._peer_drains == 2:
            self._h2.waste()
            return
        self._peer_drains += 1
        if self._peer_drains == 1:
            self._owner.peer_drains()
        self._owner.wake_writer()

    def _taken_received(self, stream: Stream | None, count: int, now: float) -> None:
        if stream is not None and (stream.is_bytes or not stream.carries_out):
            raise RemoteProtocolError(f"TAKEN on stream {stream.id}: the other side sends no messages on it")
        if stream is None or not stream.outgoing.peer_took(count):
            self._h2.waste()

    def _stop_received(self, stream: Stream | None, reason: Reason) -> None:
        if stream is not None:  # else it crossed our last words
            if not stream.is_bytes:
                raise RemoteProtocolError(f"STOP on stream {stream.id}: it is no byte stream")
            stream.peer_refused(reason)

    def _block_received(self, block: frames.Block, now: float) -> None:
        stream_id, fields, ended, opens = block
        if opens and ended:
            raise RemoteProtocolError(f"HEADERS on stream {stream_id}: a stream can't end with its opening")
        if opens:
            opening = headers.read_opening(stream_id, fields)
            if opening.trace is not None and (not self._may_trace or len(opening.trace) > MAX_TRACE):
                opening = opening._replace(trace=None)
            self._opened(Stream(self, stream_id, opening, ours=False, opened_at=now))
        elif ended:
            self._last_words_received(self.streams[stream_id], fields)
        elif not self.streams[stream_id].carries_in:
            raise RemoteProtocolError(f"HEADERS on stream {stream_id}: this half carries only last words")

    def _opened(self, stream: Stream) -> None:
        self.streams[stream.id] = stream
        if self._observer is not None:
            stream.known_as(*self._observer.opened(stream, self.streams.get(stream.parent or 0)))
        if stream.parent is None:
            if self._drained_at is not None and stream.id > self._drained_at:
                stream.discard("draining", DRAINING)
            else:
                self._owner.stream_opened(stream)
        elif not self.nested.add(stream):
            # Its parent is over: the message that would mention it is dropped.
            parent = self.streams.get(stream.parent)
            stream.discard(*not_taken(parent.in_reason if parent is not None else None))

    def claim(self, parent: Stream, kind: Kind, stream_id: int) -> Stream | None:
        """The nested stream that a message of `parent` mentions; None if that is a lie."""
        return self.nested.claim(parent, kind, stream_id)

    def forsake(self, streams: Iterable[Stream], code: str, text: str) -> None:
        """No message will mention these nested streams."""
        self.nested.forsake(streams, code, text)

    def _last_words_received(self, stream: Stream, fields: dict[bytes, bytes]) -> None:
        if stream.carries_in:
            stream.peer_ended(headers.reason("failed", fields))
        else:
            self._sender_told(stream, fields)
        self._reap(stream)

    def _sender_told(self, stream: Stream, fields: dict[bytes, bytes]) -> None:
        """The last words of a receiver."""
        try:
            stream.outgoing.peer_took(headers.number(fields[b"taken"]))
        except (KeyError, ValueError) as exc:
            raise RemoteProtocolError(f"HEADERS on stream {stream.id}: no count of what was taken") from exc
        refused = b"code" in fields or b"lost" in fields
        stream.receiver_ended(headers.reason("refused", fields) if refused else None)

    def _stream_reset(self, event: ev.StreamReset, now: float) -> None:
        if not event.remote_reset:
            raise RemoteProtocolError(f"WINDOW_UPDATE on stream {event.stream_id}: it opens a window beyond 2^31-1")
        stream = self.streams[event.stream_id]
        stream.peer_reset()
        self._reap(stream)

    def _ping_acknowledged(self, event: ev.PingAckReceived, now: float) -> None:
        if not self.credit.pong(event.ping_data, now):
            self._owner.pong(event.ping_data)

    def _connection_terminated(self, event: ev.ConnectionTerminated, now: float) -> None:
        text = printable((event.additional_data or b"")[:MAX_DEBUG_DATA].decode(errors="replace"))
        raise SessionClosed("protocol-error", text or f"GOAWAY with code {event.error_code}")

    # --- the end of streams and of the session ----------------------------------------------------

    def _reap(self, stream: Stream) -> None:
        """Forget a stream of which both halves are over."""
        if stream.id not in self.streams or not self._h2.reap(stream.id):
            return
        del self.streams[stream.id]
        stream.over()
        self.nested.ended(stream)
        if self._observer is not None:
            self._observer.ended(stream)
        self._is_active.discard(stream)
        self._credit_due.pop(stream, None)

    def tick(self, overdue: Callable[[float, float], bool]) -> None:
        """Look after what a peer has left lying (call it every second or so); see `liveness.Liveness.overdue`."""
        for stream in self.nested.unmentioned(overdue):  # a message that mentions one later holds an end that is over
            self.nested.release(stream)
            stream.discard("not-taken", f"no message mentioned it within {self.limits.unmentioned:g} s")
        for stream in list(self.streams.values()):
            if stream.carries_in and stream.incoming.stalled(overdue):
                stream.reject("too-slow", "a message made no progress")

    def give_up(self, code: str, cause: SessionError, peer: str = "") -> None:
        """This side is about to leave everything that is open; the peer learns the code."""
        for stream in list(self.streams.values()):
            stream.give_up(code, Reason("lost", text=peer, cause=cause))

    def drop_arrived(self) -> None:
        """Whatever the peer has sent and nobody has taken is for nobody; `lose` follows."""
        for stream in self.streams.values():
            stream.drop_arrived()

    def lose(self, cause: SessionError, peer: str = "") -> None:
        """The session with `peer` is over: every stream that is not settled is lost."""
        reason = Reason("lost", text=peer, cause=cause)
        self._cause = cause
        self._h2_events.clear()  # what comes behind, perhaps in the same record, is for nobody
        streams = list(self.streams.values())
        for stream in streams:
            stream.lose(reason, reason)
        self.streams.clear()
        if self._observer is not None:
            for stream in streams:
                self._observer.ended(stream)
        self.nested.clear()
        self._opening.clear()
        self._active.clear()
        self._is_active.clear()
        self._credit_due.clear()
        self.credit.clear()
