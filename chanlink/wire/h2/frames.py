"""The frames of HTTP/2 and our own: cut from bytes as they arrive, and what is made of them (protocol section 4)."""

import struct
from typing import NamedTuple

from h2.errors import ErrorCodes
from hyperframe import frame as hf
from hyperframe.exceptions import HyperframeError

from chanlink.limits import MAX_RECORD

from .rules import BrokenRule

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = struct.Struct(">HBBBL")
FRAME_HEADER_SIZE = 9
MAX_FRAME_SIZE = MAX_RECORD - 16 - 1 - FRAME_HEADER_SIZE
"""The largest payload that is one record: less its tag, its kind byte, and the frame's own header."""

FULL_BYTES = MAX_FRAME_SIZE - 16
"""The longest DATA that we send: of either suite it is one record, and a turn is as many as leave at a time."""
MAX_HEADER_LIST_SIZE = 4_096
"""Also the bound of a header block as it is on the wire."""

Cut = tuple[int, int, int, bytes]
"""Type, flags, stream id and payload of a frame."""


class FrameCutter:
    """Cuts frames from what arrives; stands in for h2's `FrameBuffer`.

    It is fed with `add_data`, and then gives its frames until it has no whole one left.
    """

    def __init__(self, *, preface: bytes) -> None:
        self.max_frame_size = MAX_FRAME_SIZE  # h2 sets it before each use
        self._preface = preface
        self._data = b""
        self._offset = 0
        self.refused: Cut | None = None
        """The frame that was too long."""

    def add_data(self, data: bytes | bytearray) -> None:
        data = bytes(data)  # which costs nothing if they are
        # Mostly a record ends with a frame, so that nothing is left and nothing is copied.
        self._data = self._data[self._offset :] + data if self._offset < len(self._data) else data
        self._offset = 0
        if self._preface:
            self._cut_preface()

    def _cut_preface(self) -> None:
        size = min(len(self._preface), len(self._data))
        if self._data[:size] != self._preface[:size]:
            raise BrokenRule("the connection does not begin with the preface of HTTP/2")
        self._preface = self._preface[size:]
        self._offset = size

    def cut(self) -> Cut | None:
        """The next frame, if it is there whole."""
        begin = self._offset + FRAME_HEADER_SIZE
        if len(self._data) < begin:
            return None
        high, low, kind, flags, stream_id = FRAME_HEADER.unpack_from(self._data, self._offset)
        length = high << 8 | low
        if length > self.max_frame_size:
            self.refused = kind, flags, stream_id & 0x7FFFFFFF, b""
            raise BrokenRule(f"{length} bytes are too many", ErrorCodes.FRAME_SIZE_ERROR)
        end = begin + length
        if len(self._data) < end:
            return None
        self._offset = end
        return kind, flags, stream_id & 0x7FFFFFFF, self._data[begin:end]


# --- what is cut ---

TAKEN, DRAIN, STOP = 0xF1, 0xF2, 0xF3


class _Quiet:
    """h2 calls `repr` on every frame it receives."""

    def __repr__(self) -> str:
        return "a frame"


class _Data(_Quiet, hf.DataFrame):
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


class Extension(NamedTuple):
    """A frame of protocol section 4.2. No hyperframe object: each would cost more than the frame is worth."""

    type: int
    stream_id: int
    body: bytes


class Data(NamedTuple):
    """DATA, for the same reason."""

    stream_id: int
    data: bytes
    ended: bool = False
    """Whether it has END_STREAM."""


class Block(NamedTuple):
    """HEADERS: the fields of a header block."""

    stream_id: int
    fields: dict[bytes, bytes]
    ended: bool
    """Whether it has END_STREAM."""
    opens: bool
    """Whether it opens the stream."""


# PRIORITY, PUSH_PROMISE, ALTSVC and CONTINUATION are not in the protocol (a header block of 4,096 bytes needs none).
KNOWN: dict[int, type[hf.Frame]] = {
    frame.type: frame for frame in (_Data, _RstStream, _Settings, _Ping, _GoAway, _WindowUpdate)
}
DATA, HEADERS = hf.DataFrame.type, hf.HeadersFrame.type
EXTENSIONS = (TAKEN, DRAIN, STOP)
END_STREAM = 0x1
PADDED = 0x8
END_HEADERS = 0x4
_PRIORITY = 0x20


def parse(kind: int, flags: int, stream_id: int, body: bytes) -> hf.Frame:
    """The frame of h2's for what was cut, of any type that goes no short way. Raises `BrokenRule`."""
    if kind not in KNOWN:
        raise BrokenRule("no frame of this protocol")
    if kind == DATA and flags & PADDED:
        raise BrokenRule("padding is not allowed")
    try:
        frame = KNOWN[kind](stream_id)
        frame.parse_flags(flags)
        frame.parse_body(memoryview(body))
    except (HyperframeError, struct.error) as exc:
        raise BrokenRule("malformed, or not on such a stream") from exc
    return frame


def check_headers(flags: int, size: int) -> None:
    if flags & PADDED:
        raise BrokenRule("padding is not allowed")
    if flags & _PRIORITY:
        raise BrokenRule("a priority is not allowed")
    if not flags & END_HEADERS or size > MAX_HEADER_LIST_SIZE:
        raise BrokenRule(f"a header block is one frame, of at most {MAX_HEADER_LIST_SIZE} bytes")
