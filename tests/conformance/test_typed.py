"""Channels with a type: objects arrive as they were, what does not fit is dropped alone, ends in fields are typed."""

import dataclasses
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypedDict

import anyio
import msgspec
import pytest

from chanlink import (
    ByteStream,
    ChannelFailed,
    ChannelMoved,
    ChannelRefused,
    DecodeError,
    EncodeError,
    EndOfChannel,
    MessageTypeError,
    Receiver,
    Selector,
    Sender,
    byte_pipe,
    pipe,
    select,
    select_nowait,
)
from chanlink.errors import InterfaceError
from chanlink.testing import session_pair
from tests.leaks import Leaks

from .routes import Places, Route, every_session, memory, one_relay, session, two_relays

pytestmark = pytest.mark.anyio


class Item(msgspec.Struct):
    name: str
    price: float


class Order(msgspec.Struct):
    id: int
    items: list[Item] = []


class Reply(msgspec.Struct):
    text: str


class Request(msgspec.Struct):
    """One with every kind of end."""

    reply: Sender[Reply]
    numbers: Receiver[int]
    body: ByteStream
    anything: Any = None


@dataclasses.dataclass
class Data:
    reply: Sender[Reply]


class Typed(TypedDict):
    reply: Sender[Reply]


class Named(NamedTuple):
    reply: Sender[Reply]


with_relays = pytest.mark.parametrize(
    "route", [memory, session, one_relay, two_relays], ids=["memory", "session", "one_relay", "two_relays"]
)  # the one with a codec in memory encodes what is sent before anybody knows of its type
BAD = {"id": 2, "items": [{"name": "a", "price": 1.0}, {"name": "b", "price": "secret"}]}
GOOD = Order(1, [Item("a", 1.5)])


@asynccontextmanager
async def typed(
    places: Places, item_type: Any, capacity: int | None = None, *, check: bool = False
) -> AsyncIterator[tuple[Sender[Any], Receiver[Any]]]:
    """A typed channel from near to far."""
    sender, receiver = await places.channel(capacity)
    async with sender.typed(item_type, check=check) as one, receiver.typed(item_type) as other:
        yield one, other


# --- objects -----------------------------------------------------------------------------------------


@with_relays
@pytest.mark.parametrize("capacity", [None, 0, 1])
async def test_objects_arrive_as_they_were(route: Route, capacity: int | None) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(capacity)
        sender, receiver = places.keep(sender.typed(Order)), places.keep(receiver.typed(Order))

        async def send() -> None:
            for number in range(20):
                await sender.send(Order(number, GOOD.items))
            sender.close()

        tasks.start_soon(send)
        assert [order async for order in receiver] == [Order(number, GOOD.items) for number in range(20)]


@every_session
async def test_each_way_to_receive_checks(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Order))

        async def misfit() -> None:
            await sender.send(BAD)
            await places.settle()

        await misfit()
        with pytest.raises(MessageTypeError, match=r"^items\[1\].price: expected float, got str$"):
            await receiver.receive()
        await misfit()
        with pytest.raises(MessageTypeError):
            receiver.receive_nowait()
        await misfit()
        with pytest.raises(MessageTypeError):
            await receiver.receive_many()
        await misfit()
        with pytest.raises(MessageTypeError):
            await anext(receiver)
        await misfit()
        selected = await select(receiver)
        assert isinstance(selected.error, MessageTypeError)
        await misfit()
        assert isinstance(select_nowait(receiver).error, MessageTypeError)
        await sender.send({"id": 1})
        assert await receiver.receive() == Order(1)


@every_session
async def test_a_selector_keeps_a_receiver_after_a_misfit(route: Route) -> None:
    async with route() as places, Selector() as selector:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Order))
        selector.add(receiver)
        for message in (BAD, {"id": 1}, BAD):
            await sender.send(message)
        sender.close()
        seen = [selected.value or type(selected.error) async for selected in selector]
        assert seen == [MessageTypeError, Order(1), MessageTypeError, EndOfChannel]


