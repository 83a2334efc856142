"""What a message may hold: ends are found in it, and everything else is looked at."""

import datetime
import enum
from typing import Any

import pytest

from chanlink.channels.values import End, find_ends, is_plain, replace_ends
from chanlink.errors import EncodeError, LimitReached
from chanlink.limits import PeerLimits

from .stubs import Stub

PEER = PeerLimits()
NAIVE = datetime.datetime(2026, 1, 1)
LOOP: list[Any] = []
LOOP.append(LOOP)


class Thing:
    """No data, and no end."""


class Number(enum.IntEnum):
    ONE = 1


def no_wrap(item: object) -> End | None:
    return None


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x", b"x", bytearray(b"x"), [], [1, "x"], {}, {1: b"x", "a": 2}])
def test_plain_data_at_most_one_level_deep_are_plain(value: object) -> None:
    assert is_plain(value)
    assert find_ends(value, PEER, no_wrap) == {}


@pytest.mark.parametrize(
    "value", [[[]], {"a": {}}, (1,), Number.ONE, {1.5: 1}, memoryview(b"x"), Thing(), Stub(), [NAIVE]]
)
def test_what_may_be_data_and_is_not_plain_goes_the_long_way(value: object) -> None:
    assert not is_plain(value)


@pytest.mark.parametrize(
    "value", [[[]], (1, {"a": ()}), Number.ONE, memoryview(b"x"), NAIVE.replace(tzinfo=datetime.UTC)]
)
def test_and_is_found_to_be_data_there(value: object) -> None:
    assert find_ends(value, PEER, no_wrap) == {}


@pytest.mark.parametrize(
    ("value", "problem", "path"),
    [
        ({"a": [1, Thing()]}, "a Thing can't be sent", "a[1]"),
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
