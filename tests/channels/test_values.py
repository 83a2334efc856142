"""What a message may hold: ends are found in it, and everything else is looked at."""

import dataclasses
import datetime
import enum
from typing import Any

import msgpack
import pytest

from chanlink.channels.values import INT_KEY, End, count_plain, find_ends, replace_ends
from chanlink.errors import EncodeError, LimitReached
from chanlink.limits import PeerLimits

from .stubs import Stub

PEER = PeerLimits()
NAIVE = datetime.datetime(2026, 1, 1)
LOOP: list[Any] = []
LOOP.append(LOOP)


class Thing:
    """No data, and no end."""


@dataclasses.dataclass
class Record:
    """No data either, but where its type is known."""

    size: int


class Number(enum.IntEnum):
    ONE = 1


def no_wrap(item: object) -> End | None:
    return None


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *((leaf, 1) for leaf in (None, True, 1, 1.5, "x", b"x", bytearray(b"x"), [], (), {})),
        *(([1, "x"], 3), ((1, b"x"), 3), ({"a": 2, b"b": None}, 5), ([[[]]], 3), ({"a": {"b": [1, 2]}, "c": ()}, 9)),
        *(([{"a": 1}, {"b": 2}], 7), (list(range(1_000)), 1_001), ([list(range(1_000)), {"a": []}], 1_005)),
        *(({1: 2}, 3 + INT_KEY), ([{1: "x", "a": {2: 3, b"x": 4}}] * 2, 19 + 4 * INT_KEY)),
        (dict.fromkeys(range(100)), 201 + 100 * INT_KEY),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_the_values_of_plain_data_are_counted(value: object, count: int) -> None:
    assert count_plain(value, PEER.message_depth) == count
    assert find_ends(value, PEER, no_wrap) == {}


ODD = [Number.ONE, {1.5: 1}, {True: 1}, {Number.ONE: 1}, memoryview(b"x"), Thing(), Stub(), NAIVE, LOOP]


@pytest.mark.parametrize(
    "odd", [*ODD, msgpack.ExtType(1, b"\0"), msgpack.Timestamp(1)], ids=lambda odd: type(odd).__name__
)
def test_what_may_be_data_and_is_not_plain_goes_the_long_way_wherever_it_stands(odd: object) -> None:
    for value in (odd, [odd], {"a": odd}, [1, {"a": (2, odd)}], [*range(100), odd], [*range(100), {"a": odd}, []]):
        assert count_plain(value, PEER.message_depth) == 0


def test_plain_data_that_nests_deeper_than_allowed_is_not_counted() -> None:
    assert count_plain("x", 0) == 1
    assert count_plain([], 0) == 0
    assert count_plain([{"a": ()}], 3) == 4
    assert count_plain([{"a": ()}], 2) == 0


def test_long_bytes_are_not_counted_but_among_many_values() -> None:
    for value in (b"long", [1, b"long"], {"a": {"b": b"long"}}):
        assert count_plain(value, 9, longest=4) == 0
        assert count_plain(value, 9, longest=5) > 0
    assert count_plain([b"long"] * 100, 9, longest=4) == 101


@pytest.mark.parametrize(
    "value", [[[]], (1, {"a": ()}), Number.ONE, memoryview(b"x"), NAIVE.replace(tzinfo=datetime.UTC)]
)
def test_and_is_found_to_be_data_there(value: object) -> None:
    assert find_ends(value, PEER, no_wrap) == {}


@pytest.mark.parametrize(
    ("value", "problem", "path"),
    [
        ({"a": [1, Thing()]}, "a Thing can't be sent$", "a[1]"),
        ([object()], "an object can't be sent$", "[0]"),
        ({"a": Record(1)}, "a Record can't be sent where no type is given for it$", "a"),
        ([{"t": NAIVE}], "without a time zone", "[0].t"),
        ({"a": {(1, 2): 3}}, "a tuple can't be a key", "a"),
        ([memoryview(b"xxxx")[::2]], "with gaps", "[0]"),
    ],
)
def test_what_is_no_data_is_refused_with_its_path(value: object, problem: str, path: str) -> None:
    with pytest.raises(EncodeError, match=problem) as caught:
        find_ends(value, PEER, no_wrap)
    assert caught.value.path == path


def test_ends_are_found_in_the_order_in_which_they_stand() -> None:
    one, two, three = Stub(), Stub("sender"), Stub("bytes")
    found = find_ends({"a": one, "list": [1, two, ({"deep": three},)]}, PEER, no_wrap)
    assert [(end, path) for end, path in found.values()] == [(one, "a"), (two, "list[1]"), (three, "list[2][0].deep")]
    assert list(found) == [id(one), id(two), id(three)]


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("message_ends", [Stub(), Stub(), Stub()]),
        ("message_values", [[1] * 5_000]),
        ("message_int_keys", [dict.fromkeys(range(2_100))]),
    ],
)
def test_too_many_of_something_are_refused_and_not_in_memory(limit: str, value: object) -> None:
    limits = PeerLimits(message_ends=2, message_values=4_500, message_int_keys=2_048)
    with pytest.raises(LimitReached) as caught:
        find_ends(value, limits, no_wrap)
    assert caught.value.limit == limit
    if limit != "message_ends":
        find_ends(value, limits, None)


def test_a_foreign_stream_stands_where_it_stood_and_may_be_refused_there() -> None:
    thing, wrapped = Thing(), Stub("bytes")
    found = find_ends({"log": [thing]}, PEER, lambda item: wrapped if item is thing else None)
    assert {identity: tuple(one) for identity, one in found.items()} == {id(thing): (wrapped, "log[0]")}

    def refuse(item: object) -> End | None:
        raise EncodeError("a text file", "")

    with pytest.raises(EncodeError, match="a text file") as caught:
        find_ends({"log": [thing]}, PEER, refuse)
    assert caught.value.path == "log[0]"


def test_in_memory_anything_passes_but_ends_are_found() -> None:
    end, thing = Stub(), Thing()
    ends = find_ends({"thing": thing, None: [NAIVE, {1}, end]}, PEER, None)
    assert [(one.end, one.path) for one in ends.values()] == [(end, "None[2]")]
    with pytest.raises(EncodeError, match="too deep"):
        find_ends(LOOP, PEER, None)


def test_replacing_ends_copies_only_what_holds_them() -> None:
    old, new, plain = Stub(), Stub(), {"x": [1]}
    value = {"plain": plain, "list": [1, old], "tuple": (old,)}
    got = replace_ends(value, {id(old): new})
    assert got == {"plain": plain, "list": [1, new], "tuple": [new]}
    assert got["plain"] is plain
    assert value["list"] == [1, old]
