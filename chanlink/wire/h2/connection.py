"""h2 as chanlink needs it: the one place that knows h2's inside (protocol sections 4 and 4.2).

h2 is made for browsers and web servers. Between our own endpoints some of its habits cost much or are
wrong; each is changed here by subclassing, none by patching, and what costs has a line in tests/bench:

- It makes a `repr` of every frame it receives, for a log that nobody reads; that of a DATA frame turns the
  whole payload into hex (64 KiB: 83 us instead of 14). Our frames have a cheap one.
- It handles DATA and HEADERS by way of objects for frames, events and checks of HTTP; ours go a short way. What is
  legal on a stream, its state machine says there, too.
- It counts open streams by walking all of them at each opening (6,000 open: 9 ms), and removes closed ones
  only then. We count, and remove a stream when it is closed.
- It keeps each setting in a deque of its own. They are in lists, an eighth of that.
- It appends what arrives to a buffer of its own and cuts frames from that. We cut them from the record.
- It waits for the whole of an over-long frame (up to 16 MiB) before it refuses it. We look at the header.
- It handles a whole chunk before it tells of the first frame. We take the events of one frame after the other, so that
  what comes of a chunk does not depend on where it was cut, and h2's state is never ahead of ours.
- It answers some broken rules with RST_STREAM and goes on, as often as a peer likes. Here they end the connection.
- It answers PING and SETTINGS without a bound. What honest peers seldom send has an allowance.
"""

from collections.abc import Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack
from h2.connection import AllowedStreamIDs, ConnectionInputs
from h2.errors import ErrorCodes
from h2.stream import StreamInputs, StreamState
from hyperframe import frame as hf

from chanlink.limits import Bucket
from chanlink.wire.opening import Fields

from . import headers
from .frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    EXTENSIONS,
    FRAME_HEADER,
    HEADERS,
    KNOWN,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    PADDED,
    PREFACE,
    STOP,
    Block,
    Data,
    Extension,
    FrameCutter,
    check_headers,
    parse,
)
from .rules import BrokenRule, broken_by

CONNECTION_WINDOW = 2**30
"""It bounds nothing (protocol section 4): memory is bounded by the windows of the streams."""
COPY_BELOW = 4_096
"""From this size on average, parts of DATA are not copied behind its header."""
MAX_DEBUG_DATA = 256
"""Of the text in a GOAWAY, as in a close record."""

_RECEIVING = (StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL)
_SENDING = (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE)
LATE = 8
"""How many late STOP or WINDOW_UPDATE frames, which cross last words, each stream may cost before they are a flood."""


def _spend(allowance: Bucket, now: float) -> None:
    if not allowance.take(now):
        raise BrokenRule("too many frames that change nothing", ErrorCodes.ENHANCE_YOUR_CALM)


class _Value(list[int]):
    """A setting and what will replace it.  h2 has deques: 7 kB more for each idle session."""

    __slots__ = ()

    def popleft(self) -> int:
        return self.pop(0)


