"""What an interface says of calls is what arrives: types at every depth, ends, errors, and interfaces that change."""

import dataclasses
import datetime
import enum
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

import anyio
import msgspec
import pytest

import chanlink
from chanlink import (
    ByteStream,
    CallFailed,
    CallRefused,
    ChannelFailed,
    ChannelRefused,
    EncodeError,
    MessageTypeError,
    Receiver,
    Sender,
)
from chanlink.calls import Interface

from .routes import Route, every_route, every_session

pytestmark = pytest.mark.anyio

PEER = chanlink.Peer(None, "caller", "")


@asynccontextmanager
async def served(route: Route, service: Interface[Any], implementation: object) -> AsyncIterator[tuple[Any, Any]]:
    """A sender for the requests to a service, and the places where they are."""
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel()
        tasks.start_soon(service.serving(implementation), receiver, PEER)
        yield sender, places
        sender.close()


# --- types ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Item:
    name: str
    price: int


class Order(msgspec.Struct):
    items: list[Item]
    note: str | None = None


class Place(NamedTuple):
    street: str
    number: int


class Words(TypedDict):
    said: str


class Colour(enum.Enum):
    RED = "red"


class Echo(Protocol):
    async def order(self, value: Order) -> Order: ...
    async def orders(self, value: dict[str, Order]) -> list[Order]: ...
    async def place(self, value: Place) -> Place: ...
    async def words(self, value: Words) -> Words: ...
    async def colour(self, value: Colour) -> Colour: ...
    async def literal(self, value: Literal["a", 1]) -> Literal["a", 1]: ...
    async def time(self, value: datetime.datetime) -> datetime.datetime: ...
    async def data(self, value: bytes) -> bytes: ...
    async def union(self, value: int | str | None) -> int | str | None: ...
    async def anything(self, value: Any) -> Any: ...
    async def nothing(self, value: None) -> None: ...
    async def fraction(self, value: float) -> float: ...
    def stream(self, value: list[Order]) -> AsyncGenerator[Order, None]: ...


ECHO = Interface(Echo)


