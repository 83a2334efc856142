"""Whoever waits for an answer learns why nobody took the request: the ends that went with it say it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ByteStream, ChannelFailed, ChannelRefused, Peer, Receiver, Sender, SessionClosed, streams
from tests.channels.pairs import session_pair
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio

Carrier = tuple[Sender[Any], str]
"""The sender of a channel whose messages nobody takes, and the text that the ends in them get for that."""


async def fail(requests: Receiver[Any], peer: Peer) -> None:
    raise LookupError("a secret")


async def leave(requests: Receiver[Any], peer: Peer) -> None:
    pass


async def echo(stream: ByteStream, peer: Peer) -> None:
    pass


SERVED = {
    "nowhere": "no-such-service: there is no service 'nowhere' here that this key may use",
    "forbidden": "no-such-service: there is no service 'forbidden' here that this key may use",
    "echo": "wrong-kind: the service 'echo' takes byte streams, not channels",
    "fail": "handler-failed: the service 'fail' raised an exception; the log over there says which",
    "leave": "done",
}


def served(name: str) -> Callable[[], AbstractAsyncContextManager[Carrier]]:
    @asynccontextmanager
    async def carrier() -> AsyncGenerator[Carrier, None]:
        services = {"forbidden": leave, "echo": streams(echo), "fail": fail, "leave": leave}
        async with session_pair(services=services, allows=lambda service: service != "forbidden") as (client, _):
            yield await client.open(name), SERVED[name]

    return carrier


@asynccontextmanager
async def closed_with_a_reason() -> AsyncGenerator[Carrier, None]:
    async with session_pair() as (client, server), anyio.create_task_group() as tasks:
        sender: Sender[Any] = await client.open("service")
        end = (await server.accept()).end

        async def close() -> None:
            end.close("tired of this")

        tasks.start_soon(close)
        yield sender, "closed: tired of this"


@asynccontextmanager
async def closed_in_memory() -> AsyncGenerator[Carrier, None]:
    sender, receiver = chanlink.pipe()
    async with anyio.create_task_group() as tasks:

        async def close() -> None:
            receiver.close("tired of this")

        tasks.start_soon(close)
        yield sender, "closed: tired of this"


@asynccontextmanager
async def closed_beyond_a_relay() -> AsyncGenerator[Carrier, None]:
    async with session_pair() as (client, here), session_pair() as (there, server):
        sender: Sender[Any] = await client.open("service")
        await (await there.open("service")).send((await here.accept()).end)
        end = await (await server.accept()).end.receive()
        async with anyio.create_task_group() as tasks:

            async def close() -> None:
                end.close("tired of this")

            tasks.start_soon(close)
            yield sender, "closed: tired of this"


WAYS = [closed_with_a_reason, closed_in_memory, closed_beyond_a_relay, *map(served, SERVED)]
NAMES = ["closed", "in memory", "beyond a relay", *SERVED]


async def ends() -> tuple[list[Any], list[Any]]:
    """What stays here, and what goes: a receiver, a sender, and a byte stream."""
    replies, results = chanlink.pipe(), chanlink.pipe()
    body, remote = chanlink.byte_pipe()
    return [replies[1], results[0], body], [replies[0], {"deeper": results[1]}, remote]


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
async def test_ends_in_a_message_that_nobody_took_say_why(way: Callable[[], Any]) -> None:
    async with way() as (sender, text):
        (receiver, results, body), going = await ends()
        await sender.send(going)
        with anyio.fail_after(PATIENCE):
            with pytest.raises(ChannelFailed) as failed:
                await receiver.receive()
            assert failed.value.args == ("not-taken", text)
            for end in (results, body):
                refused = await end.wait_closed()
                assert isinstance(refused, ChannelRefused)
                assert refused.args == ("not-taken", text)
            with pytest.raises(ChannelFailed) as failed:
                await body.receive()
            assert failed.value.args == ("not-taken", text)


async def test_ends_in_messages_that_wait_in_an_end_that_nobody_took_get_the_outermost_reason() -> None:
    async with served("nowhere")() as (sender, text):
        inner, waits = chanlink.pipe()
        replies = chanlink.pipe()
        await inner.send(replies[0])
        await sender.send(waits)
        with anyio.fail_after(PATIENCE), pytest.raises(ChannelFailed) as failed:
            await replies[1].receive()
        assert failed.value.args == ("not-taken", text)


async def test_who_broke_the_protocol_is_told_what_it_did() -> None:
    """Also over a byte stream of one's own, where GOAWAY is all that can tell."""
    async with session_pair() as (client, server):
        client._mux._h2.send_extension(0xF1, 0, b"short")
        client._driver.wake_writer()
        with anyio.fail_after(PATIENCE):
            why = await client.wait_closed()
            assert isinstance(why, SessionClosed)
            assert (why.code, why.text) == ("protocol-error", str(await server.wait_closed()))
            assert "TAKEN" in why.text
