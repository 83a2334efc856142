"""Types of items alone: what an object is on its way, what a message becomes, and what is said of one that is none."""

import dataclasses
import datetime
import decimal
import enum
import gc
import subprocess
import sys
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chanlink
from chanlink import (
    ByteStream,
    DecodeError,
    EncodeError,
    MessageTypeError,
    Receiver,
    Sender,
    byte_pipe,
    pipe,
)
from chanlink.channels.typed import TypeConverter, converter_of, misfit, take_ends
from chanlink.errors import InterfaceError

T = TypeVar("T")
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_901, datetime.UTC)


class Item(msgspec.Struct):
    name: str
    price: float


class Order(msgspec.Struct):
    id: int
    items: list[Item] = []


@dataclasses.dataclass
class Data:
    id: int
    note: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    at: datetime.datetime


class Row(TypedDict):
    id: int
    name: str


class Point(NamedTuple):
    x: int
    y: int = 0


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float


class Box(msgspec.Struct, Generic[T]):
    value: T


def made(item_type: Any, *, check: bool = False) -> TypeConverter:
    converter = converter_of(item_type, check=check)
    assert converter is not None
    return converter


def there_and_back(item_type: Any, value: Any) -> Any:
    """Through msgpack, which knows nothing but plain data."""
    converter = made(item_type, check=True)
    packed = msgpack.packb(converter.outgoing(value), datetime=True)
    return converter.incoming(msgpack.unpackb(packed, timestamp=3, strict_map_key=False))