class MyEcho:
    """Each method returns what it gets; and all calls are remembered."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def _echo(self, value: Any) -> Any:
        self.calls.append(value)
        return value

    order = place = words = colour = literal = time = data = union = anything = nothing = fraction = _echo

    async def orders(self, value: dict[str, Order]) -> list[Order]:
        return list(value.values())

    async def stream(self, value: list[Order]) -> AsyncGenerator[Order, None]:
        for one in value:
            yield one


TEA, ORDER = Item("tea", 3), Order([Item("tea", 3), Item("cake", 7)], note="soon")
VALUES = {
    "order": ORDER,
    "place": Place("high street", 1),
    "words": {"said": "hello"},
    "colour": Colour.RED,
    "literal": "a",
    "time": datetime.datetime(2026, 11, 30, 12, 5, 7, 1_000, tzinfo=datetime.UTC),
    "data": b"\x00\xff",
    "union": "text",
    "anything": {"plain": [1, None, b"2"]},
    "nothing": None,
    "fraction": 1.5,
}


@every_route
async def test_values_arrive_as_what_the_interface_says(route: Route) -> None:
    implementation = MyEcho()
    async with served(route, ECHO, implementation) as (sender, _):
        client: Any = ECHO.client(sender)
        for name, value in VALUES.items():
            result = await getattr(client, name)(value)
            assert (type(result), result) == (type(value), value)
            assert type(implementation.calls[-1]) is type(value)
        assert await client.orders({"a": ORDER}) == [ORDER]
        async with aclosing(client.stream([ORDER, ORDER])) as orders:
            assert [one async for one in orders] == [ORDER, ORDER]


class Untyped(Protocol):
    """Says whatever it likes to whom it likes."""

    async def order(self, value: Any) -> Any: ...
    async def orders(self, value: Any) -> Any: ...
    async def place(self, value: Any) -> Any: ...
    async def time(self, value: Any) -> Any: ...
    async def data(self, value: Any) -> Any: ...
    async def union(self, value: Any) -> Any: ...
    def stream(self, value: Any) -> AsyncGenerator[Any, None]: ...


UNTYPED = Interface(Untyped)
SECRET = "what nobody else shall read"
TEA_MAP = {"name": "tea", "price": 3}
WRONG = [
    ("order", SECRET, "arguments.value"),
    ("order", None, "arguments.value"),
    ("order", {"items": SECRET}, "arguments.value.items"),
    ("order", {"items": [TEA_MAP, {"name": "cake", "price": SECRET}]}, "arguments.value.items[1].price"),
    ("order", {"items": [{"name": "tea"}]}, "arguments.value.items[0]"),
    ("orders", {"a": {"items": [SECRET]}}, "arguments.value[...].items[0]"),
    ("orders", {7: {"items": []}}, "arguments.value"),
    ("place", [SECRET, SECRET], "arguments.value[1]"),
    ("data", SECRET, "arguments.value"),
    ("union", [SECRET], "arguments.value"),
    ("stream", [{"items": [{"name": SECRET, "price": SECRET}]}], "arguments.value[0].items[0].price"),
]  # fmt: skip


@every_route
async def test_a_wrong_argument_is_refused_with_its_place_and_never_quoted(route: Route) -> None:
    implementation = MyEcho()
    async with served(route, ECHO, implementation) as (sender, _):
        client: Any = UNTYPED.client(sender)
        for name, value, path in WRONG:
            with pytest.raises(CallRefused) as raised:
                if name == "stream":
                    await anext(client.stream(value))
                else:
                    await getattr(client, name)(value)
            assert raised.value.code == "bad-arguments"
            assert raised.value.text.startswith(f"{path}: "), raised.value.text
            assert SECRET not in str(raised.value)
        assert implementation.calls == []
        assert await ECHO.client(sender).order(ORDER) == ORDER


@every_route
async def test_a_wrong_result_is_an_error_with_its_place_at_the_caller(route: Route) -> None:
    async with served(route, UNTYPED, MyEcho()) as (sender, _):
        client: Any = ECHO.client(sender)
        for name, value, path in WRONG:
            if name in ("order", "place", "data", "union"):
                with pytest.raises(MessageTypeError) as raised:
                    await getattr(client, name)(value)
                assert str(raised.value).startswith(path.replace("arguments.value", "result")), str(raised.value)
                assert SECRET not in str(raised.value)
        with pytest.raises(MessageTypeError, match=r"^result"):
            await anext(client.stream([SECRET]))
        assert await client.order(ORDER) == ORDER


@every_session
async def test_an_argument_that_can_not_be_sent_is_an_error_here_and_nothing_is_called(route: Route) -> None:
    implementation = MyEcho()
    async with served(route, ECHO, implementation) as (sender, _):
        client: Any = ECHO.client(sender)
        with pytest.raises(EncodeError):
            await client.union(object())
        with pytest.raises(TypeError, match=r"union\(\): missing a required argument: 'value'"):
            await client.union()
        assert await client.union(1) == 1
        assert implementation.calls == [1]


# --- ends -------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Job:
    name: str
    progress: Sender[Item]
    body: ByteStream


class Works(Protocol):
    async def work(self, job: Job) -> Receiver[Item]: ...
    async def strict(self, count: int, job: Job) -> None: ...


WORKS = Interface(Works)


class MyWorks:
    async def work(self, job: Job) -> Receiver[Item]:
        async with job.progress, job.body:
            await job.progress.send(Item(job.name, len(await job.body.receive())))
        sender, receiver = chanlink.pipe(item_type=Item)
        await sender.send(TEA)
        sender.close()
        return receiver

    async def strict(self, count: int, job: Job) -> None:
        raise AssertionError("never called")


@every_route
async def test_ends_travel_in_arguments_and_results_at_any_depth(route: Route) -> None:
    async with served(route, WORKS, MyWorks()) as (sender, places):
        progress, seen = places.keep(chanlink.pipe(item_type=Item))
        body, remote = places.byte_pipe()
        await body.send(b"12345")
        items = places.keep(await WORKS.client(sender).work(Job("wash", progress, remote)))
        assert await seen.typed(Item).receive() == Item("wash", 5)
        assert [item async for item in items] == [TEA]


class WorksUntyped(Protocol):
    async def strict(self, count: Any, job: Any, more: Any = None) -> None: ...


@every_route
@pytest.mark.parametrize("what", ["another argument", "the end itself", "an argument that is not known", "a field"])
async def test_ends_in_arguments_that_are_refused_are_refused(route: Route, what: str) -> None:
    async with served(route, WORKS, MyWorks()) as (sender, places):
        client = Interface(WorksUntyped).client(sender)
        progress, seen = places.pipe()
        body, remote = places.byte_pipe()
        job = {"name": "wash", "progress": remote if what == "the end itself" else progress, "body": remote}
        if what == "the end itself":
            job["body"] = progress
        if what == "a field":
            job["name"] = 3
        more = {"more": 1} if what == "an argument that is not known" else {}
        with pytest.raises(CallRefused, match="bad-arguments"):
            await client.strict("one" if what == "another argument" else 1, job, **more)
        assert (await body.wait_closed()) is not None
        with pytest.raises(ChannelFailed) as raised:
            await seen.receive()
        assert raised.value.code in ("not-taken", "bad-arguments")


class Gives(Protocol):
    async def give(self) -> Any: ...
    def items(self) -> AsyncGenerator[Any, None]: ...


class Wants(Protocol):
    async def give(self) -> Item: ...
    def items(self) -> AsyncGenerator[Item, None]: ...


class MyGives:
    """Gives ends that nobody has a place for, and keeps the others."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.ours, end = chanlink.pipe()
        self.result = {**result, "end": end}

    async def give(self) -> Any:
        return self.result

    async def items(self) -> AsyncGenerator[Any, None]:
        yield self.result


