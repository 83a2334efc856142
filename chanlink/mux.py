"""The multiplexer: streams over one HTTP/2 connection (protocol sections 4 to 7).  No I/O, no clock.

The way of a message, in the order of the functions below:

    out  1. `open` makes a stream; its HEADERS frame leaves before any DATA of the same turn, so that
            a stream is always opened before it is mentioned.
         2. `Stream.write` queues a message and marks the stream active.
         3. `data_to_send` makes the frames of one turn: openings, then credit and taken counts, then DATA
            of the active streams in turn, one frame each, as far as their credit goes.  Nobody else makes frames.
    in   4. `receive_data` cuts frames and brings them to the inbox of their stream, and there they stop.
         5. `Stream.next_message`, then `Stream.taken`: the credit leaves with the next turn.

Half-states are our own (`Stream.out_ended`, `in_ended`, `accepted`): h2 closes a stream without a word when
it is asked for something illegal, so it is only asked for what is legal.

What a peer can make us keep is bounded: the streams by `Limits.open_channels`, each inbox by its window, and all
growth of windows by one budget of the session.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import h2.events as ev
import h2.exceptions

from . import frames
from .errors import END, LimitReached, LocalProtocolError, Reason, RemoteProtocolError, SessionClosed, SessionError
from .limits import Limits, PeerLimits
from .stream import Headers, Kind, Stream

TURN = 4 * frames.MAX_FRAME_SIZE
"""What one turn of the writer takes at most: enough to fill a socket buffer, little enough to stay fair."""
GROWTH = 0.004
"""A window is too small when half of it is used up in less than this (seconds, or twice a longer round trip)."""
KINDS: tuple[Kind, ...] = ("receiver", "sender", "bytes")
_COUNT = struct.Struct(">Q")
_ID = struct.Struct(">I")


class Owner(Protocol):
    """What the mux tells; the session."""

    def stream_opened(self, stream: Stream) -> None:
        """The peer opened a top-level stream."""

    def pong(self, payload: bytes) -> None:
        """A PING of ours came back."""

    def wake_writer(self) -> None:
        """`data_to_send` has something now."""


class Mux:
    """All streams of one session."""

    def __init__(self, owner: Owner, *, client_side: bool, limits: Limits, peer_limits: PeerLimits) -> None:
        self.limits = limits
        self.peer_limits = peer_limits
        self.budget = limits.session_budget
        self.round_trip = 0.0
        """Seconds, as the session has measured it; windows grow by it."""
        self.streams: dict[int, Stream] = {}
        self._owner = owner
        self._next_id = 1 if client_side else 2
        self._open_ours = 0
        self._nested: dict[int, Stream] = {}  # that no message has mentioned, the oldest first
        self._opening: list[Stream] = []
        self._active: deque[Stream] = deque()
        self._is_active: set[Stream] = set()
        self._credit_due: dict[Stream, None] = {}
        self._drained_at: int | None = None  # we serve no stream above
        self._peer_drains = False
        self._h2 = frames.Connection(
            client_side=client_side,
            our_settings=frames.settings(open_channels=limits.open_channels, stream_window=limits.stream_window),
            peer_settings=frames.settings(
                open_channels=peer_limits.open_channels, stream_window=peer_limits.stream_window
            ),
        )
        self._h2.initiate_connection()
        self._h2.open_connection_window()
        self._h2_events: dict[type[ev.Event], Callable[[Any, float], None]] = {
            ev.DataReceived: self._data_received,
            ev.WindowUpdated: self._window_updated,
            frames.ExtensionReceived: self._extension_received,
            ev.RequestReceived: self._request_received,
            ev.ResponseReceived: self._headers_received,
            ev.TrailersReceived: self._headers_received,
            ev.StreamReset: self._stream_reset,
            ev.PingAckReceived: self._ping_acknowledged,
            ev.ConnectionTerminated: self._connection_terminated,
        }

    # --- 1. opening -------------------------------------------------------------------------------

    def slots(self) -> int:
        """How many more streams may be opened now."""
        return self.peer_limits.open_channels - self._open_ours

    def check_open(self, count: int) -> None:
        """Raise `LimitReached` or `SessionClosed` when `count` more streams can't be opened."""
        if self._peer_drains:
            raise SessionClosed("draining", "the peer takes no new channels")
        if count > self.slots():
            raise LimitReached("open_channels", self.peer_limits.open_channels)
        if self._next_id + 2 * count >= 2**31:
            raise SessionClosed("exhausted", "all stream ids of this session are used up")

    def open(
        self, kind: Kind, *, service: str | None = None, parent: int | None = None, capacity: int | None = None
    ) -> Stream:
        """Open a stream whose acceptor gets an end of `kind`.  Usable at once; never waits (see `check_open`)."""
        self.check_open(1)
        stream = Stream(self, self._next_id, kind, ours=True, service=service, parent=parent, capacity=capacity)
        self._next_id += 2
        self._open_ours += 1
        self.streams[stream.id] = stream
        self._opening.append(stream)
        self._owner.wake_writer()
        return stream

    # --- 2. streams that have something to say ----------------------------------------------------

    def activate(self, stream: Stream) -> None:
        """`stream` has data or last words."""
        if stream not in self._is_active and not stream.out_ended:
            self._is_active.add(stream)
            self._active.append(stream)
            self._owner.wake_writer()

    def credit_due(self, stream: Stream) -> None:
        """`stream` has credit or a taken count to give."""
        if stream not in self._credit_due:
            self._credit_due[stream] = None
            self._owner.wake_writer()

    def lend(self, stream: Stream, size: int) -> None:
        """A message of `size` bytes is at the head of the inbox: see that it can arrive (protocol section 7)."""
        missing = size - stream.window - stream.lent
        if missing > 0 and not stream.in_ended and self.budget > 0:
            extra = min(missing, self.budget)
            self.budget -= extra
            stream.lent += extra
            stream.unreturned += extra
        if stream.unreturned and size > stream.window // 2:  # there may be less than half a window, but all is needed
            stream.credit_needed = True
            self.credit_due(stream)

    # --- 3. making frames -------------------------------------------------------------------------

    def data_to_send(self, now: float) -> bytes:
        """The frames of one turn, or nothing.  Call it again until it returns nothing."""
        try:
            self._send_openings()
            if self._credit_due:
                self._send_credit(now)
            self._send_active()
        except h2.exceptions.H2Error as exc:
            raise LocalProtocolError(f"h2: {exc}") from exc
        return self._h2.data_to_send()

    def has_output(self) -> bool:
        """Whether accepted messages, last words or openings have not left yet, for want of credit or of a turn."""
        return bool(self._opening) or any(s.queued or s.has_output() for s in self.streams.values())

    def _send_openings(self) -> None:
        opening, self._opening = self._opening, []
        for stream in opening:
            self._h2.send_headers(stream.id, _opening_headers(stream))

    def _send_credit(self, now: float) -> None:
        due, self._credit_due = self._credit_due, {}
        for stream in due:
            if stream.in_ended:
                continue
            if stream.stop_due is not None:
                self._h2.send_extension(frames.STOP, stream.id, stream.stop_due)
                stream.stop_due = None
                continue
            if stream.taken_due and not stream.out_ended:
                stream.taken_due = False
                self._h2.send_extension(frames.TAKEN, stream.id, _COUNT.pack(stream.taken_count))
            if stream.unreturned and (stream.credit_needed or stream.unreturned >= stream.window // 2):
                self._grow(stream, now)
                self._h2.increment_flow_control_window(stream.unreturned, stream.id)
                stream.unreturned = 0
                stream.credit_needed = False

    def _grow(self, stream: Stream, now: float) -> None:
        """Double the window of a stream that used half of it up faster than credit can travel."""
        quick = now - stream.credited_at < max(GROWTH, 2 * self.round_trip)
        stream.credited_at = now
        extra = min(stream.window, self.limits.stream_window_max - stream.window, self.budget)
        if quick and extra > 0:
            self.budget -= extra
            stream.window += extra
            stream.unreturned += extra

    def _send_active(self) -> None:
        left = TURN
        while self._active and left > 0:
            stream = self._active.popleft()
            left -= self._send_from(stream)
            if stream.has_output() and not stream.out_ended:
                self._active.append(stream)
            else:
                self._is_active.discard(stream)

    def _send_from(self, stream: Stream) -> int:
        """One DATA frame, or the last words, of one stream; returns about how many bytes that made."""
        if stream.out_ended:
            return 0
        had_room = stream.room()
        data = stream.pull(frames.MAX_FRAME_SIZE)
        last = stream.last_words()
        if not stream.accepted and (stream.carries_out or last is None):
            stream.accepted = True
            self._h2.send_headers(stream.id, [(b"accepted", b"")])
        if data or last == []:
            self._h2.send_data(stream.id, data, end_stream=last == [])
        if last:
            self._h2.send_headers(stream.id, last, end_stream=True)
        if last is not None:
            stream.out_ended = True
            self._reap(stream)
        elif not had_room and stream.room():
            stream.on_writable()
        return len(data) + 64

    def ping(self, payload: bytes) -> None:
        """Send a PING with 8 bytes; `Owner.pong` tells when it came back."""
        self._h2.ping(payload)
        self._owner.wake_writer()

    def drain(self) -> None:
        """Tell the peer that no stream is served that it opens from now on."""
        if self._drained_at is None:
            self._drained_at = self._h2.highest_inbound_stream_id
            self._h2.send_extension(frames.DRAIN, 0, _ID.pack(self._drained_at))
            self._owner.wake_writer()

    # --- 4. frames that arrived -------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what the connection brought.  Raises `RemoteProtocolError`; the session is over then."""
        try:
            for event in self._h2.receive_data(data):
                handler = self._h2_events.get(type(event))
                if handler is not None:
                    handler(event, now)
            self._h2.refill_connection_window()
        except h2.exceptions.H2Error as exc:
            raise RemoteProtocolError(f"HTTP/2: {exc}") from exc
        # Also for what h2 answers by itself: acknowledgements of SETTINGS and PING.
        self._owner.wake_writer()

    def _data_received(self, event: ev.DataReceived, now: float) -> None:
        stream = self.streams[event.stream_id]
        if event.data:
            if not stream.carries_in:
                raise RemoteProtocolError(f"DATA on the half of stream {stream.id} that carries none")
            stream.arrived(event.data, now)
        if event.stream_ended is not None:
            stream.ended(END)
            self._reap(stream)

    def _window_updated(self, event: ev.WindowUpdated, now: float) -> None:
        if event.stream_id:
            self.streams[event.stream_id].credited(event.delta)

    def _extension_received(self, event: frames.ExtensionReceived, now: float) -> None:
        if event.kind == frames.DRAIN:
            self._peer_drains = True
            return
        stream = self.streams.get(event.stream_id)
        if stream is None or stream.out_ended:
            return  # it crossed our last words
        if event.kind == frames.TAKEN and len(event.payload) == _COUNT.size and stream.carries_out:
            stream.peer_took(_COUNT.unpack(event.payload)[0])
        elif event.kind == frames.STOP and stream.is_bytes and event.payload:
            end = 1 + event.payload[0]
            stream.refused(_text(event.payload[1:end]), _text(event.payload[end:]))
        else:
            raise RemoteProtocolError(f"a malformed extension frame {event.kind:#x}")

    def _request_received(self, event: ev.RequestReceived, now: float) -> None:
        stream = self._accept(event.stream_id, _fields(event.headers), now)
        self.streams[stream.id] = stream
        if event.stream_ended is not None:
            raise RemoteProtocolError("a stream that ends with its opening")
        if self._drained_at is not None and stream.id > self._drained_at:
            stream.discard("draining")
        elif stream.parent is None:
            self._owner.stream_opened(stream)
        else:
            self._nest(stream)

    def _accept(self, stream_id: int, fields: dict[bytes, bytes], now: float) -> Stream:
        """Read the opening of a stream (protocol section 5)."""
        try:
            kind = KINDS[[k.encode() for k in KINDS].index(fields[b"kind"])]
            service = fields[b"service"].decode() if b"service" in fields else None
            parent = _number(fields[b"parent"]) if b"parent" in fields else None
            capacity = _number(fields[b"capacity"]) if b"capacity" in fields else None
        except (KeyError, ValueError) as exc:
            raise RemoteProtocolError(f"a malformed opening of stream {stream_id}") from exc
        if (service is None) == (parent is None) or len(fields.get(b"service", b"")) > 255:
            raise RemoteProtocolError(f"a malformed opening of stream {stream_id}")
        return Stream(
            self,
            stream_id,
            kind,
            ours=False,
            service=service,
            parent=parent,
            capacity=capacity,
            opened_at=now,
        )

    def _nest(self, stream: Stream) -> None:
        """Keep a nested stream until a message mentions it."""
        assert stream.parent is not None
        parent = self.streams.get(stream.parent)
        if parent is None or parent.is_bytes or not parent.carries_in or parent.in_reason is not None:
            stream.discard("not-taken")  # its parent is over: the message that would mention it is dropped
            return
        if parent.children is None:
            parent.children = {}
        parent.children[stream.id] = stream
        self._nested[stream.id] = stream

    def claim(self, parent: Stream, kind: Kind, stream_id: int) -> Stream | None:
        """The nested stream that a message of `parent` mentions; None if that is a lie."""
        stream = (parent.children or {}).get(stream_id)
        if stream is None or stream.kind != kind:
            return None
        assert parent.children is not None
        del parent.children[stream_id]
        self._nested.pop(stream_id, None)
        return stream

    def _headers_received(self, event: ev.ResponseReceived | ev.TrailersReceived, now: float) -> None:
        if event.stream_ended is None:
            return  # `accepted`
        stream = self.streams[event.stream_id]
        fields = _fields(event.headers)
        code, text = _text(fields.get(b"code", b"")), _text(fields.get(b"text", b""))
        if stream.carries_in:
            stream.ended(Reason("failed", code, text))
        else:
            self._sender_told(stream, fields, code, text)
        self._reap(stream)

    def _sender_told(self, stream: Stream, fields: dict[bytes, bytes], code: str, text: str) -> None:
        """The last words of a receiver."""
        try:
            stream.peer_took(_number(fields[b"taken"]))
        except (KeyError, ValueError) as exc:
            raise RemoteProtocolError("malformed last words") from exc
        stream.in_ended = True
        if code or not stream.out_ended:
            stream.refused(code or "closed", text)
        else:
            stream.on_writable()

    def _stream_reset(self, event: ev.StreamReset, now: float) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            self._break(stream)

    def _break(self, stream: Stream) -> None:
        """A stream of which a rule was broken is over at once, in both directions."""
        if stream.carries_out:
            stream.out_reason = Reason("refused", "reset")
        stream.lost(Reason("failed", "reset"))
        self._reap(stream)

    def _ping_acknowledged(self, event: ev.PingAckReceived, now: float) -> None:
        self._owner.pong(event.ping_data)

    def _connection_terminated(self, event: ev.ConnectionTerminated, now: float) -> None:
        raise RemoteProtocolError(f"the peer gave up: GOAWAY {event.error_code}")

    # --- the end of streams and of the session ----------------------------------------------------

    def _reap(self, stream: Stream) -> None:
        """Forget a stream of which both halves are over, and take back what it had of the budget."""
        if stream.id not in self.streams or not self._h2.reap(stream.id):
            return
        del self.streams[stream.id]
        self._nested.pop(stream.id, None)
        self._is_active.discard(stream)
        self._credit_due.pop(stream, None)
        self.budget += stream.window - self.limits.stream_window + stream.lent
        stream.lent, stream.window = 0, self.limits.stream_window
        if stream.ours:
            self._open_ours -= 1

    def tick(self, now: float) -> None:
        """Look after what a peer has left lying (call it every second or so)."""
        for stream in list(self._nested.values()):
            if now - stream.opened_at < self.limits.unmentioned:
                break
            parent = self.streams.get(stream.parent or 0)
            if parent is None or parent.idle():  # else the message that mentions it may still wait in the inbox
                self._nested.pop(stream.id)
                if parent is not None and parent.children:
                    parent.children.pop(stream.id, None)
                stream.discard("not-taken")
        for stream in list(self.streams.values()):
            if stream.stalled(now):
                stream.reject("too-slow", "a message made no progress")

    def discard_all(self, code: str) -> None:
        """This side gives up everything that is open."""
        for stream in list(self.streams.values()):
            stream.discard(code)

    def lose(self, cause: SessionError) -> None:
        """The session is over: every stream that is not settled is lost."""
        reason = Reason("lost", cause=cause)
        self._peer_drains = True
        for stream in list(self.streams.values()):
            stream.lost(reason)
        self.streams.clear()
        self._nested.clear()
        self._opening.clear()
        self._active.clear()
        self._is_active.clear()
        self._credit_due.clear()


def _opening_headers(stream: Stream) -> Headers:
    headers = [(b"kind", stream.kind.encode())]
    if stream.service is not None:
        headers.append((b"service", stream.service.encode()))
    else:
        headers.append((b"parent", b"%d" % (stream.parent or 0)))
    if stream.capacity is not None:
        headers.append((b"capacity", b"%d" % stream.capacity))
    return headers


def _fields(headers: Iterable[tuple[bytes, bytes]] | None) -> dict[bytes, bytes]:
    return {bytes(name): bytes(value) for name, value in headers or ()}


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > 19:
        raise ValueError("not a number")
    return int(field)


def _text(field: bytes) -> str:
    """The peer's words, for people: never an error, never more than the protocol allows."""
    return field[:1_024].decode(errors="replace")
