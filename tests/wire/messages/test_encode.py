"""Values to message bytes, which are decoded as they were (protocol section 8)."""

import datetime
import enum
import math
import tracemalloc
from typing import Any, NamedTuple

import hypothesis
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.channels.values import End
from chanlink.errors import DecodeError, EncodeError, LimitReached, MessageTooLarge
from chanlink.limits import MAX_DEPTH, PeerLimits
from chanlink.wire.messages.encode import PlainEncoder
from chanlink.wire.messages.framing import END_TYPE
from chanlink.wire.messages.pieces import Pieces
from tests.channels.stubs import Stub

from .codec import INTS, KEYS, LEAVES, THREE, TIMES, UTC, Opened, decode, encode, framed, round_trip

# --- round trips --------------------------------------------------------------------------------

VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@pytest.mark.slow
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


# --- the short way ------------------------------------------------------------------------------

ODD = st.sampled_from([memoryview(b"x"), Colour.RED, Word("w"), 2**64, "\ud800", 1j, None, True])
ODD_KEYS = st.sampled_from([None, 1.5, True, Colour.RED, Word("w"), "\ud800", 2**64])
MIXED = st.recursive(
    LEAVES | ODD,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS | ODD_KEYS, inner) | st.lists(inner).map(tuple),
    max_leaves=30,
)


@pytest.mark.slow
@given(VALUES | MIXED, st.sampled_from([2, 3, 64]), st.sampled_from([20, 200, 2**20]))
@hypothesis.settings(max_examples=300, deadline=None)
def test_the_short_way_makes_what_the_long_one_makes_or_leaves_it_to_that(value: object, depth: int, size: int) -> None:
    limits = PeerLimits(message_depth=depth, message_size=size)
    encoder = PlainEncoder(limits)
    short = encoder.encode(value)
    if short is None:
        short = encoder.encode([1, {"a": [2]}])  # and is as good as before
        value = [1, {"a": [2]}]
    if short is not None:
        assert bytes(short) == encode(value, limits)[0]


@pytest.mark.parametrize("nests", [False, True])
def test_nor_does_it_pass_too_many_values_or_int_keys(nests: bool) -> None:
    limits = PeerLimits(message_values=5_000, message_int_keys=2_048)
    encoder = PlainEncoder(limits)

    def kept(value: Any) -> bytes | Pieces | None:
        return encoder.encode([{"a": value}] if nests else value)

    around = 4 if nests else 1
    for most, more in [
        ([1] * (5_000 - around), [1] * (5_001 - around)),
        (dict.fromkeys(range(2_048)), dict.fromkeys(range(2_049))),
        (dict.fromkeys(map(str, range(2_498))), dict.fromkeys(map(str, range(2_500)))),
    ]:
        assert kept(most) is not None
        assert kept(more) is None
        with pytest.raises(LimitReached):
            encode([{"a": more}] if nests else more, limits)


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


def test_a_foreign_stream_is_wrapped_where_it_stands() -> None:
    thing, wrapped = Thing(), Stub("bytes")
    body, ends = encode({"n": 1, "log": [thing]}, wrap=lambda item: wrapped if item is thing else None)
    assert [tuple(one) for one in ends.values()] == [(wrapped, "log[0]")]
    opened = Opened(("bytes", 7))
    got = decode(framed(body, [("bytes", 7)]), opened)
    assert got == {"n": 1, "log": opened.made}


# --- ends ---------------------------------------------------------------------------------------


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