@every_route
@pytest.mark.parametrize("result", [{"name": 3, "price": 3}, {"name": "tea", "price": 3}], ids=["wrong", "right"])
@pytest.mark.parametrize("stream", [False, True], ids=["a result", "an item"])
async def test_ends_in_results_without_a_place_are_refused(route: Route, result: dict[str, Any], stream: bool) -> None:
    gives = MyGives(result)
    async with served(route, Interface(Gives), gives) as (sender, _):
        client = Interface(Wants).client(sender)
        try:
            async with aclosing(client.items()) as items:
                got = await anext(items) if stream else await client.give()
        except MessageTypeError:
            assert result["name"] == 3
        else:
            assert got == TEA
        assert isinstance(await gives.ours.wait_closed(), ChannelRefused)


# --- errors -----------------------------------------------------------------------------------------


class OutOfStock(CallFailed):
    detail: Order


class Shop(Protocol):
    async def buy(self, how: str) -> int: ...


SHOP = Interface(Shop, raises=[OutOfStock])


class MyShop:
    async def buy(self, how: str) -> int:
        raise {
            "agreed": OutOfStock("sold", ORDER),
            "bare": OutOfStock(),
            "other": CallFailed(SECRET, code="out-of-stock"),
            "wrong": OutOfStock("sold", {"items": 3}),
            "unsendable": OutOfStock("sold", object()),
            "internal": LookupError(SECRET),
        }[how]


@every_route
async def test_errors_that_both_sides_list_arrive_as_themselves(route: Route) -> None:
    async with served(route, SHOP, MyShop()) as (sender, _):
        client = SHOP.client(sender)
        with pytest.raises(OutOfStock) as raised:
            await client.buy("agreed")
        assert (raised.value.text, raised.value.detail) == ("sold", ORDER)
        with pytest.raises(OutOfStock) as raised:
            await client.buy("bare")
        assert (raised.value.text, raised.value.detail) == ("", None)


@every_route
async def test_all_other_errors_are_without_words(route: Route) -> None:
    async with served(route, SHOP, MyShop()) as (sender, _):
        for how in ("other", "internal"):
            with pytest.raises(CallFailed) as raised:
                await SHOP.client(sender).buy(how)
            assert (type(raised.value), raised.value.code, raised.value.detail) == (CallFailed, "handler-failed", None)
            assert SECRET not in str(raised.value)


@every_session
async def test_an_error_whose_detail_can_not_be_sent_is_without_words(route: Route) -> None:
    async with served(route, SHOP, MyShop()) as (sender, _):
        with pytest.raises(CallFailed) as raised:
            await SHOP.client(sender).buy("unsendable")
        assert (type(raised.value), raised.value.code) == (CallFailed, "handler-failed")


