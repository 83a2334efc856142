"""Values to message bytes and back (protocol section 8)."""

import datetime
import enum
import math
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Self

import hypothesis
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.channels.values import Attachments, End, Kind, Wrap, find_ends, replace_ends
from chanlink.errors import DecodeError, EncodeError, LimitReached, MessageTooLarge
from chanlink.limits import MAX_DEPTH, Limits, PeerLimits
from chanlink.wire.messages.decode import decode as decode_message
from chanlink.wire.messages.encode import PlainEncoder, frame
from chanlink.wire.messages.encode import encode as encode_ends
from chanlink.wire.messages.framing import END_TYPE, HAS_TABLE
from chanlink.wire.messages.pieces import Pieces
from tests.patience import lines_run, processor_time

UTC = datetime.UTC
PEER = PeerLimits()


class Stub(End):
    """An end that only says which one it is."""

    @property
    def is_void(self) -> bool:
        return False

    def __init__(self, kind: Kind = "receiver", stream_id: int = 0) -> None:
        self.kind = kind
        self.stream_id = stream_id

    def _check_movable(self, receiver: object, path: str) -> None: ...
    def check_sendable(self, path: str) -> None: ...
    def _lend(self) -> None: ...
    def _keep(self) -> None: ...
    def _moved(self) -> Self:
        return self

    def _forsake(self, code: str) -> None: ...


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


# --- round trips --------------------------------------------------------------------------------

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
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@given(VALUES)
@hypothesis.settings(max_examples=150, deadline=None)
def test_what_may_be_sent_arrives_as_it_was(value: object) -> None:
    assert round_trip(value) == value


@given(INTS)
@hypothesis.settings(deadline=None)
def test_an_int_arrives_as_an_int(value: int) -> None:
    got = round_trip([value, {value: value}])
    assert got == [value, {value: value}]
    assert type(got[0]) is int


@given(TIMES)
@hypothesis.settings(deadline=None)
def test_a_time_arrives_as_the_same_instant_in_utc(value: datetime.datetime) -> None:
    got = round_trip(value)
    assert got == value.astimezone(UTC)
    assert got.utcoffset() == datetime.timedelta(0)


class Colour(enum.IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        ({"a": (1, (2,))}, {"a": [1, [2]]}),
        (Colour.RED, 1),
        ({Colour.RED: Colour.RED}, {1: 1}),
        (Word("abc"), "abc"),
        ({Word("abc"): Word("abc")}, {"abc": "abc"}),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc")[1:], b"bc"),
        ([math.inf], [math.inf]),
        (True, True),
    ],
)
def test_what_is_as_good_as_data_arrives_as_data(value: object, arrives: object) -> None:
    got = round_trip(value)
    assert got == arrives
    assert type(got) is type(arrives)


def test_a_nan_arrives() -> None:
    assert math.isnan(round_trip(math.nan))


# --- what can't be sent -------------------------------------------------------------------------


class Thing:
    pass


LOOP: list[Any] = []
LOOP.append(LOOP)
NAIVE = datetime.datetime(2026, 1, 1)
LATE = datetime.datetime(9999, 12, 31, 23, 59, tzinfo=datetime.timezone(-datetime.timedelta(hours=5)))
GAPS = memoryview(b"abcdef")[::2]
REFERENCE = msgpack.ExtType(END_TYPE, b"\0")


@pytest.mark.parametrize(
    "thing",
    [
        *(Thing(), {1}, frozenset(), 1j, object, datetime.date(2026, 1, 1), range(3), iter([])),
        *(NAIVE, LATE, GAPS, REFERENCE, msgpack.Timestamp(1), 2**64, -(2**63) - 1, "\ud800", Word("\ud800")),
    ],
    ids=lambda thing: type(thing).__name__,
)
@pytest.mark.parametrize("ends", [[], [Stub()]], ids=["", "beside an end"])
def test_what_is_no_data_is_refused_with_its_path(thing: object, ends: list[End]) -> None:
    for value, path in [
        (thing, ""),
        ([thing], "[0]"),
        ({"args": [1, 2, {"body": thing}]}, "args[2].body"),
        ([{"a": (thing,)}], "[0].a[0]"),
        ({5: {b"k": thing}}, "5.b'k'"),
    ]:
        whole, where = (
            (value, path) if not ends else ([ends, value], "[1]" + path if path[:1] in "[" else f"[1].{path}")
        )
        with pytest.raises(EncodeError) as caught:
            encode(whole)
        assert caught.value.path == where
        assert str(caught.value).startswith(where or "the message")