PASS: list[tuple[Any, Any]] = [
    (None, None), (bool, True), (int, -5), (float, 1.5), (float, 2), (str, "text"), (bytes, b"\xff\0"),
    (bytearray, bytearray(b"\xff")), (memoryview, memoryview(b"\xff")), (datetime.datetime, NOW),
    (datetime.date, NOW.date()), (datetime.timedelta, datetime.timedelta(seconds=3)),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (uuid.UUID, uuid.UUID(int=5)), (Colour, Colour.RED), (Level, Level.LOW), (Literal["a", 1], 1), (Order, Order(1)),
    (Order, Order(1, [Item("a", 1.5), Item("b", 2.0)])), (Data, Data(1)), (Data, Data(1, "x")), (Frozen, Frozen(NOW)),
    (Row, {"id": 1, "name": "n"}), (Point, Point(1)), (Point, Point(1, 2)), (Order | None, None),
    (Order | None, Order(2)), (int | str, "s"), (Circle | Square, Square(2.0)),
    (list[Circle | Square], [Circle(1.0), Square(2.0)]),
    (Box[int], Box(3)), (Box[Box[bytes]], Box(Box(b"\xff"))), (dict[str, list[Item]], {"a": [Item("i", 0.5)]}),
    (dict[int, bytes], {7: b"\xff"}), (dict[bytes, int], {b"\xff": 1}), (dict[Colour, int], {Colour.RED: 1}),
    (tuple[int, str], (1, "a")), (Annotated[set[int], msgspec.Meta(max_length=9)], {1, 2}),
    (frozenset[str], frozenset(["a"])),
    (Annotated[int, msgspec.Meta(ge=1, le=9)], 9), (dict[str, Any], {"any": [1, b"\xff", NOW, None]}),
    (Any | None, 5), (list, [1, "a"]), (object, {"a": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("item_type", "value"), PASS, ids=range(len(PASS)))
def test_what_fits_arrives_as_it_was(item_type: Any, value: Any) -> None:
    arrived = there_and_back(item_type, value)
    assert arrived == value
    assert type(arrived) is (float if item_type is float else type(value))


MISFITS: list[tuple[Any, Any, str]] = [
    (int, "secret", "the message: expected int, got str"),
    (int, True, "the message: expected int, got bool"),
    (int, 1.0, "the message: expected int, got float"),
    (bytes, "c2VjcmV0", "the message: expected bytes, got str"),
    (datetime.datetime, "2026-01-01T00:00:00Z", "the message: expected datetime, got str"),
    (str, b"secret", "the message: expected str, got bytes"),
    (Order, None, "the message: expected map, got None"),
    (Order, {}, "the message: it misses the field id"),
    (Order, {"id": 1, "items": [{"name": "a", "price": 1}, {"name": "b", "price": "secret"}]},
     "items[1].price: expected float, got str"),
    (Order | None, {"id": 1, "items": [{"name": "secret"}]}, "items[0]: it misses the field price"),
    (list[Order], [{"id": "secret"}], "[0].id: expected int, got str"),
    (Data, {"id": "secret"}, "id: expected int, got str"),
    (Row, {"id": 1}, "the message: it misses the field name"),
    (Point, [1, 2, 3], "the message: expected list of length 1 to 2, got 3"),
    (Point, ["secret"], "[0]: expected int, got str"),
    (dict[str, dict[str, int]], {"secret": {"secret": "secret"}}, "[...][...]: expected int, got str"),
    (dict[str, int], {5: 5}, "the message: a key: expected str, got int"),
    (dict[str, dict[str, int]], {"secret": {5: 5}}, "[...]: a key: expected str, got int"),
    (Colour, "secret", "the message: none of the values that it may have"),
    (Level, 77_777, "the message: none of the values that it may have"),
    (Literal["a"], "secret", "the message: none of the values that it may have"),
    (Circle | Square, {"type": "secret"}, "type: none of the tags that it may have"),
    (Annotated[int, msgspec.Meta(ge=3)], 1, "the message: expected int >= 3"),
    (Annotated[str, msgspec.Meta(max_length=3)], "secret", "the message: expected str of length <= 3"),
    (Annotated[str, msgspec.Meta(pattern="^x")], "secret", "the message: expected str matching regex '^x'"),
    (Annotated[list[int], msgspec.Meta(min_length=3)], [77_777], "the message: expected list of length >= 3"),
    (uuid.UUID, "secret", "the message: invalid UUID"),
    (decimal.Decimal, "secret", "the message: invalid decimal string"),
    (datetime.date, "secret", "the message: invalid RFC3339 encoded date"),
    (tuple[int, int], [1, 2, 3], "the message: expected list of length 2, got 3"),
    (Annotated[set[Any], msgspec.Meta(max_length=9)], [[77_777]], "[0]: expected a hashable value, got list"),
    (Annotated[set[int], msgspec.Meta(max_length=1)], [77_777, 1], "the message: expected list of length <= 1"),
    (Sender[int], "secret", "the message: expected Sender, got str"),
    (list[ByteStream], ["secret"], "[0]: expected ByteStream, got str"),
]  # fmt: skip


@pytest.mark.parametrize(("item_type", "value", "text"), MISFITS, ids=range(len(MISFITS)))
def test_a_misfit_says_where_and_what_was_expected_and_never_the_value(item_type: Any, value: Any, text: str) -> None:
    converter = made(item_type)
    with pytest.raises(MessageTypeError) as caught:
        converter.incoming(value)
    assert str(caught.value) == text
    shown = repr(caught.value) + repr(caught.value.__cause__)
    assert caught.value.__suppress_context__
    assert "secret" not in shown
    assert "77777" not in shown


class Forbids(msgspec.Struct, forbid_unknown_fields=True):
    a: int


class Refuses(msgspec.Struct):
    password: str

    def __post_init__(self) -> None:
        raise ValueError(f"Expected `better`, got {self.password}")


class Breaks(msgspec.Struct):
    divisor: int

    def __post_init__(self) -> None:
        1 // self.divisor


def test_neither_the_names_of_the_peer_nor_what_a_class_says_are_quoted() -> None:
    with pytest.raises(MessageTypeError, match=r"^the message: a field that its type does not have$"):
        made(Forbids).incoming({"a": 1, "secret": 2})
    with pytest.raises(MessageTypeError, match=r"^\[0\]: its class refuses it$"):
        made(list[Refuses]).incoming([{"password": "secret"}])


def test_a_defect_of_a_class_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        made(Breaks).incoming({"divisor": 0})


def test_a_value_can_not_make_up_a_path() -> None:
    assert str(misfit("Invalid value 'x - at `$.admin`'")) == "the message: none of the tags that it may have"
    assert str(misfit("`$.admin` - at `$.name`")) == "name: its class refuses it"


SECRET = "secret"
ANY_TYPES: list[Any] = [
    Order, Data, Frozen, Row, Point, Circle | Square, Box[Order | None], Colour, Literal["a", 1], list[Item],
    dict[str, list[int | str]], tuple[int, str, bytes], set[str],
    Annotated[str, msgspec.Meta(pattern="^x", max_length=3)],
    uuid.UUID, decimal.Decimal, datetime.date, datetime.timedelta, Forbids, Refuses, bytes | None, dict[int, float],
]  # fmt: skip
leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=3) | st.just(NOW)
    | st.sampled_from([SECRET, SECRET + " - at `$.x`", "circle", "red", "a", "xy", "`"])
)  # fmt: skip
names = st.sampled_from(["id", "items", "name", "price", "at", "value", "type", "radius", "password", "a", SECRET])
messages = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(st.sampled_from(ANY_TYPES), messages)
def test_whatever_comes_fits_or_is_a_misfit_without_a_word_of_it(item_type: Any, value: Any) -> None:
    converter = made(item_type)
    words, arrived = "", None
    try:
        arrived = converter.incoming(value)
    except MessageTypeError as exc:
        words = f"{exc} {exc.path}"
    assert SECRET not in words
    if not words:
        again = converter.incoming(converter.outgoing(arrived))
        assert again == arrived or repr(again) == repr(arrived)  # a nan is not itself