@every_route
async def test_a_detail_of_another_type_is_an_error_with_its_place(route: Route) -> None:
    async with served(route, SHOP, MyShop()) as (sender, _):
        with pytest.raises(MessageTypeError, match=r"^detail\.items: "):
            await SHOP.client(sender).buy("wrong")


@every_route
async def test_an_error_that_only_the_service_lists_arrives_with_its_code(route: Route) -> None:
    async with served(route, SHOP, MyShop()) as (sender, _):
        with pytest.raises(CallFailed) as raised:
            await Interface(Shop).client(sender).buy("agreed")
        assert (type(raised.value), raised.value.code, raised.value.text) == (CallFailed, "out-of-stock", "sold")


# --- the two sides change ----------------------------------------------------------------------------


class First(Protocol):
    async def add(self, a: int, b: int) -> int: ...
    async def gone(self) -> int: ...


class Second(Protocol):
    async def add(self, b: int, a: int, c: int = 0) -> int: ...
    async def new(self) -> int: ...


class Renamed(Protocol):
    async def add(self, a: int, other: int) -> int: ...


class WantsMore(Protocol):
    async def add(self, a: int, b: int, c: int) -> int: ...


class MyFirst:
    async def add(self, a: int, b: int) -> int:
        return 10 * a + b

    async def gone(self) -> int:
        return 1


class MySecond:
    async def add(self, b: int, a: int, c: int = 500) -> int:
        return 10 * a + b + c

    async def new(self) -> int:
        return 2


FIRST, SECOND, RENAMED, WANTS_MORE = Interface(First), Interface(Second), Interface(Renamed), Interface(WantsMore)


@every_route
async def test_an_old_client_calls_a_new_service(route: Route) -> None:
    async with served(route, SECOND, MySecond()) as (sender, _):
        client = FIRST.client(sender)
        assert await client.add(1, 2) == 512  # by name; and the default is that of the implementation
        with pytest.raises(CallRefused) as raised:
            await client.gone()
        assert raised.value.code == "no-such-method"


@every_route
async def test_a_new_client_calls_an_old_service(route: Route) -> None:
    async with served(route, FIRST, MyFirst()) as (sender, _):
        client = SECOND.client(sender)
        assert await client.add(2, 1) == 12
        with pytest.raises(CallRefused) as refused:
            await client.add(2, 1, c=0)
        assert refused.value.code == "bad-arguments"
        with pytest.raises(CallRefused) as raised:
            await client.new()
        assert raised.value.code == "no-such-method"


@every_route
@pytest.mark.parametrize("new", [RENAMED, WANTS_MORE], ids=["renamed", "wants more"])
async def test_a_parameter_that_is_renamed_or_wanted_is_refused_both_ways(route: Route, new: Interface[Any]) -> None:
    class Mine:
        async def add(self, a: int, b: int = 0, c: int = 0, other: int = 0) -> int:
            raise AssertionError("never called")

    for client_of, service, arguments in ((FIRST, new, (1, 2)), (new, FIRST, (1, 2, 3)[: 2 + (new is WANTS_MORE)])):
        both = Mine() if service is new else MyFirst()
        async with served(route, service, both) as (sender, _):
            client: Any = client_of.client(sender)
            with pytest.raises(CallRefused) as raised:
                await client.add(*arguments)
            assert raised.value.code == "bad-arguments"


@dataclasses.dataclass
class ItemWithUnit(Item):
    unit: str = "piece"


class WithItem(Protocol):
    async def price(self, item: Item) -> Item: ...


class WithUnit(Protocol):
    async def price(self, item: ItemWithUnit) -> ItemWithUnit: ...


class MyPrices:
    async def price(self, item: Any) -> Any:
        return item


@every_route
async def test_a_new_field_with_a_default_works_both_ways(route: Route) -> None:
    old, new = Interface(WithItem), Interface(WithUnit)
    async with served(route, old, MyPrices()) as (sender, _):
        assert await new.client(sender).price(ItemWithUnit("tea", 3, "cup")) == ItemWithUnit("tea", 3, "piece")
    async with served(route, new, MyPrices()) as (sender, _):
        assert await old.client(sender).price(TEA) == TEA
