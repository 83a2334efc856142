"""Typed parts of requests and replies."""

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chanlink import (
    ByteStream,
    ChannelFailed,
    ChannelRefused,
    EncodeError,
    InterfaceError,
    MessageTypeError,
    byte_pipe,
    pipe,
)
from chanlink.calls.parts import Part

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


@dataclasses.dataclass
class Upload:
    name: str
    body: ByteStream | None = None


@dataclasses.dataclass
class Tree:
    inner: "list[Tree]"


def test_objects_become_data_and_data_become_objects() -> None:
    part = Part("result", Upload)
    assert part.outgoing(Upload("notes")) == {"name": "notes", "body": None}
    assert part.incoming({"name": "notes"}) == Upload("notes")


@pytest.mark.parametrize("annotation", [int, str, bytes, None, Any, dict[str, int]])
def test_plain_values_stay_as_they_are(annotation: Any) -> None:
    value = {int: 3, str: "3", bytes: b"3", None: None}.get(annotation, {"a": 3})
    part = Part("result", annotation)
    assert part.outgoing(value) == value
    assert part.incoming(value) == value


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (int, "3", "result"),
        (Upload, {"name": 3}, "result.name"),
        (list[Upload], [{"name": "a"}, {"name": 3}], "result[1].name"),
        (dict[str, int], {"a": "3"}, "result[...]"),
        (None, 3, "result"),
        (int, True, "result"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_in_the_message(annotation: Any, value: Any, path: str) -> None:
    with pytest.raises(MessageTypeError) as raised:
        Part("result", annotation).incoming(value)
    assert raised.value.path == path


def test_what_nests_too_deep_does_not_fit() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [{"inner": value}]
    with pytest.raises(MessageTypeError, match=r"^arguments: .*too deep"):
        Part("arguments", Tree).incoming({"inner": value})
    while value:  # it is taken apart by hand: so deep, Python's own way of that ends in C
        value = value.pop()["inner"]


def test_what_no_message_can_be_is_an_error_when_the_part_is_made() -> None:
    with pytest.raises(InterfaceError):
        Part("result", complex)


def test_what_can_not_be_sent_is_an_error_of_this_side() -> None:
    endless: Any = []
    endless.append(endless)
    with pytest.raises(EncodeError, match="nests too deep"):
        Part("result", Upload).outgoing(Upload(endless))


async def test_ends_without_a_place_are_refused() -> None:
    for value in ({"name": 3}, {"name": "notes", "unknown": True}):
        ours, theirs = byte_pipe()
        key = "unknown" if "unknown" in value else "body"
        try:
            Part("arguments", Upload).incoming({**value, key: theirs})
        except MessageTypeError:
            assert key == "body"
        with pytest.raises(ChannelRefused):
            await ours.send(b"x")
        ours.close()


MARK = "what nobody else shall read"
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=4)
    | st.sampled_from(["", "name", "7", "2026-11-30T00:00:00Z", "red", MARK]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "body", "left", "items", "kind", MARK, 7, b"x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
"""What may arrive, ends aside: with the fields of the types below, so that some of it nearly fits."""


class Colour(enum.Enum):
    RED = "red"


class Kinds(TypedDict, total=False):
    kind: Literal["name", "red"]
    left: Annotated[int, msgspec.Meta(ge=0, le=7)]
    items: list[Upload | None]


@dataclasses.dataclass
class Refuses:
    name: str

    def __post_init__(self) -> None:
        if self.name:
            raise ValueError(f"not {self.name}")


TYPES: list[Any] = [
    int, float, bytes, str, None, bool, Upload, Tree, Kinds, Colour, Refuses, datetime.datetime, uuid.UUID,
    decimal.Decimal, list[Kinds], dict[str, Upload], dict[int, str], tuple[int, str], Upload | None,
    Annotated[set[int], msgspec.Meta(max_length=2)],
    int | str | list[bytes], Literal["red", 7], Any, dict[str, Any],
]  # fmt: skip


@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_whatever_arrives_is_of_the_type_or_an_error_that_quotes_none_of_it(annotation: Any) -> None:
    part = Part("result", annotation)

    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )  # however busy the machine is
    @given(DATA)
    @example({"name": MARK})
    @example([{"kind": MARK, "left": 8}])
    def arrives(value: Any) -> None:
        try:
            made = part.incoming(value)
        except MessageTypeError as exc:
            problem = exc
        else:
            assert part.incoming(part.outgoing(made)) == made or made != made  # a NaN is none
            return
        assert MARK not in str(problem)
        assert problem.path.startswith("result")

    arrives()


def test_an_end_is_refused_by_a_type_that_has_no_place_for_any() -> None:
    sender, receiver = pipe()
    assert Part("arguments", Tree).incoming({"inner": [], "more": [{"end": sender}]}) == Tree([])
    with pytest.raises(ChannelFailed, match="not-taken"):
        receiver.receive_nowait()