# --- out ---


def test_a_sender_that_checks_says_so_before_anything_is_sent() -> None:
    wrong = Order("secret")
    assert made(Order).outgoing(wrong) == {"id": "secret", "items": []}
    with pytest.raises(MessageTypeError, match=r"^id: expected int, got str$"):
        made(Order, check=True).outgoing(wrong)


def test_what_nobody_knows_is_left_to_whoever_encodes_it() -> None:
    """It knows what a file is, and says where in a message an object stands that can't be sent."""
    nobody = object()
    assert made(Order).outgoing([Order(1), {"x": nobody}]) == [{"id": 1, "items": []}, {"x": nobody}]


def test_what_holds_itself_can_not_be_sent() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="nests too deep"):
        made(list).outgoing(loop)


class Chain(msgspec.Struct):
    next: "Chain | None" = None


def test_what_nests_too_deep_for_python_is_a_decode_error() -> None:
    chain: dict[str, Any] = {}
    for _ in range(50_000):
        chain = {"next": chain}
    with pytest.raises(DecodeError, match="nests too deep"):
        made(Chain).incoming(chain)


# --- ends ---


class Reply(msgspec.Struct):
    text: str


class Request(msgspec.Struct):
    reply: Sender[Reply]
    more: list[Receiver[int]] = []
    body: ByteStream | None = None
    anything: Any = None


class Recursive(msgspec.Struct):
    back: "Sender[Recursive] | None" = None


def test_an_end_in_a_field_gets_the_converter_of_its_parameter() -> None:
    (sender, _), (_, numbers) = pipe(), pipe()
    request = made(Request).incoming({"reply": sender, "more": [numbers]})
    assert request.reply is sender
    assert sender._send_core.outlet.converter is not None
    assert sender._send_core.outlet.converter.outgoing(Reply("hi")) == {"text": "hi"}
    assert numbers._receive_core.converter is not None
    with pytest.raises(MessageTypeError):
        numbers._receive_core.converter.incoming("one")


def test_a_type_may_hold_a_channel_of_itself() -> None:
    sender, _ = pipe()
    made(Recursive).incoming({"back": sender})
    inner = sender._send_core.outlet.converter
    assert inner is not None
    deeper, _ = pipe()
    inner.incoming({"back": deeper})
    assert deeper._send_core.outlet.converter is not None