@every_session
async def test_of_many_the_good_ones_before_a_misfit_come_first_and_nothing_is_lost(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Order))
        for message in ({"id": 1}, {"id": 2}, BAD, {"id": 3}):
            await sender.send(message)
        sender.close()
        await places.settle()
        assert await receiver.receive_many() == [Order(1), Order(2)]
        with pytest.raises(MessageTypeError, match=r"^items\[1\].price"):
            await receiver.receive_many()
        assert await receiver.receive_many() == [Order(3)]
        with pytest.raises(EndOfChannel):
            await receiver.receive_many()
        assert receiver.statistics().taken == 4


@every_session
async def test_valid_iterates_over_what_fits_and_tells_the_rest(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Order))
        for message in (BAD, {"id": 1}, "x", {"id": 2}, {}):
            await sender.send(message)
        sender.close()
        bad: list[str] = []
        good = [order async for order in receiver.valid(on_bad=lambda error: bad.append(error.path))]
        assert good == [Order(1), Order(2)]
        assert bad == ["items[1].price", "", ""]


@every_session
async def test_of_many_who_wait_one_gets_the_misfit_and_the_others_the_rest(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Order))
        got: list[object] = []

        async def take() -> None:
            try:
                got.append(await receiver.receive())
            except MessageTypeError:
                got.append("misfit")

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(take)
            await places.settle()
            for message in (BAD, {"id": 1}, BAD, {"id": 2}):
                sender.send_nowait(message)
        assert sorted(map(str, got)) == [str(Order(1)), str(Order(2)), "misfit", "misfit"]


