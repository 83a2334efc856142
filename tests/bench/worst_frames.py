"""The frames that cost most: the longest of each kind, and records that are full of the shortest ones."""

import gc
import struct
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import hpack

from chanlink.errors import SessionError
from chanlink.limits import Limits
from chanlink.wire.h2 import headers
from chanlink.wire.h2.frames import FRAME_HEADER, MAX_FRAME_SIZE, STOP, TAKEN
from tests.wire.muxes import Pair, overdue_at

LIMITS = Limits()
RECORD = 65_518
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS = 1, 4
OPENING = headers.encode([(b"kind", b"receiver"), (b"service", b"s")])
NOW = 2_000.0


def frame(kind: int, flags: int, stream_id: int, body: bytes) -> bytes:
    return FRAME_HEADER.pack(len(body) >> 8, len(body) & 0xFF, kind, flags, stream_id) + body


def full(one: bytes) -> bytes:
    return one * (RECORD // len(one))


def openings(after: bytes = b"") -> bytes:
    """Streams are opened, and something comes on each."""
    made = bytearray()
    for stream_id in range(3, 2 * LIMITS.open_channels, 2):
        one = frame(HEADERS, END_HEADERS, stream_id, OPENING)
        one += frame(DATA, END_STREAM, stream_id, after) if after else b""
        if len(made) + len(one) > RECORD:
            break
        made += one
    return bytes(made)


def cases() -> Iterator[tuple[str, bytes]]:
    """Stream 1 is a channel on which the peer sends."""
    window = struct.pack(">HL", 4, LIMITS.stream_window)
    yield "SETTINGS", frame(SETTINGS, 0, 0, window * (MAX_FRAME_SIZE // 6))
    yield "GOAWAY", frame(GOAWAY, 0, 0, bytes(MAX_FRAME_SIZE))
    for name, block in {
        "literal": b"\0\1a\0" * 100,
        "indexed": b"\x82" * 90,
        "in Huffman's code": hpack.Encoder().encode([(b"a", b"0" * 3_900)], huffman=True),
        "of changes of the table's size": b"",
    }.items():
        before = b"\x20" * 4_000 if not block else b""
        yield f"HEADERS, {name}", frame(HEADERS, END_HEADERS, 3, before + OPENING + block)
    yield "a record of openings", openings()
    yield "a record of streams that open and end", openings(b"\0\0\0\1\xc0")
    for name, one in {
        "messages": frame(DATA, 0, 1, b"\0\0\0\1\xc0"),
        "bytes": frame(DATA, 0, 1, b"\0"),
        "no bytes": frame(DATA, 0, 1, b""),
        "PING": frame(PING, 0, 0, bytes(8)),
        "RST_STREAM": frame(RST_STREAM, 0, 1, bytes(4)),
        "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
        "WINDOW_UPDATE of the connection": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        "TAKEN": frame(TAKEN, 0, 1, bytes(8)),
        "STOP": frame(STOP, 0, 1, b"\1a"),
    }.items():
        yield f"a record of {name}", full(one)


def cost(data: bytes) -> tuple[float, int]:
    """Seconds of processor time, the least of three, and bytes of memory."""
    took, memory = 9.0, 0
    for turn in range(4):
        pair = Pair(LIMITS)
        pair.open("receiver")
        mux = pair.server.mux
        gc.collect()
        if turn == 3:
            tracemalloc.start()
        began = time.process_time()
        with suppress(SessionError):  # too many of them: it is what that costs
            mux.receive_data(data, NOW)
        mux.data_to_send(NOW)
        mux.tick(overdue_at(NOW))
        if turn < 3:
            took = min(took, time.process_time() - began)
        else:
            memory = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    return took, memory


def worst() -> tuple[str, float, str, int]:
    """The slowest, and the one that takes most memory."""
    costs = {name: cost(data) for name, data in cases()}
    slowest = max(costs, key=lambda name: costs[name][0])
    largest = max(costs, key=lambda name: costs[name][1])
    return slowest, costs[slowest][0], largest, costs[largest][1]
