"""What a service says of its channel by the annotation of its first parameter."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import msgspec
import pytest

import chanlink
from chanlink import ChannelFailed, ChannelRefused, MessageTypeError, Peer, Receiver, Sender, pipe
from chanlink.errors import InterfaceError
from chanlink.session.annotations import item_converter
from chanlink.session.services import check_services
from tests.channels.pairs import session_pair
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

pytestmark = pytest.mark.anyio


class Reply(msgspec.Struct):
    total: float


class Order(msgspec.Struct):
    price: float
    reply: Sender[Reply]


Orders = Receiver[Order]


async def textual(orders: Receiver[Order], peer: Unknown) -> None: ...
async def alias(orders: Orders, peer: Peer) -> None: ...
async def annotated(orders: Annotated[Receiver[Order], "of customers"], peer: Peer) -> None: ...
async def bound_first(shop: str, orders: Receiver[Order], peer: Peer) -> None: ...


@functools.wraps(textual)
async def decorated(*args: Any) -> None: ...


class Service:
    async def method(self, orders: Receiver[Order], peer: Peer) -> None: ...
    async def __call__(self, orders: Receiver[Order], peer: Peer) -> None: ...


@pytest.mark.parametrize(
    "handler",
    [textual, alias, annotated, decorated, functools.partial(bound_first, "shop"), Service().method, Service()],
    ids=["textual", "alias", "annotated", "decorated", "partial", "method", "callable"],
)
def test_a_receiver_with_a_parameter_has_its_type(handler: Any) -> None:
    converter = item_converter(handler)
    assert converter is not None
    assert converter.item_type is Order


async def bare(orders: Receiver, peer: Peer) -> None: ...  # type: ignore[type-arg]
async def anything(orders: Receiver[Any], peer: Peer) -> None: ...
async def not_annotated(orders, peer) -> None: ...  # type: ignore[no-untyped-def]
async def something_else(end: Any, peer: Peer) -> None: ...
async def nothing() -> None: ...


@pytest.mark.parametrize("handler", [bare, anything, not_annotated, something_else, nothing, print, dict])
def test_any_other_is_as_without_an_annotation(handler: Any) -> None:
    assert item_converter(handler) is None


async def unknown(orders: Receiver[Unknown], peer: Peer) -> None: ...
async def impossible(orders: Receiver[complex], peer: Peer) -> None: ...


@pytest.mark.parametrize("handler", [unknown, impossible])
async def test_what_can_not_be_is_an_error_when_serving_begins(handler: Any) -> None:
    with pytest.raises(InterfaceError, match=r"Unknown|complex"):
        check_services({"a": handler})
    me = chanlink.Identity.generate("me")
    with pytest.raises(InterfaceError):
        await chanlink.serve({"a": handler}, "tcp://127.0.0.1:0", identity=me, trust=chanlink.Trust.nobody())


async def test_services_that_nobody_has_checked_fail_alone() -> None:
    services: dict[str, Any] = {}
    async with session_pair(services=services) as (client, _server):
        services["a"] = impossible  # behind the check
        reason = await (await client.open("a")).wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "handler-failed"
        assert not client.closed


async def test_a_service_gets_objects_and_what_is_none_fails_only_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def shop(orders: Receiver[Order], peer: Peer) -> None:
        async for order in orders:
            async with order.reply:
                await order.reply.send(Reply(order.price * 2))

    async with session_pair(services={"shop": shop}) as (client, _server):
        for _ in range(2):
            orders = await client.open("shop", Order)
            sender, receiver = pipe(item_type=Reply)
            await orders.send(Order(1.5, sender))
            with anyio.fail_after(PATIENCE):
                assert await receiver.receive() == Reply(3.0)
                sender, receiver = pipe(item_type=Reply)
                await orders.send(Order("secret", sender))  # type: ignore[arg-type]
                with pytest.raises(ChannelFailed, match="not-taken"):
                    await receiver.receive()
                reason = await orders.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert reason.code == "handler-failed"
    assert caplog.text.count("price: expected float, got str") == 2
    assert "Traceback" not in caplog.text, "it is the peer's doing"
    assert "secret" not in caplog.text


async def test_a_service_that_is_replaced_gets_its_own_type() -> None:
    got: list[Any] = []

    async def numbers(items: Receiver[int], peer: Peer) -> None:
        with pytest.raises(MessageTypeError):
            await items.receive()
        got.append("a misfit")

    async def texts(items: Receiver[str], peer: Peer) -> None:
        got.append(await items.receive())

    services: dict[str, Any] = {"it": numbers}
    async with session_pair(services=services) as (client, _server):
        for service in (numbers, texts):
            services["it"] = service
            sender = await client.open("it")
            await sender.send("text")
            await sender.wait_closed()
    assert got == ["a misfit", "text"]