@pytest.mark.parametrize("key", [None, 1.5, (1, 2), True, NAIVE, frozenset()], ids=str)
def test_a_key_that_is_none_is_refused_with_its_path(key: object) -> None:
    with pytest.raises(EncodeError) as caught:
        encode({"args": [{"fine": 1}, {key: 1}]})
    assert caught.value.path == "args[1]"


@pytest.mark.parametrize("key", [2**64, "\ud800"])
def test_a_key_that_msgpack_does_not_take_is_refused_with_its_path(key: object) -> None:
    with pytest.raises(EncodeError) as caught:
        encode({"args": {key: 1}})
    assert caught.value.path == f"args.{key}"


def nested(depth: int, kind: type = list) -> Any:
    value: Any = kind()
    for _ in range(depth - 1):
        value = [value] if kind is not dict else {"k": value}
    return value


@pytest.mark.parametrize("kind", [list, dict, tuple])
def test_64_levels_pass_and_65_do_not_on_both_sides(kind: type) -> None:
    body, _ = encode(nested(64, kind))
    assert decode(framed(body)) == msgpack.unpackb(body)
    with pytest.raises(EncodeError, match="too deep"):
        encode(nested(65, kind))
    with pytest.raises(DecodeError, match="too deep"):
        decode(framed(msgpack.packb(nested(65, kind))))
    assert decode(framed(msgpack.packb([1, nested(63, kind)]))) is not None
    big = {"pad": bytes(10_000), "deep": nested(63, kind)}
    assert decode(framed(msgpack.packb(big)))["pad"] == bytes(10_000)
    big["deep"] = nested(64, kind)
    with pytest.raises(DecodeError, match="too deep"):
        decode(framed(msgpack.packb(big)))


def test_a_peer_that_takes_less_is_sent_less_and_one_that_takes_more_only_what_we_can() -> None:
    shallow, boundless = PeerLimits(message_depth=2), PeerLimits(message_depth=2**31 - 1)
    encode([[]], shallow)
    with pytest.raises(EncodeError, match="too deep"):
        encode([[[]]], shallow)
    encode(nested(MAX_DEPTH), boundless)
    for value in (nested(MAX_DEPTH + 1), nested(100_000), LOOP):
        with pytest.raises(EncodeError, match="too deep"):
            encode(value, boundless)
    many = PeerLimits(message_ends=1_000)
    encode([Stub() for _ in range(128)], many)
    with pytest.raises(LimitReached):
        encode([Stub() for _ in range(129)], many)


@pytest.mark.parametrize("loop", [LOOP, {"a": LOOP}, [1, [LOOP]]], ids=["list", "map", "inside"])
def test_what_holds_itself_is_refused(loop: object) -> None:
    with pytest.raises(EncodeError, match="too deep"):
        encode(loop)


def test_a_message_of_exactly_the_limit_passes_and_one_more_byte_does_not() -> None:
    limits = PeerLimits(message_size=1_000)
    body, _ = encode(bytes(997), limits)
    assert len(body) == 1_000
    assert decode(framed(body), message_size=1_000) == bytes(997)
    with pytest.raises(MessageTooLarge):
        encode(bytes(998), limits)
    body, _ = encode([Stub(), bytes(1_000 - 6 - 7)], limits)  # a table has 6 bytes, the rest 7
    assert len(framed(body, [("receiver", 1)])) == 1_004
    with pytest.raises(MessageTooLarge):
        encode([Stub(), bytes(1_000 - 6 - 6)], limits)


@pytest.mark.parametrize("value", [["x" * 5_000_000, 2**64], "x" * 5_000_000], ids=["not-to-be-packed", "too-long"])
def test_what_can_not_be_sent_leaves_no_memory_behind(value: object) -> None:
    encoder = PlainEncoder(PeerLimits(message_size=1_000_000))
    tracemalloc.start()
    try:
        assert encoder.encode(value) is None
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert encoder.encode(["x"]) == msgpack.packb(["x"])