class Connection(h2.connection.H2Connection):
    """An `H2Connection` whose settings are agreed beforehand and whose cost does not grow with its streams.

    Whole: what is not as in h2, each for a reason that stands above.
    """

    # h2 remembers 65,536, only to choose between two errors for a late frame.
    MAX_CLOSED_STREAMS = 256

    def __init__(self, *, client_side: bool, our_settings: dict[int, int], peer_settings: dict[int, int]) -> None:
        super().__init__(
            h2.config.H2Configuration(
                client_side=client_side,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self.local_settings = h2.settings.Settings(client=client_side, initial_values=our_settings)  # type: ignore[arg-type]
        self.remote_settings = h2.settings.Settings(client=not client_side, initial_values=peer_settings)  # type: ignore[arg-type]
        # h2 has these by default; the protocol has them not, whoever sends them.
        for values in (self.local_settings, self.remote_settings):
            del values[h2.settings.SettingCodes.HEADER_TABLE_SIZE]
            del values[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL]
            values._settings = {code: _Value(value) for code, value in values._settings.items()}  # type: ignore[misc]
        self.max_outbound_frame_size = self.remote_settings.max_frame_size
        self.max_inbound_frame_size = self.local_settings.max_frame_size
        # 3 kB for each idle session. h2 needs them for HEADERS and PUSH_PROMISE, which don't reach it, and for changes
        # of table size and header list size, which are refused.
        del self.encoder, self.decoder
        self._decoder: hpack.Decoder | None = None
        self.incoming_buffer: Any = FrameCutter(preface=b"" if client_side else PREFACE)
        self._resets = Bucket(100, 20)  # for RST_STREAM: normal life needs none
        self._idle = Bucket(200, 20)  # for what changes nothing
        self._now = 0.0
        self._output: list[bytes | bytearray | memoryview] = []  # before h2's `_data_to_send`
        self._expected = {"SETTINGS": 1, "SETTINGS ACK": 1, "PING ACK": 0, "late": 0}
        self._open_count = [0, 0]  # of even and of odd ids
        self._max_inbound_streams = our_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS]
        for quiet in KNOWN.values():
            _, plain = quiet.__bases__
            self._frame_dispatch_table[quiet] = self._frame_dispatch_table[plain]

    # --- counting instead of walking ---

    @property
    def open_outbound_streams(self) -> int:
        return self._open_count[int(self.config.client_side)]

    @property
    def open_inbound_streams(self) -> int:
        return self._open_count[int(not self.config.client_side)]

    def _begin_new_stream(self, stream_id: int, allowed_ids: Any) -> Any:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        self._open_count[stream_id % 2] += 1
        self._expected["late"] += LATE
        return stream

    def reap(self, stream_id: int) -> bool:
        """Forget a stream if it is closed, and say whether it is gone."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return True
        if not stream.closed:
            return False
        del self.streams[stream_id]
        self._closed_streams[stream_id] = stream.closed_by
        self._open_count[stream_id % 2] -= 1
        return True

    # --- what arrives ---

    def receive(self, data: bytes | bytearray, now: float) -> Iterator[h2.events.Event | Data | Block | Extension]:
        """The events of what arrived, one frame after the other. Raises `BrokenRule`."""
        self._now = now
        cutter = self.incoming_buffer
        frame = None
        try:
            cutter.add_data(data)
            while (frame := cutter.cut()) is not None:
                kind, flags, stream_id, body = frame
                if kind == DATA and self._take_data(flags, stream_id, len(body)):
                    yield Data(stream_id, body, bool(flags & END_STREAM))  # the common case
                elif kind in EXTENSIONS:
                    if kind == STOP:
                        self._expect("late")
                    yield Extension(kind, stream_id, body)
                elif kind == HEADERS:
                    yield self._take_headers(flags, stream_id, body)
                else:
                    yield from self._receive_frame(parse(*frame))
        except h2.exceptions.H2Error as exc:
            raise broken_by(exc, cutter.refused or frame) from exc

    def _receive_frame(self, frame: hf.Frame) -> list[h2.events.Event]:
        self._admit(frame)
        events = super()._receive_frame(frame)
        self.reap(frame.stream_id)
        return events

    def _admit(self, frame: hf.Frame) -> None:
        """Refuse what was not agreed, and too much of what honest peers seldom send."""
        if isinstance(frame, hf.RstStreamFrame):
            if not self._was_opened(frame.stream_id):  # h2 would ignore it
                raise h2.exceptions.NoSuchStreamError(frame.stream_id)
            _spend(self._resets, self._now)
        elif isinstance(frame, hf.SettingsFrame):
            # Also an id that we don't use: h2 keeps them all, 57 MB for 393 kB.
            if any(self.remote_settings.get(code) != value for code, value in frame.settings.items()):
                raise BrokenRule("other values than the handshake has agreed")
            self._expect("SETTINGS ACK" if "ACK" in frame.flags else "SETTINGS")
        elif isinstance(frame, hf.PingFrame):
            self._expect("PING ACK" if "ACK" in frame.flags else "PING")
        elif frame.stream_id == 0:  # WINDOW_UPDATE of the connection: one in 512 MiB is enough
            self.waste()
        elif isinstance(frame, hf.WindowUpdateFrame) and not self._may_send(frame.stream_id):
            self._expect("late")

    def _was_opened(self, stream_id: int) -> bool:
        ours = stream_id % 2 == self.config.client_side
        return stream_id <= (self.highest_outbound_stream_id if ours else self.highest_inbound_stream_id)

    def _may_send(self, stream_id: int) -> bool:
        stream = self.streams.get(stream_id)
        return stream is not None and stream.state_machine.state in _SENDING

    def waste(self) -> None:
        """The frame that is being taken changes nothing. Raises `BrokenRule` for too many of those."""
        _spend(self._idle, self._now)

    def _expect(self, what: str) -> None:
        """A frame that answers one of ours, or that comes once, is free; others are spent."""
        if self._expected.get(what, 0) > 0:
            self._expected[what] -= 1
        else:
            self.waste()

    # Two answers of h2 to frames on a stream that is over are RST_STREAM, as often as a peer likes ("MadeYouReset"). We
    # never reset a stream, so that no honest frame can be late for one: it is the end of the connection.

    def _stream_is_closed_by_reset(self, stream_id: int) -> bool:
        return False

    def _handle_data_on_closed_stream(self, events: Any, exc: h2.exceptions.StreamClosedError, frame: Any) -> Any:
        raise exc

    # --- the short ways of DATA and HEADERS: what h2 does, without what it does for all other cases ---
    #
    # Without that of what comes a round trip takes 17 % more processor time, without that of what goes 18 %, and bytes
    # a third (bench rows round-trip-tcp, bytes). That both ways come to the same is in test_connection.py.

    def _take_data(self, flags: int, stream_id: int, size: int) -> bool:
        """Account for DATA; False for what h2 will refuse."""
        stream, ended = self.streams.get(stream_id), flags & END_STREAM
        if stream is None or flags & PADDED:
            return False
        machine = stream.state_machine
        if machine.state not in _RECEIVING or not machine.headers_received:
            return False
        if size:
            self._inbound_flow_control_window_manager.window_consumed(size)
            stream._inbound_window_manager.window_consumed(size)
        elif not ended:
            self.waste()
        if ended:
            machine.process_input(StreamInputs.RECV_END_STREAM)
            self.reap(stream_id)
        return True

    def send_parts(self, stream_id: int, parts: list[bytes | memoryview], size: int, *, end_stream: bool) -> None:
        """Send DATA, of `size` bytes that nobody has joined."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.state_machine.state not in _SENDING or not self._fits(stream, size):
            self.send_data(stream_id, b"".join(parts), end_stream)
            return
        stream.outbound_flow_control_window -= size
        self.outbound_flow_control_window -= size
        self._data_to_send += FRAME_HEADER.pack(size >> 8, size & 0xFF, DATA, end_stream, stream_id)
        if size <= COPY_BELOW * len(parts):
            self._data_to_send += b"".join(parts)
        else:
            self._output += [self._data_to_send, *parts]
            self._data_to_send = bytearray()
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)

    def _fits(self, stream: Any, size: int) -> bool:
        window: int = min(stream.outbound_flow_control_window, self.outbound_flow_control_window)
        return not size or size <= min(window, self.max_outbound_frame_size)

    def _take_headers(self, flags: int, stream_id: int, body: bytes) -> Block:
        check_headers(flags, len(body))
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        fields = headers.decode_plain(body)
        if fields is None:
            fields = self._decode(body)
        stream = self.streams.get(stream_id)
        opens, ended = stream is None, bool(flags & END_STREAM)
        if stream is None:
            if self.open_inbound_streams >= self._max_inbound_streams:
                raise BrokenRule(f"more than {self._max_inbound_streams} open streams")
            if stream_id % 2 == self.config.client_side and not self._was_opened(stream_id):
                raise BrokenRule("ids of this parity are for streams of the other side")
            stream = self._begin_new_stream(stream_id, AllowedStreamIDs(not self.config.client_side))
        machine = stream.state_machine
        machine.process_input(StreamInputs.RECV_HEADERS)
        if ended:
            machine.process_input(StreamInputs.RECV_END_STREAM)
            self.reap(stream_id)  # at once: one record may close thousands of streams and open as many
        elif machine.trailers_received:
            raise BrokenRule("HEADERS come first and last on a half, not in the middle")
        return Block(stream_id, fields, ended, opens)

    def _decode(self, block: bytes) -> dict[bytes, bytes]:
        if self._decoder is None:
            self._decoder = hpack.Decoder(MAX_HEADER_LIST_SIZE)
        try:
            return {bytes(name): bytes(value) for name, value in h2.connection._decode_headers(self._decoder, block)}
        except h2.exceptions.ProtocolError as exc:
            raise BrokenRule("a header block that is malformed or too long") from exc

    def send_headers(self, stream_id: int, fields: Fields, end_stream: bool = False) -> None:  # type: ignore[override]
        """Open a stream, or say something on it. Nobody asks whether the peer takes one more: see `Mux.check_open`."""
        self.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = self._begin_new_stream(stream_id, AllowedStreamIDs(self.config.client_side))
        stream.state_machine.process_input(StreamInputs.SEND_HEADERS)
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        block = headers.encode(fields)
        size, flags = len(block), END_HEADERS | end_stream
        self._data_to_send += FRAME_HEADER.pack(size >> 8, size & 0xFF, HEADERS, flags, stream_id) + block

    # --- what h2 has, under the names of the protocol ---

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` would return something."""
        return bool(self._data_to_send or self._output)

    def take_output(self) -> list[bytes | bytearray | memoryview]:
        """As `data_to_send`, but in parts: what is long was not copied."""
        output, self._output = self._output, []
        if self._data_to_send:
            output.append(self._data_to_send)
            self._data_to_send = bytearray()
        return output

    def send_extension(self, kind: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._data_to_send += FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, 0, stream_id) + payload

    def ping(self, opaque_data: bytes | str) -> None:
        super().ping(opaque_data)
        self._expected["PING ACK"] += 1

    def open_connection_window(self) -> None:
        self.increment_flow_control_window(CONNECTION_WINDOW - self.inbound_flow_control_window)

    def refill_connection_window(self) -> None:
        if self.inbound_flow_control_window < CONNECTION_WINDOW // 2:
            self.open_connection_window()

    def goaway(self, exc: Exception, text: str) -> None:
        data = text.encode(errors="replace")[:MAX_DEBUG_DATA]
        self.close_connection(getattr(exc, "error_code", ErrorCodes.PROTOCOL_ERROR), data)


def settings(*, open_channels: int, stream_window: int) -> dict[int, int]:
    """The SETTINGS of one side (protocol section 4)."""
    codes = h2.settings.SettingCodes
    return {
        codes.ENABLE_PUSH: 0,
        codes.MAX_CONCURRENT_STREAMS: open_channels,
        codes.INITIAL_WINDOW_SIZE: stream_window,
        codes.MAX_FRAME_SIZE: MAX_FRAME_SIZE,
        codes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_SIZE,
    }
