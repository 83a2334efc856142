"""h2 as chanlink needs it: the one place that knows h2's inside (protocol sections 4 and 4.2).

h2 is made for browsers and web servers.  Between our own endpoints four of its habits cost much or are
wrong; each is changed here by subclassing, none by patching, and each has a line in tests/bench:

- It makes a `repr` of every frame it receives, for a log that nobody reads; that of a DATA frame turns the
  whole payload into hex (64 KiB: 83 us instead of 14).  Our frames have a cheap one.
- It counts open streams by walking all of them at each opening (6,000 open: 9 ms), and removes closed ones
  only then.  We count, and remove a stream when it is closed.
- It appends what arrives to a buffer of its own and cuts frames from that.  We cut them from the record.
- It waits for the whole of an over-long frame (up to 16 MiB) before it refuses it.  We look at the header.
"""

import struct
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from hyperframe import frame as hf
from hyperframe.exceptions import HyperframeError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = struct.Struct(">HBBBL")
FRAME_HEADER_SIZE = 9
MAX_FRAME_SIZE = 65_535 - 16 - 1 - FRAME_HEADER_SIZE
"""The largest payload that is one record: less its tag, its kind byte, and the frame's own header."""
CONNECTION_WINDOW = 2**30
"""It bounds nothing (protocol section 4): memory is bounded by the windows of the streams."""
MAX_HEADER_LIST_SIZE = 4_096

TAKEN, DRAIN, STOP = 0xF1, 0xF2, 0xF3


class _Quiet:
    """h2 calls `repr` on every frame it receives."""

    def __repr__(self) -> str:
        return "a frame"


class _Data(_Quiet, hf.DataFrame):
    pass


class _Headers(_Quiet, hf.HeadersFrame):
    pass


class _RstStream(_Quiet, hf.RstStreamFrame):
    pass


class _Settings(_Quiet, hf.SettingsFrame):
    pass


class _Ping(_Quiet, hf.PingFrame):
    pass


class _GoAway(_Quiet, hf.GoAwayFrame):
    pass


class _WindowUpdate(_Quiet, hf.WindowUpdateFrame):
    pass


class Extension(_Quiet, hf.ExtensionFrame):
    """A frame of protocol section 4.2: `type`, `stream_id`, `body`."""


# PRIORITY, PUSH_PROMISE, ALTSVC and CONTINUATION are not in the protocol (a header block of 4,096 bytes needs none).
_KNOWN: dict[int, type[hf.Frame]] = {
    frame.type: frame for frame in (_Data, _Headers, _RstStream, _Settings, _Ping, _GoAway, _WindowUpdate)
}
_EXTENSIONS = (TAKEN, DRAIN, STOP)
_END_STREAM = 0x1
_PADDED = 0x8
_END_HEADERS = 0x4


class FrameCutter:
    """Cuts frames from what arrives; stands in for h2's `FrameBuffer`.

    It is fed with `add_data` and then iterated until it has no whole frame left.
    """

    def __init__(self, *, preface: bytes) -> None:
        self.max_frame_size = MAX_FRAME_SIZE  # h2 sets it before each use
        self._preface = preface
        self._data = b""
        self._offset = 0

    def add_data(self, data: bytes) -> None:
        # Mostly a record ends with a frame, so that nothing is left and nothing is copied.
        self._data = self._data[self._offset :] + data if self._offset < len(self._data) else data
        self._offset = 0
        if self._preface:
            self._cut_preface()

    def _cut_preface(self) -> None:
        size = min(len(self._preface), len(self._data))
        if self._data[:size] != self._preface[:size]:
            raise h2.exceptions.ProtocolError("not an HTTP/2 preface")
        self._preface = self._preface[size:]
        self._offset = size

    def __iter__(self) -> "FrameCutter":
        return self

    def __next__(self) -> hf.Frame:
        begin = self._offset + FRAME_HEADER_SIZE
        if len(self._data) < begin:
            raise StopIteration
        high, low, kind, flags, stream_id = FRAME_HEADER.unpack_from(self._data, self._offset)
        length = high << 8 | low
        if length > self.max_frame_size:
            raise h2.exceptions.FrameTooLargeError(f"a frame of {length} bytes")
        end = begin + length
        if len(self._data) < end:
            raise StopIteration
        self._offset = end
        return _parse(kind, flags, stream_id & 0x7FFFFFFF, self._data[begin:end])