def test_too_many_ends_are_refused() -> None:
    encode([Stub() for _ in range(3)], PeerLimits(message_ends=3))
    with pytest.raises(LimitReached) as caught:
        encode([Stub() for _ in range(4)], PeerLimits(message_ends=3))
    assert (caught.value.limit, caught.value.value) == ("message_ends", 3)


def test_the_same_end_twice_is_refused_with_its_path() -> None:
    end = Stub()
    with pytest.raises(EncodeError, match="twice") as caught:
        encode({"a": end, "b": [end]})
    assert caught.value.path == "b[0]"


def test_in_memory_anything_passes_but_ends_are_found() -> None:
    end, thing = Stub(), Thing()
    ends = find_ends({"thing": thing, None: [NAIVE, {1}, end]}, PEER, None)
    assert [(one.end, one.path) for one in ends.values()] == [(end, "None[2]")]
    with pytest.raises(EncodeError, match="too deep"):
        find_ends(LOOP, PEER, None)


def test_a_foreign_stream_is_wrapped_where_it_stands() -> None:
    thing, wrapped = Thing(), Stub("bytes")
    body, ends = encode({"n": 1, "log": [thing]}, wrap=lambda item: wrapped if item is thing else None)
    assert [tuple(one) for one in ends.values()] == [(wrapped, "log[0]")]
    opened = Opened(("bytes", 7))
    got = decode(framed(body, [("bytes", 7)]), opened)
    assert got == {"n": 1, "log": opened.made}


def test_replacing_ends_copies_only_what_holds_them() -> None:
    old, new, plain = Stub(), Stub(), {"x": [1]}
    value = {"plain": plain, "list": [1, old], "tuple": (old,)}
    got = replace_ends(value, {id(old): new})
    assert got == {"plain": plain, "list": [1, new], "tuple": [new]}
    assert got["plain"] is plain
    assert value["list"] == [1, old]


# --- ends ---------------------------------------------------------------------------------------

THREE: list[tuple[Kind, int]] = [("receiver", 3), ("sender", 5), ("bytes", 7)]


def test_ends_arrive_where_they_stood() -> None:
    stubs = [Stub(kind) for kind, _ in THREE]
    value = {"a": stubs[0], "list": [1, stubs[1], {"deep": stubs[2]}], 5: "a key that is an int"}
    body, ends = encode(value)
    assert [one.path for one in ends.values()] == ["a", "list[1]", "list[2].deep"]
    opened = Opened(*THREE)
    got = decode(framed(body, THREE), opened)
    first, second, third = opened.made
    assert got == {"a": first, "list": [1, second, {"deep": third}], 5: "a key that is an int"}
    assert [(one.kind, one.stream_id) for one in opened.made] == THREE


@pytest.mark.parametrize("key", [5, b"k", "k"])
def test_ends_arrive_beside_keys_of_every_sort(key: object) -> None:
    """And each is made once, whichever way the keys make the decoder go."""
    body, _ = encode([Stub(), {"x": Stub(), key: 1}])
    opened = Opened(("receiver", 3), ("receiver", 5))
    got = decode(framed(body, [("receiver", 3), ("receiver", 5)]), opened)
    assert got == [opened.made[0], {"x": opened.made[1], key: 1}]


def test_the_wire_of_a_message_is_that_of_the_protocol() -> None:
    body, _ = encode({"reply": Stub()})
    assert framed(body, [("sender", 0x01020304)]) == (
        b"\x80\0\0\x10" + b"\1" + b"\2\1\2\3\4" + b"\x81\xa5reply\xd4\1\0"
    )
    assert framed(encode("x")[0]) == b"\0\0\0\2\xa1x"


def test_an_end_that_is_not_referred_to_is_claimed_and_not_made() -> None:
    opened = Opened(*THREE)
    assert decode(framed(b"\xd4\1\1", THREE), opened).kind == "sender"
    assert not opened.waiting
    assert len(opened.made) == 1


