"""Cuts HTTP/2 frames from bytes as they arrive (protocol section 4).  No I/O."""

import struct

from h2.errors import ErrorCodes

from .rules import BrokenRule

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = struct.Struct(">HBBBL")
FRAME_HEADER_SIZE = 9
MAX_FRAME_SIZE = 65_535 - 16 - 1 - FRAME_HEADER_SIZE
"""The largest payload that is one record: less its tag, its kind byte, and the frame's own header."""

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