def _parse(kind: int, flags: int, stream_id: int, body: bytes) -> hf.Frame:
    try:
        if kind == 0 and not flags & _PADDED:  # the common case: nothing to parse
            data = _Data(stream_id, body)
            if flags & _END_STREAM:
                data.flags.add("END_STREAM")
            data.body_len = len(body)
            return data
        if kind in _EXTENSIONS:
            return Extension(kind, stream_id, body=body)
        frame = _KNOWN[kind](stream_id)
        frame.parse_flags(flags)
        if kind == 1 and not flags & _END_HEADERS:
            raise h2.exceptions.ProtocolError("a header block of more than one frame")
        frame.parse_body(memoryview(body))
    except KeyError:
        raise h2.exceptions.ProtocolError(f"a frame of type {kind:#x}") from None
    except (HyperframeError, struct.error) as exc:
        raise h2.exceptions.ProtocolError("a malformed frame") from exc
    return frame


class ExtensionReceived(h2.events.Event):
    """A frame of protocol section 4.2 arrived."""

    def __init__(self, frame: Extension) -> None:
        self.kind = frame.type
        self.stream_id: int = frame.stream_id
        self.payload: bytes = frame.body


class Connection(h2.connection.H2Connection):
    """An `H2Connection` whose settings are agreed beforehand and whose cost does not grow with its streams."""

    # Late frames can come only for streams that were reset, which is rare; h2 remembers 65,536.
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
        self.max_outbound_frame_size = self.remote_settings.max_frame_size
        self.max_inbound_frame_size = self.local_settings.max_frame_size
        self.decoder.max_header_list_size = MAX_HEADER_LIST_SIZE
        self.incoming_buffer: Any = FrameCutter(preface=b"" if client_side else PREFACE)
        self._open_count = [0, 0]  # of even and of odd ids
        for quiet in _KNOWN.values():
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

    # --- extension frames ---

    def _receive_frame(self, frame: hf.Frame) -> list[h2.events.Event]:
        if type(frame) is Extension:
            return [ExtensionReceived(frame)]
        events = super()._receive_frame(frame)
        # At once: one record may close thousands of streams and open as many.
        self.reap(frame.stream_id)
        return events

    def send_extension(self, kind: int, stream_id: int, payload: bytes) -> None:
        frame = hf.ExtensionFrame(kind, stream_id, body=payload)
        frame.body_len = len(payload)
        self._prepare_for_sending([frame])

    # --- what h2 has, under the names of the protocol ---

    def open_connection_window(self) -> None:
        self.increment_flow_control_window(CONNECTION_WINDOW - self.inbound_flow_control_window)

    def refill_connection_window(self) -> None:
        if self.inbound_flow_control_window < CONNECTION_WINDOW // 2:
            self.open_connection_window()

    def reset(self, stream_id: int) -> None:
        self.reset_stream(stream_id, ErrorCodes.CANCEL)

    def goaway(self, error: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> None:
        self.close_connection(error)


def settings(*, open_channels: int, stream_window: int) -> dict[int, int]:
    """The SETTINGS of one side (protocol section 4)."""
    codes = h2.settings.SettingCodes
    return {
        codes.HEADER_TABLE_SIZE: 4_096,
        codes.ENABLE_PUSH: 0,
        codes.MAX_CONCURRENT_STREAMS: open_channels,
        codes.INITIAL_WINDOW_SIZE: stream_window,
        codes.MAX_FRAME_SIZE: MAX_FRAME_SIZE,
        codes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_SIZE,
    }
