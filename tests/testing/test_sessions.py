"""A pair of sessions in memory."""

import pytest

import chanlink
from chanlink import Limits
from chanlink.testing import (
    session_pair,
)
from tests.echo import ask, echo

pytestmark = pytest.mark.anyio


async def test_both_sides_of_a_pair_may_serve() -> None:
    async with session_pair(services={"echo": echo}, client_services={"echo": echo}) as pair:
        for session in pair:
            assert await ask(session) == "hello"


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
