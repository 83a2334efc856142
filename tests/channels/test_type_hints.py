"""What a type holds: what can't be the type of a message, and which ends are in its fields."""

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Protocol, TypedDict, TypeVar

import msgspec
import pytest

from chanlink import ByteStream, ConfigError, Receiver, Sender
from chanlink.channels.type_hints import Found
from chanlink.errors import InterfaceError

T = TypeVar("T")
U = TypeVar("U")


class Order(msgspec.Struct):
    id: int
    at: datetime.datetime | None = None


class Node(msgspec.Struct):
    children: "list[Node]"
    reply: "Sender[Node] | None" = None


class Box(msgspec.Struct, Generic[T]):
    end: Sender[T]


class Inherits(Box[U], Generic[U]):
    more: U


class Fixed(Box[bytes]):
    pass


@dataclasses.dataclass
class Data:
    end: Receiver[Order]


class Named(NamedTuple):
    end: ByteStream


class Typed(TypedDict, total=False):
    ends: dict[str, Sender[int]]


Name = NewType("Name", str)
Wrapped = NewType("Wrapped", Data)


@pytest.mark.parametrize(
    ("item_type", "ends"),
    [
        (int, []),
        (Order, []),
        (Sender[int], [Sender[int]]),
        (list[Sender[Order] | None], [Sender[Order]]),
        (Node, [Sender[Node]]),
        (Box[Order], [Sender[Order]]),
        (Inherits[Order], [Sender[Order]]),
        (Fixed, [Sender[bytes]]),
        (Data, [Receiver[Order]]),
        (Wrapped, [Receiver[Order]]),
        (Named, [ByteStream]),
        (Typed, [Sender[int]]),
        (Annotated[dict[str, Box[int]], "doc"], [Sender[int]]),
        (tuple[Sender, int], [Sender]),  # type: ignore[type-arg]
        (Literal["Sender"], []),
    ],
    ids=str,
)
def test_ends_are_found_with_their_parameters(item_type: Any, ends: list[Any]) -> None:
    found = Found(item_type).ends
    # (What a generic class inherits is there without its parameter, too.)
    assert {end for end in found if end is Sender or not getattr(end, "__parameters__", ())} == set(ends)
    assert Found(item_type).may_hold_ends == bool(ends)


@pytest.mark.parametrize("item_type", [Any, list, dict[str, Any], object, list[object], T], ids=str)
def test_where_anything_may_stand_there_may_be_ends(item_type: Any) -> None:
    assert Found(item_type).may_hold_ends


class Colour(enum.Enum):
    RED = "red"


GOOD = [
    None, bool, int, float, str, bytes, bytearray, memoryview, datetime.datetime, datetime.date, datetime.timedelta,
    decimal.Decimal, uuid.UUID, Colour, Name, Order, int | str | None, Order | None, Literal["a", 1], Sequence[int],
    set[str], frozenset[bytes], tuple[int, ...], dict[int, str], dict[bytes, int], dict[str | int, int],
    set[Colour], Annotated[set[int], msgspec.Meta(max_length=4_096)], Annotated[set[Any], msgspec.Meta(max_length=9)],
    set[Sender[int]], dict[datetime.date, int], dict[Colour, int], dict[Literal["a"], int],
    Annotated[int, msgspec.Meta(ge=1)], int | msgspec.UnsetType,
]  # fmt: skip


@pytest.mark.parametrize("item_type", GOOD, ids=str)
def test_what_can_be_the_type_of_a_message(item_type: Any) -> None:
    Found(item_type)


class Foreign:
    pass


class HasForeign(msgspec.Struct):
    items: list[dict[str, "Foreign | None"]]


class Undefined(msgspec.Struct):
    it: "NoSuchName"  # type: ignore[name-defined]  # noqa: F821


class Endless(msgspec.Struct, Generic[T]):
    it: "Endless[list[T]] | None" = None


class Untagged1(msgspec.Struct):
    a: int


class Untagged2(msgspec.Struct):
    b: int


class Methods(Protocol):
    def it(self) -> int: ...


BAD = [
    (Foreign, "a Foreign can't travel"),
    (complex, "a complex can't travel"),
    (Callable[[], int], "a Callable can't travel"),
    (Methods, "a Methods can't travel"),
    (HasForeign, r"^HasForeign .*: items\[\]\[\]: a Foreign can't travel"),
    (Undefined, "name 'NoSuchName' is not defined"),
    (Endless[int], "a type without an end"),
    (msgspec.Raw, "msgspec's Raw can't travel"),
    (list[msgspec.msgpack.Ext], "msgspec's Ext can't travel"),
    (Sender[int] | Receiver[int], "more than one custom type"),
    (Sender[int] | int, "containing a custom type"),
    (Untagged1 | Untagged2, "must be tagged"),
    (list[Data | Typed], "more than one dict-like type"),
    (bytes | str, "more than one str-like type"),
    (dict[float, int], "keys can't be of type float"),
    (dict[tuple[int, int], int], "keys can't be of type tuple"),
    (dict[datetime.datetime, int], "keys can't be of type datetime"),
    (dict[str | bool, int], "keys can't be of type bool"),
    (Annotated[datetime.datetime, msgspec.Meta(tz=False)], "without a time zone"),
    (dict[uuid.UUID, int], "keys can't be of type uuid"),
    (dict[decimal.Decimal, int], "keys can't be of type decimal"),
    (dict[datetime.timedelta, int], "keys can't be of type timedelta"),
    (list[set[int]], r"\[\]: a set of numbers has to say how many"),
    (frozenset[float | str], "a set of numbers has to say how many"),
    (set[Any], "a set of numbers has to say how many"),
    (Annotated[set[int], msgspec.Meta(max_length=4_097)], "4,096 at most"),
    (set[uuid.UUID], "take a list"),
    (set[tuple[int, int]], "take a list"),
    ("Order", "not supported"),
    (5, "not supported"),
]


@pytest.mark.parametrize(("item_type", "problem"), BAD, ids=lambda value: str(value)[:60])
def test_what_can_not_is_an_error_that_says_where_and_why(item_type: Any, problem: str) -> None:
    with pytest.raises(InterfaceError, match=problem) as caught:
        Found(item_type)
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, TypeError)


def test_a_class_of_a_function_can_be_one_unless_its_annotations_are_text_that_names_another() -> None:
    class Local(msgspec.Struct):
        a: int

    class Outer(msgspec.Struct):
        local: list[Local]

    class Textual(msgspec.Struct):
        local: "Local"

    Found(Outer)
    with pytest.raises(InterfaceError, match="name 'Local' is not defined"):
        Found(Textual)