@every_session
async def test_a_misfit_counts_as_taken(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel(1)
        receiver = places.keep(receiver.typed(Order))
        for _ in range(20):
            await sender.send(BAD)
            with pytest.raises(MessageTypeError):
                await receiver.receive()
        await sender.flush()
        assert sender.taken == 20


async def test_in_memory_the_object_itself_passes_unchecked() -> None:
    sender, receiver = pipe(item_type=Order)
    wrong = Order("secret", [])  # type: ignore[arg-type]
    for sent in (GOOD, wrong, {"id": "secret"}):
        await sender.send(sent)  # type: ignore[arg-type]
        assert await receiver.receive() is sent
    sender.close()
    receiver.close()


@with_relays
async def test_a_sender_that_checks_raises_and_sends_nothing(route: Route) -> None:
    async with route() as places, typed(places, Order, check=True) as (sender, receiver):
        reply, at_reply = places.pipe()
        for bad in (Order(1, [Item("a", "secret")]), {"id": "secret"}, Order(1, [reply])):  # type: ignore[arg-type, list-item]
            with pytest.raises(MessageTypeError):
                await sender.send(bad)
            with pytest.raises(MessageTypeError):
                sender.send_nowait(bad)
            with pytest.raises(MessageTypeError):
                await select(sender.sending(bad))
        reply.send_nowait("still mine")
        assert at_reply.receive_nowait() == "still mine"
        await sender.send(GOOD)
        assert await receiver.receive() == GOOD
        assert sender.statistics().sent == 1


@every_session
async def test_what_can_not_travel_is_named_by_its_path(route: Route) -> None:
    async with route() as places, typed(places, list[Any]) as (sender, receiver):
        with pytest.raises(EncodeError, match=r"^\[1\].a: a complex can't be sent$"):
            await sender.send([GOOD, {"a": 1j}])
        await sender.send([GOOD])
        assert await receiver.receive() == [msgspec.to_builtins(GOOD)]


# --- the type stays with the end -----------------------------------------------------------------------


@with_relays
async def test_clones_and_ends_that_move_within_a_process_keep_their_type(route: Route) -> None:
    async with route() as places, typed(places, Order) as (sender, receiver):
        clone = sender.clone()
        through, out = pipe()
        await through.send([clone, receiver])
        clone, receiver = await out.receive()
        places.keep((clone, receiver))
        await clone.send(GOOD)
        assert await receiver.receive() == GOOD


@every_session
@pytest.mark.parametrize("waiting", [False, True])
async def test_what_waits_in_memory_is_converted_when_its_receiver_leaves(route: Route, waiting: bool) -> None:
    async with route() as places:
        sender, receiver = pipe(1 if waiting else 3, item_type=Order)
        places.keep(sender)
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(sender.send, Order(number, GOOD.items))
                await places.settle()
            far = places.keep((await places.carry(receiver)).typed(Order))
            assert sorted([(await far.receive()).id for _ in range(3)]) == [0, 1, 2]
        await sender.send(GOOD)
        assert await far.receive() == GOOD


@every_session
async def test_a_receiver_with_a_misfit_in_memory_leaves_and_the_far_side_sees_it(route: Route) -> None:
    async with route() as places:
        sender, receiver = pipe(item_type=Order)
        places.keep(sender)
        await sender.send(Order("secret"))  # type: ignore[arg-type]
        far = places.keep((await places.carry(receiver)).typed(Order))
        with pytest.raises(MessageTypeError, match=r"^id: "):
            await far.receive()


@every_session
async def test_a_receiver_does_not_leave_with_what_can_not_travel(route: Route) -> None:
    async with route() as places, typed(places, Any) as (carrier, _):
        sender, receiver = pipe(item_type=list)
        places.keep((sender, receiver))
        await sender.send([1j])
        with pytest.raises(EncodeError, match="a complex can't be sent"):
            await carrier.send(receiver)
        assert await receiver.receive() == [1j]


@every_session
async def test_a_typed_end_that_goes_on_is_passed_on_unread(route: Route) -> None:
    """Whoever has it in the end looks at its messages."""
    async with route() as places:
        sender, receiver = pipe(item_type=Order)
        places.keep(sender)
        there = (await places.carry(receiver)).typed(Reply)
        await sender.send(GOOD)
        back = places.keep((await places.carry(there, back=True)).typed(Order))
        await sender.send(Order(2))
        assert [await back.receive(), await back.receive()] == [GOOD, Order(2)]


@with_relays
async def test_the_old_handle_is_void_and_who_waits_is_told(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()

        async def wait() -> None:
            with pytest.raises(ChannelMoved):
                await receiver.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await places.settle()
            new = places.keep(receiver.typed(Order))
        with pytest.raises(ChannelMoved):
            receiver.typed(Order)
        typed_sender = places.keep(sender.typed(Order))
        with pytest.raises(ChannelMoved):
            sender.send_nowait(GOOD)
        await typed_sender.send(GOOD)
        assert await new.receive() == GOOD


async def test_what_can_not_be_a_type_leaves_an_end_as_it_was() -> None:
    sender, receiver = pipe()
    for end in (sender, receiver):
        with pytest.raises(InterfaceError):
            end.typed(complex)
    sender.send_nowait(1)
    assert receiver.receive_nowait() == 1
    sender.close()
    receiver.close()


# --- ends in fields ----------------------------------------------------------------------------------


@with_relays
async def test_ends_in_fields_move_and_are_typed_both_ways(route: Route) -> None:
    async with route() as places, typed(places, Request) as (sender, receiver):
        (reply, at_reply), (at_numbers, numbers) = pipe(item_type=Reply), pipe(item_type=int)
        stream, body = byte_pipe()
        places.keep((reply, at_reply, numbers, at_numbers, stream, body))
        await sender.send(Request(reply, numbers, body))
        for end in (reply, numbers, body):
            assert end.is_void
        request = await receiver.receive()
        places.keep((request.reply, request.numbers, request.body))
        await request.reply.send(Reply("typed"))
        assert await at_reply.receive() == Reply("typed")
        await at_numbers.send(5)
        assert await request.numbers.receive() == 5
        await stream.send(b"bytes")
        assert await request.body.receive() == b"bytes"


@every_session
async def test_an_end_in_a_field_checks_what_it_receives(route: Route) -> None:
    async with route() as places, typed(places, Request) as (sender, receiver):
        (reply, at_reply), (at_numbers, numbers) = pipe(item_type=Reply), pipe()
        stream, body = byte_pipe()
        places.keep((at_reply, at_numbers, stream))
        await sender.send(Request(reply, numbers, body))
        request = await receiver.receive()
        places.keep((request.reply, request.numbers, request.body))
        await at_numbers.send("five")
        with pytest.raises(MessageTypeError, match=r"^the message: expected int, got str$"):
            await request.numbers.receive()
        await request.reply.send({"text": 5})
        with pytest.raises(MessageTypeError, match=r"^text: expected str, got int$"):
            await at_reply.receive()


@with_relays
@pytest.mark.parametrize("holder", [Data, Named, lambda end: Typed(reply=end)], ids=["dataclass", "tuple", "dict"])
async def test_an_end_moves_in_any_kind_of_object(route: Route, holder: Any) -> None:
    item_type = {Data: Data, Named: Named}.get(holder, Typed)
    async with route() as places, typed(places, dict[str, list[item_type]]) as (sender, receiver):  # type: ignore[valid-type]
        reply, at_reply = pipe(item_type=Reply)
        places.keep((reply, at_reply))
        sent = holder(reply)
        await sender.send({"a": [sent]})
        assert reply.is_void
        [got] = (await receiver.receive())["a"]
        assert type(got) is type(sent)
        end = got["reply"] if item_type is Typed else got.reply
        async with end:
            await end.send(Reply("hi"))
        assert await at_reply.receive() == Reply("hi")


@every_session
async def test_ends_of_a_misfit_and_in_unknown_fields_are_refused_at_once(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Data))
        ends = [places.pipe() for _ in range(5)]
        (one, at_one), (two, at_two), (good, at_good), (unknown, at_unknown), (at_asked, asked) = ends
        await sender.send({"reply": "secret", "more": [one], "end": two})
        with pytest.raises(MessageTypeError):
            await receiver.receive()
        await sender.send({"reply": good, "more": [{"deep": unknown}], "asked": asked})
        data = places.keep((await receiver.receive()).reply)
        for refused in (at_one, at_two, at_unknown):
            with pytest.raises(ChannelFailed) as caught:
                await refused.receive()
            assert caught.value.code == "not-taken"
        reason = await at_asked.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "not-taken"
        await data.send(Reply("the other lives"))
        assert (await at_good.receive())["text"] == "the other lives"


@with_relays
async def test_an_end_in_a_field_for_anything_is_kept(route: Route) -> None:
    async with route() as places, typed(places, dict[str, Any]) as (sender, receiver):
        reply, at_reply = places.pipe()
        await sender.send({"a": [{"b": reply}]})
        end = places.keep((await receiver.receive())["a"][0]["b"])
        await end.send(1)
        assert await at_reply.receive() == 1


@with_relays
async def test_a_message_with_ends_that_is_not_sent_leaves_them(route: Route) -> None:
    async with route() as places, typed(places, Data, 1) as (sender, receiver):
        (first, _), (reply, at_reply) = pipe(item_type=Reply), pipe(item_type=Reply)
        places.keep((reply, at_reply))
        await sender.send(Data(first))
        with pytest.raises(anyio.WouldBlock):
            sender.send_nowait(Data(reply))
        with anyio.move_on_after(0.01):
            await sender.send(Data(reply))
        await reply.send(Reply("still mine"))
        assert await at_reply.receive() == Reply("still mine")
        places.keep((await receiver.receive()).reply)


@with_relays
async def test_ends_in_objects_that_nobody_takes_are_refused(route: Route) -> None:
    async with route() as places, typed(places, Data) as (sender, receiver):
        reply, at_reply = pipe(item_type=Reply)
        places.keep((reply, at_reply))
        await sender.send(Data(reply))
        receiver.close()
        with pytest.raises(ChannelFailed, match="not-taken"):
            await at_reply.receive()


# --- contracts ---------------------------------------------------------------------------------------


@with_relays
@pytest.mark.parametrize(("said", "expected"), [("a/1", "a/1"), ("a/1", None), (None, "a/1"), (None, None)])
async def test_a_contract_that_is_the_same_or_that_one_side_does_not_care_for_is_none(
    route: Route, said: str | None, expected: str | None
) -> None:
    async with route() as places:
        sender, receiver = pipe(item_type=Order, contract=said)
        places.keep((sender, receiver))
        far = places.keep((await places.carry(receiver)).typed(Order, contract=expected))
        await sender.send(GOOD)
        assert await far.receive() == GOOD


@with_relays
async def test_another_contract_is_refused_both_ways(route: Route) -> None:
    async with route() as places:
        sender, receiver = pipe(item_type=Order, contract="orders/1")
        places.keep((sender, receiver))
        far = await places.carry(receiver)
        with pytest.raises(
            ChannelFailed, match=r"wrong-type: its messages keep to orders/1, and orders/2 was expected"
        ):
            far.typed(Order, contract="orders/2")
        assert far.is_void
        reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "wrong-type"

        sender, receiver = pipe(item_type=Order, contract="orders/1")
        places.keep((sender, receiver))
        far_sender = await places.carry(sender)
        with pytest.raises(ChannelRefused, match="wrong-type"):
            far_sender.typed(Order, contract="orders/2")
        assert far_sender.is_void
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert caught.value.code == "wrong-type"


async def test_a_service_may_ask_for_a_contract() -> None:
    async def orders(receiver: Receiver[Any], peer: Any) -> None:
        async for order in receiver.typed(Order, contract="orders/2"):
            got.append(order)

    got: list[Order] = []
    async with session_pair(services={"orders": orders}) as (client, _server):
        good = await client.open("orders", Order, contract="orders/2")
        await good.send(GOOD)
        await good.flush()
        old = await client.open("orders", Order, contract="orders/1")
        reason = await old.wait_closed()
    assert got == [GOOD]
    assert isinstance(reason, ChannelRefused)
    assert reason.code == "wrong-type"


@pytest.mark.parametrize(
    ("contract", "error"), [("", ValueError), ("x" * 65, ValueError), ("a\n", ValueError), (5, TypeError)]
)
def test_the_name_of_a_contract_is_a_short_text(contract: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="contract"):
        pipe(contract=contract)


# --- what is hostile -----------------------------------------------------------------------------------


class Breaks(msgspec.Struct):
    divisor: int

    def __post_init__(self) -> None:
        1 // self.divisor


@every_session
async def test_a_defect_of_a_class_takes_nothing_with_it(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Breaks))
        for divisor in (1, 0, 2):
            await sender.send({"divisor": divisor})
        await places.settle()
        assert await receiver.receive_many() == [Breaks(1)]
        with pytest.raises(ZeroDivisionError):
            await receiver.receive()
        assert await receiver.receive() == Breaks(2)


