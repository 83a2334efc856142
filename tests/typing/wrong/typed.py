"""Wrong uses of typed channels. Each line with a comment is the error that is named there, and no other line is one."""

from dataclasses import dataclass

import chanlink
from chanlink import Peer, Receiver, Sender, Session


@dataclass
class Reply:
    total: float


@dataclass
class Order:
    reply: Sender[Reply]


async def sends_another_type() -> None:
    sender, receiver = chanlink.pipe(item_type=Order)
    reply, replies = chanlink.pipe(item_type=Reply)
    await sender.send(Reply(1.0))  # mypy: arg-type; pyright: reportArgumentType
    sender.send_nowait("text")  # mypy: arg-type; pyright: reportArgumentType
    sender.sending(5)  # mypy: arg-type; pyright: reportArgumentType
    await sender.send(Order(replies))  # mypy: arg-type; pyright: reportArgumentType
    await sender.send(Order(sender))  # mypy: arg-type; pyright: reportArgumentType
    await sender.send(Order(reply))
    order = await receiver.receive()
    await order.reply.send(1.0)  # mypy: arg-type; pyright: reportArgumentType
    print(order.replies)  # mypy: attr-defined; pyright: reportAttributeAccessIssue


async def opens_with_another_type(session: Session) -> None:
    orders = await session.open("orders", Order | None)
    await orders.send(None)
    await orders.send(Reply(1.0))  # mypy: arg-type; pyright: reportArgumentType


async def gives_what_is_no_type(session: Session, receiver: Receiver[int]) -> None:
    chanlink.pipe(item_type=5)  # mypy: call-overload; pyright: reportCallIssue, reportArgumentType
    chanlink.pipe(Order)  # mypy: call-overload; pyright: reportArgumentType
    receiver.typed()  # mypy: call-overload; pyright: reportCallIssue
    order = Order(chanlink.pipe()[0])
    await session.open("orders", order)  # mypy: call-overload; pyright: reportCallIssue, reportArgumentType


async def takes_another_type(receiver: Receiver[Order]) -> None:
    reply: Reply = await receiver.receive()  # mypy: assignment; pyright: reportAssignmentType
    replies: Receiver[Reply] = receiver  # mypy: assignment; pyright: reportAssignmentType
    print(reply, replies)


async def service(orders: Sender[Order], peer: Peer) -> None:
    async for order in orders:  # mypy: attr-defined; pyright: reportGeneralTypeIssues
        print(order)