# --- what can't have been sent ------------------------------------------------------------------


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


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_a_decode_error_and_quickly_one(name: str) -> None:
    def refused() -> None:
        with pytest.raises(DecodeError):
            decode(HOSTILE[name], Opened(*THREE))

    assert lines_run(refused) < 100_000
    assert processor_time(refused) < 0.5  # measured: under 5 ms


EQUAL_KEYS = {
    "str": (b"\x82\xa1a\1\xa1a\2", {"a": 2}),
    "int": (b"\x82\1\1\xcd\0\1\2", {1: 2}),
    "bin": (b"\x82\xc4\1a\1\xc5\0\1a\2", {b"a": 2}),
    "str beside an int": (b"\x83\xa1a\1\5\6\xd9\1a\2", {"a": 2, 5: 6}),
    "in a long one": (b"\x92\x82\1\1\1\2\xc5\x20\0" + bytes(8_192), [{1: 2}, bytes(8_192)]),
}


@pytest.mark.parametrize("name", EQUAL_KEYS)
def test_of_equal_keys_the_last_one_counts_and_beside_a_table_they_are_refused(name: str) -> None:
    body, value = EQUAL_KEYS[name]
    assert decode(framed(body)) == value
    with pytest.raises(DecodeError, match="twice"):
        decode(table(b"\x92\xd4\1\0" + body, (1, 3)), Opened(*THREE))


def rich() -> bytes:
    value = {"a": [1, -5, 2.5, None, True, "text", b"bytes", datetime.datetime(2026, 1, 1, tzinfo=UTC)], 7: Stub()}
    body, _ = encode([value, Stub("bytes"), {"n": {"m": 2**64 - 1}}])
    return framed(body, [("receiver", 3), ("bytes", 7)])


@pytest.mark.parametrize("cut", range(1, len(rich()) - 4))
def test_no_truncation_is_a_message(cut: int) -> None:
    whole = rich()
    decode(whole, Opened(*THREE))
    short = whole[4:-cut]
    with pytest.raises(DecodeError):
        decode((HAS_TABLE | len(short)).to_bytes(4, "big") + short, Opened(*THREE))


def allowed(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(allowed, value))
    if isinstance(value, dict):
        return all(type(key) in (str, int, bytes) for key in value) and all(map(allowed, value.values()))
    return value is None or type(value) in (bool, int, float, str, bytes, datetime.datetime, Stub)


def check_any(payload: bytes, with_table: bool) -> None:
    try:
        value = decode(((HAS_TABLE if with_table else 0) | len(payload)).to_bytes(4, "big") + payload, Opened(*THREE))
    except DecodeError:
        return
    assert allowed(value)


@given(st.binary(max_size=200), st.booleans())
@hypothesis.settings(max_examples=500, deadline=None)
def test_no_bytes_are_anything_but_data_or_a_decode_error(payload: bytes, with_table: bool) -> None:
    check_any(payload, with_table)


@given(st.data())
@hypothesis.settings(max_examples=500, deadline=None)
def test_no_changed_message_is_anything_but_data_or_a_decode_error(data: st.DataObject) -> None:
    payload = bytearray(rich()[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    check_any(bytes(payload), True)


def pieces() -> Iterable[bytes]:
    return [
        b"\x91",
        b"\x81",
        b"\xdc\x00\x02",
        b"\xd4\1\0",
        b"\xd4\1\1",
        b"\xa1a",
        b"\5",
        b"\xc0",
        b"\xd6\xff" + bytes(4),
    ]


@given(st.lists(st.sampled_from(pieces()), max_size=30))
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_mixture_of_pieces_is_anything_but_data_or_a_decode_error(some: list[bytes]) -> None:
    check_any(b"\2" + b"\1\0\0\0\3" + b"\2\0\0\0\5" + b"".join(some), True)


def test_a_long_flat_message_is_decoded_in_a_time_that_is_in_proportion() -> None:
    for value in (
        [0] * 60_000,
        {str(n): n for n in range(8_000)},
        [[]] * 30_000,
        [{}] * 30_000,
        bytes(range(256)) * 250,
    ):
        message = framed(msgpack.packb(value))
        assert decode(message) == value
        assert lines_run(partial(decode, message)) < 3 * len(message) + 1_000
        assert processor_time(partial(decode, message)) < 0.5  # measured: 4 ms
