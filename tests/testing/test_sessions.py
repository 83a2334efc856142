"""A pair of sessions in memory."""

from typing import Any

import pytest

import chanlink
from chanlink import Limits
from chanlink.testing import (
    session_pair,
)

pytestmark = pytest.mark.anyio


async def test_both_sides_of_a_pair_may_serve() -> None:
    async def echo(receiver: Any, peer: chanlink.Peer) -> None:
        async for message in receiver:
            async with message["reply"] as reply:
                await reply.send(message["text"])

    async with session_pair(services={"echo": echo}, client_services={"echo": echo}) as pair:
        for session in pair:
            async with await session.open("echo") as sender:
                reply, replies = chanlink.pipe()
                await sender.send({"text": "hello", "reply": reply})
                assert [answer async for answer in replies] == ["hello"]


async def test_each_side_of_a_pair_has_its_own_limits() -> None:
    async with session_pair(Limits(message_size=10), Limits(message_size=1_000)) as (client, server):
        async with await client.open("service") as sender:
            await sender.send(bytes(900))
            with pytest.raises(chanlink.MessageTooLarge):
                await sender.send(bytes(1_100))
        (await server.accept()).end.close()
        async with await server.open("service") as sender:
            with pytest.raises(chanlink.MessageTooLarge):
                await sender.send(bytes(11))
        (await client.accept()).end.close()


async def test_an_exception_leaves_the_block_of_a_pair_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with session_pair():
            raise LookupError("mine")