class Chain(msgspec.Struct):
    next: "Chain | None" = None


async def test_what_nests_too_deep_for_python_ends_the_channel_with_a_decode_error() -> None:
    """By the limits, a message nests 64 deep: only who is deep in calls already can meet it."""
    async with session() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Chain))
        deep: Any = None
        for _ in range(60):
            deep = {"next": deep}
        await sender.send(deep)
        await places.settle()

        def take(depth: int) -> Any:
            return take(depth - 1) if depth else receiver.receive_nowait()

        room = sys.getrecursionlimit() - len(traceback.extract_stack()) - 45
        if sys.version_info >= (3, 12):  # there, what C calls is not counted with what Python calls
            assert isinstance(take(room), Chain)
            return
        with pytest.raises(DecodeError, match="too deep for its type"):
            take(room)
        reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "bad-message"


@every_session
async def test_thousands_of_misfits_with_ends_leave_nothing(route: Route, no_leaks: Leaks) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        receiver = places.keep(receiver.typed(Data))
        for _ in range(300):
            reply, at_reply = pipe()
            await sender.send([reply, at_reply])
            with pytest.raises(MessageTypeError):
                await receiver.receive()
        await places.settle()
        statistics = [session.statistics().channels for hop in places.hops for session in (hop.near, hop.far)]  # type: ignore[attr-defined]
    assert max(statistics) <= 5
