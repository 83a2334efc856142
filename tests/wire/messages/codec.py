"""Messages to bytes and back, with ends that only say which one they are; and bytes that no message has."""

import datetime
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from hypothesis import strategies as st

from chanlink.channels.values import Attachments, End, Kind, Wrap, find_ends
from chanlink.limits import Limits, PeerLimits
from chanlink.wire.messages.decode import decode as decode_message
from chanlink.wire.messages.encode import encode as encode_ends
from chanlink.wire.messages.encode import frame
from chanlink.wire.messages.framing import HAS_TABLE
from chanlink.wire.messages.pieces import Pieces
from tests.channels.stubs import Stub

UTC = datetime.UTC
PEER = PeerLimits()
INTS = st.integers(-(2**63), 2**64 - 1)
TIMES = st.datetimes(
    min_value=datetime.datetime(1, 1, 2),
    max_value=datetime.datetime(9999, 12, 30),
    timezones=st.timezones() | st.just(UTC),
    allow_imaginary=False,
)
LEAVES = (
    st.none()
    | st.booleans()
    | INTS
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    # In UTC: a time that comes twice, when clocks are put back, equals none of another zone (PEP 495).
    | TIMES.map(lambda time: time.astimezone(UTC))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"])) | INTS | st.binary()
THREE: list[tuple[Kind, int]] = [("receiver", 3), ("sender", 5), ("bytes", 7)]


def no_wrap(item: object) -> End | None:
    return None


def encode(value: object, limits: PeerLimits = PEER, wrap: Wrap | None = no_wrap) -> tuple[bytes, Attachments]:
    ends = find_ends(value, limits, wrap)
    return bytes(encode_ends(value, ends, limits)), ends


def framed(body: bytes | Pieces, entries: Iterable[tuple[Kind, int]] = ()) -> bytes:
    head, parts = frame(body, entries)
    return head + b"".join(parts)


class Opened:
    """The streams that were opened for messages of a channel, and what was claimed of them."""

    def __init__(self, *entries: tuple[Kind, int]) -> None:
        self.waiting = {stream_id: kind for kind, stream_id in entries}
        self.made: list[Stub] = []

    def claim(self, kind: Kind, stream_id: int) -> Callable[[], End] | None:
        if self.waiting.get(stream_id) != kind:
            return None
        del self.waiting[stream_id]
        return partial(self.make, kind, stream_id)

    def make(self, kind: Kind, stream_id: int) -> End:
        self.made.append(Stub(kind, stream_id))
        return self.made[-1]


def decode(framed: bytes, opened: Opened | None = None, **limits: int) -> Any:
    """A message as it is on the wire."""
    head = int.from_bytes(framed[:4], "big")
    assert head & ~HAS_TABLE == len(framed) - 4
    return decode_message(head, framed[4:], Limits(**limits), (opened or Opened()).claim)  # type: ignore[arg-type]


def round_trip(value: object) -> Any:
    return decode(framed(encode(value)[0]))


def table(body: bytes, *entries: tuple[int, int], count: int | None = None) -> bytes:
    packed = b"".join(bytes([kind]) + stream_id.to_bytes(4, "big") for kind, stream_id in entries)
    rest = bytes([len(entries) if count is None else count]) + packed + body
    return (HAS_TABLE | len(rest)).to_bytes(4, "big") + rest


TIMESTAMPS = [b"\xd4\xff\0", b"\xc7\0\xff", b"\xc7\x0d\xff" + bytes(13), b"\xc7\x0c\xff" + b"\xff" * 12]
HOSTILE: dict[str, bytes] = {
    "empty": framed(b""),
    "never used": framed(b"\xc1"),
    "two values": framed(b"\1\2"),
    "trailing byte": framed(b"\x80\0"),
    "array32 of 2^32-1": framed(b"\xdd\xff\xff\xff\xff"),
    "array32 of 2^32-1, padded": framed(b"\xdd\xff\xff\xff\xff" + b"\xc0" * 60_000),
    "array16": framed(b"\xdc\xff\xff" + b"\xc0" * 100),
    "map32 of 2^32-1": framed(b"\xdf\xff\xff\xff\xff" + b"\xa0" * 60_000),
    "map16": framed(b"\xde\xff\xff" + b"\xa0" * 100),
    "bin32 of 2^32-1": framed(b"\xc6\xff\xff\xff\xff" + bytes(100)),
    "str32 of 2^32-1": framed(b"\xdb\xff\xff\xff\xff" + bytes(100)),
    "ext32 of 2^32-1": framed(b"\xc9\xff\xff\xff\xff\1" + bytes(100)),
    "str that is no UTF-8": framed(b"\xa2\xff\xff"),
    "str that is a surrogate": framed(b"\xa3\xed\xa0\x80"),
    "65 kB of array headers": framed(b"\x91" * 65_000),
    "65 kB of array16 headers": framed(b"\xdc\xff\xff" * 21_800),
    "65 kB of array32 headers": framed(b"\xdd\0\0\xff\xff" * 13_100),
    "65 kB of map headers": framed(b"\x81\xa0" * 32_500),
    "1,000 levels that are all there": framed(b"\x91" * 1_000 + b"\xc0"),
    "60 arrays that claim 4,000 each": framed(b"\xdc\x0f\xa0" * 60 + bytes(3_000)),
    "1,000 arrays that claim 60,000 each": framed(b"\xdc\xea\x60" * 1_000 + bytes(60_000)),
    "an extension without a table": framed(b"\xd4\1\0"),
    "an unknown extension": framed(b"\xd4\5\0"),
    "a long unknown extension": framed(b"\xc8\xea\x60\5" + bytes(60_000)),
    "nil as key": framed(b"\x81\xc0\1"),
    "bool as key": framed(b"\x81\xc3\1"),
    "float as key": framed(b"\x81\xcb" + bytes(8) + b"\1"),
    "array as key": framed(b"\x81\x90\1"),
    "map as key": framed(b"\x81\x80\1"),
    "timestamp as key": framed(b"\x81\xd6\xff" + bytes(4) + b"\1"),
    "nil as key behind an int": framed(b"\x82\5\1\xc0\1"),
    **{f"a malformed timestamp {number}": framed(body) for number, body in enumerate(TIMESTAMPS)},
    "no table": table(b"\xc0", count=0),
    "an empty message with a table": HAS_TABLE.to_bytes(4, "big"),
    "a table that is cut": table(b"", (1, 3), count=2),
    "too many entries": table(b"\xc0", *[(1, 3)] * 129),
    "an unknown kind": table(b"\xd4\1\0", (4, 3)),
    "kind 0": table(b"\xd4\1\0", (0, 3)),
    "the wrong kind": table(b"\xd4\1\0", (2, 3)),
    "a stream that was not opened": table(b"\xd4\1\0", (1, 9)),
    "a stream twice": table(b"\x92\xd4\1\0\xd4\1\1", (1, 3), (1, 3)),
    "an index beyond the table": table(b"\xd4\1\1", (1, 3)),
    "an index twice": table(b"\x92\xd4\1\0\xd4\1\0", (1, 3)),
    "an index of two bytes": table(b"\xd5\1\0\0", (1, 3)),
    "an index of none": table(b"\xc7\0\1", (1, 3)),
    "another extension in a table": table(b"\xd4\2\0", (1, 3)),
    "an end as key": table(b"\x81\xd4\1\0\1", (1, 3)),
    "nil as key beside an end": table(b"\x82\xa1a\xd4\1\0\xc0\1", (1, 3)),
    "a key twice, with ends": table(b"\x82\xa1a\xd4\1\0\xa1a\xd4\1\1", (1, 3), (2, 5)),
    "trailing bytes behind a table": table(b"\xd4\1\0\xc0", (1, 3)),
    "nothing behind a table": table(b"", (1, 3)),
}