def test_an_end_without_a_parameter_stays_untyped() -> None:
    for item_type in (Sender, Sender[Any]):
        sender, _ = pipe()
        made(item_type).incoming(sender)
        assert sender._send_core.outlet.converter is None


def test_an_end_goes_out_as_it_is_whatever_its_class() -> None:
    class Special(ByteStream):
        pass

    stream, _ = byte_pipe()
    special = Special(*stream._cores())
    sender, _ = pipe()
    converter = made(Request)
    for _ in range(2):
        out = converter.outgoing(Request(sender, body=special))
        assert out["reply"] is sender
        assert out["body"] is special


def test_ends_that_have_no_place_are_refused_and_the_others_are_kept() -> None:
    (kept, _), (unknown, at_unknown), (anywhere, _) = pipe(), pipe(), pipe()
    message = {"reply": kept, "unknown": [unknown], "anything": {"deep": [anywhere]}}
    converter = made(Request)
    request = take_ends(converter, message)
    assert request.anything == {"deep": [anywhere]}
    assert not kept.is_void
    assert not anywhere.is_void
    assert unknown.is_void
    with pytest.raises(chanlink.ChannelFailed, match="not-taken"):
        at_unknown.receive_nowait()


def test_all_ends_of_a_misfit_are_refused() -> None:
    (one, at_one), (two, at_two) = pipe(), pipe()
    converter = made(Request)
    with pytest.raises(MessageTypeError, match=r"^more\[0\]: expected Receiver, got Sender$"):
        take_ends(converter, {"reply": one, "more": [two]})
    for receiver in (at_one, at_two):
        with pytest.raises(chanlink.ChannelFailed, match="not-taken"):
            receiver.receive_nowait()


# --- making one ---


def test_any_has_none() -> None:
    assert converter_of(Any) is None


def test_what_can_not_be_a_type_is_an_interface_error() -> None:
    with pytest.raises(InterfaceError, match="a complex can't travel"):
        converter_of(complex)


def test_it_is_made_once() -> None:
    """A reply channel may be made for each request."""
    assert converter_of(Order) is converter_of(Order)
    assert converter_of(Order) is not converter_of(Order, check=True)
    assert converter_of(Literal[1]) is not converter_of(Literal[True])
    unhashable = Annotated[int, ["no", "hash"]]
    assert converter_of(unhashable) is not None


WITHOUT = """
import sys
sys.modules["msgspec"] = None  # importing it is an error now, as where it is not installed
import anyio, chanlink
from chanlink.testing import session_pair

async def echo(receiver: chanlink.Receiver, peer):
    async for message in receiver:
        async with message["reply"] as reply:
            await reply.send(message["n"])

async def wants_a_type(receiver: chanlink.Receiver[int], peer): ...

async def main():
    async with session_pair(services={"echo": echo}) as (client, server), await client.open("echo") as sender:
        reply, replies = chanlink.pipe()
        await sender.send({"n": 5, "reply": reply})
        print(await replies.receive())
        for make in (lambda: chanlink.pipe(item_type=int), lambda: replies.typed(int)):
            try:
                make()
            except chanlink.ConfigError as error:
                print(error)
    me, nobody = chanlink.Identity.generate(), chanlink.Trust.nobody()
    try:
        await chanlink.serve({"it": wants_a_type}, "tcp://127.0.0.1:0", identity=me, trust=nobody)
    except chanlink.ConfigError as error:
        print(error)

anyio.run(main)
"""


def test_without_msgspec_all_else_works_and_a_type_is_an_error_that_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    missing = 'types of messages need msgspec: pip install "chanlink[typed]"'
    assert (done.stdout.splitlines(), done.stderr) == (["5", missing, missing, missing], "")


def test_making_many_leaves_nothing_behind_but_what_is_remembered() -> None:
    def local() -> None:
        class Local(msgspec.Struct):
            a: int

        with pytest.raises(MessageTypeError):
            made(Annotated[Local, []]).incoming({})

    local()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(200):
        local()
    gc.collect()
    assert len(gc.get_objects()) - before < 500
