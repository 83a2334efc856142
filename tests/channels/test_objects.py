"""Ends in objects: where they stand, and what is copied when they move."""

import dataclasses
from typing import Any, NamedTuple

import msgspec
import pytest

from chanlink import EncodeError
from chanlink.channels.objects import all_ends, ends_in, replace_in_objects

from .stubs import Stub


class Struct(msgspec.Struct):
    name: str
    end: Any = None


class Frozen(msgspec.Struct, frozen=True):
    end: Any
    name: str = "frozen"


@dataclasses.dataclass
class Data:
    end: Any
    derived: str = dataclasses.field(init=False, default="derived")


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    end: Any


class Pair(NamedTuple):
    name: str
    end: Any


HOLDERS = {
    "struct": (lambda end: Struct("s", end), "end"),
    "frozen": (lambda end: Frozen(end), "end"),
    "dataclass": (lambda end: Data(end), "end"),
    "slots": (lambda end: Slots(end), "end"),
    "named": (lambda end: Pair("p", end), "[1]"),
    "list": (lambda end: [1, end], "[1]"),
    "tuple": (lambda end: (1, end), "[1]"),
    "dict": (lambda end: {"a": 1, "end": end}, "end"),
    "deep": (lambda end: Struct("s", [{"x": Data(Pair("p", Frozen(end)))}]), "end[0].x.end[1].end"),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_an_end_is_found_and_replaced(holder: str) -> None:
    make, path = HOLDERS[holder]
    old, new = Stub(), Stub()
    value = make(old)
    assert {identity: where for identity, (_, where) in ends_in(value).items()} == {id(old): path}
    moved = replace_in_objects(value, {id(old): new})
    assert type(moved) is type(value)
    assert set(ends_in(moved)) == {id(new)}
    assert set(ends_in(value)) == {id(old)}, "the sender's object is as it was"
    assert msgspec.to_builtins(moved, enc_hook=lambda _: 0) == msgspec.to_builtins(make(new), enc_hook=lambda _: 0)


def test_an_end_in_a_set_is_found_and_replaced() -> None:
    old, new = Stub(), Stub()
    assert list(ends_in({old})) == [id(old)]
    assert replace_in_objects({old}, {id(old): new}) == {new}


def test_what_holds_no_end_is_not_copied() -> None:
    old = Stub()
    beside = Struct("beside", [1, {"a": 2}])
    moved = replace_in_objects([beside, old], {id(old): Stub()})
    assert moved[0] is beside
    assert replace_in_objects(beside, {}) is beside


def test_a_field_that_is_not_set_holds_nothing() -> None:
    data = Data(1)
    del data.end
    assert not ends_in(data)


def test_the_same_end_may_not_be_there_twice() -> None:
    end = Stub()
    with pytest.raises(EncodeError, match=r"^\[1\].end: the same end"):
        ends_in([end, Struct("s", end)])


def test_what_has_arrived_may_hold_an_end_twice_and_itself_and_be_deep() -> None:
    one, other = Stub(), Stub()
    value: list[Any] = [one, Struct("s", one), {"a": Data(other)}]
    value.append(value)
    deep: Any = value
    for _ in range(10_000):
        deep = [deep]
    assert all_ends(deep) == {id(one): one, id(other): other}
    while deep is not value:  # taken apart by hand: Python's own way is by recursion
        deep = deep.pop()


def test_an_object_that_holds_itself_nests_too_deep() -> None:
    loop = Struct("loop")
    loop.end = [loop]
    with pytest.raises(EncodeError, match="nests too deep"):
        ends_in(loop)
