"""How typed channels are typed, as their users see them. Checked by mypy and pyright, never run."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict, TypeVar, assert_type

import chanlink
from chanlink import ByteStream, MessageTypeError, Peer, Receiver, Sender, Session, blocking

T = TypeVar("T")


@dataclass
class Reply:
    total: float


@dataclass
class Order:
    reply: Sender[Reply]
    body: ByteStream | None = None


class Row(TypedDict):
    id: int


class Named(Protocol):
    @property
    def name(self) -> str: ...


Event = Order | Reply


async def pipes() -> None:
    assert_type(chanlink.pipe(), tuple[Sender[Any], Receiver[Any]])
    assert_type(chanlink.pipe(5), tuple[Sender[Any], Receiver[Any]])
    assert_type(chanlink.pipe(item_type=Order), tuple[Sender[Order], Receiver[Order]])
    assert_type(chanlink.pipe(1, item_type=Order, check=True), tuple[Sender[Order], Receiver[Order]])
    assert_type(chanlink.pipe(item_type=Order | None), tuple[Sender[Order | None], Receiver[Order | None]])
    assert_type(chanlink.pipe(item_type=list[Row]), tuple[Sender[list[Row]], Receiver[list[Row]]])
    assert_type(chanlink.pipe(item_type=Row), tuple[Sender[Row], Receiver[Row]])
    assert_type(chanlink.pipe(item_type=Named), tuple[Sender[Named], Receiver[Named]])
    assert_type(chanlink.pipe(item_type=Event), tuple[Sender[Order | Reply], Receiver[Order | Reply]])
    assert_type(chanlink.pipe(item_type=Literal["a"]), tuple[Sender[Literal["a"]], Receiver[Literal["a"]]])
    assert_type(chanlink.pipe(item_type=Sender[Reply]), tuple[Sender[Sender[Reply]], Receiver[Sender[Reply]]])


async def ends(session: Session, receiver: Receiver[Any], sender: Sender[Any]) -> None:
    assert_type(await session.open("orders", Order), Sender[Order])
    assert_type(await session.open("orders", Order | Reply, 5, check=True), Sender[Order | Reply])
    assert_type(await session.open("orders"), Sender[Any])
    assert_type(receiver.typed(Order), Receiver[Order])
    assert_type(receiver.typed(Order | None), Receiver[Order | None])
    assert_type(sender.typed(list[Order], check=True), Sender[list[Order]])


def in_threads(session: blocking.Session) -> None:
    assert_type(session.open("orders", Order | None), blocking.Sender[Order | None])
    sender, receiver = session.pipe(item_type=Order | Reply)
    assert_type(sender, blocking.Sender[Order | Reply])
    assert_type(receiver.receive(), Order | Reply)


def bad(error: MessageTypeError) -> None:
    print(error.path, error.problem)


async def serve(orders: Receiver[Order], peer: Peer) -> None:
    assert_type(orders.valid(on_bad=bad), AsyncIterator[Order])
    async for order in orders.valid(on_bad=bad):
        await order.reply.send(Reply(1.5))


async def handlers(me: chanlink.Identity, trust: chanlink.Trust) -> None:
    await chanlink.serve({"orders": serve}, "tcp://localhost:0", identity=me, trust=trust)


def generic(item_type: type[T]) -> tuple[Sender[T], Receiver[T]]:
    return chanlink.pipe(item_type=item_type)


def variance(sender: Sender[object], receiver: Receiver[int]) -> tuple[Sender[int], Receiver[object]]:
    return sender, receiver
