"""Whoever waits for an answer learns why nobody took the request: the ends that went with it say it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ByteStream, ChannelFailed, ChannelRefused, Limits, Peer, Receiver, Sender, SessionClosed, streams
from tests.channels.pairs import session_pair
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio

Carrier = tuple[Sender[Any], tuple[str, str]]
"""The sender of a channel whose messages nobody takes, and the code and text that the ends in them get for that."""


async def fail(requests: Receiver[Any], peer: Peer) -> None:
    raise LookupError("a secret")


async def leave(requests: Receiver[Any], peer: Peer) -> None:
    pass


async def echo(stream: ByteStream, peer: Peer) -> None:
    pass


SERVED = {
    "nowhere": ("no-such-service", "there is no service 'nowhere' here that this key may use"),
    "forbidden": ("no-such-service", "there is no service 'forbidden' here that this key may use"),
    "echo": ("wrong-kind", "the service 'echo' takes byte streams, not channels"),
    "fail": ("not-taken", "handler-failed: the service 'fail' raised an exception; the log over there says which"),
    "leave": ("not-taken", "done"),
}
CLOSED = ("not-taken", "closed: tired of this")


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
        yield sender, CLOSED


@asynccontextmanager
async def closed_in_memory() -> AsyncGenerator[Carrier, None]:
    sender, receiver = chanlink.pipe()
    async with anyio.create_task_group() as tasks:

        async def close() -> None:
            receiver.close("tired of this")

        tasks.start_soon(close)
        yield sender, CLOSED


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
            yield sender, CLOSED


@asynccontextmanager
async def busy() -> AsyncGenerator[Carrier, None]:
    async with session_pair(Limits(unaccepted=1)) as (client, _), await client.open("waits to be accepted"):
        yield await client.open("one more"), ("busy", "1 channels wait to be accepted")


@asynccontextmanager
async def draining() -> AsyncGenerator[Carrier, None]:
    """The client opens the channel while the server has said that it takes no more, and it does not know yet."""
    async with session_pair() as (client, server):
        server.drain()
        sender: Sender[Any] = await client.open("too late")
        yield sender, ("draining", "no new channels are taken")


@asynccontextmanager
async def nowhere_beyond_a_relay() -> AsyncGenerator[Carrier, None]:
    """The receiver that a service takes goes on in a message to a service that does not exist."""
    async with session_pair() as (client, here), session_pair(services={}) as (there, _):
        sender: Sender[Any] = await client.open("service")
        await (await there.open("nowhere")).send({"requests": (await here.accept()).end})
        yield sender, SERVED["nowhere"]


@asynccontextmanager
async def nowhere_in_memory() -> AsyncGenerator[Carrier, None]:
    """What waits in memory for a receiver that travels to a service that does not exist."""
    async with session_pair(services={}) as (client, _):
        sender, receiver = chanlink.pipe()
        through, taken = chanlink.pipe()
        await sender.send(taken)
        await (await client.open("nowhere")).send(receiver)
        yield through, SERVED["nowhere"]


WAYS = [
    closed_with_a_reason,
    closed_in_memory,
    closed_beyond_a_relay,
    busy,
    draining,
    nowhere_beyond_a_relay,
    nowhere_in_memory,
    *map(served, SERVED),
]
NAMES = [*(way.__name__ for way in WAYS[: -len(SERVED)]), *SERVED]


async def ends() -> tuple[list[Any], list[Any]]:
    """What stays here, and what goes: a receiver, a sender, and a byte stream."""
    replies, results = chanlink.pipe(), chanlink.pipe()
    body, remote = chanlink.byte_pipe()
    return [replies[1], results[0], body], [replies[0], {"deeper": results[1]}, remote]


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
async def test_ends_in_a_message_that_nobody_took_say_why(way: Callable[[], Any]) -> None:
    async with way() as (sender, why):
        (receiver, results, body), going = await ends()
        await sender.send(going)
        with anyio.fail_after(PATIENCE):
            with pytest.raises(ChannelFailed) as failed:
                await receiver.receive()
            assert failed.value.args == why
            for end in (results, body):
                refused = await end.wait_closed()
                assert isinstance(refused, ChannelRefused)
                assert refused.args == why
            with pytest.raises(ChannelFailed) as failed:
                await body.receive()
            assert failed.value.args == why


async def test_ends_in_messages_that_wait_in_an_end_that_nobody_took_get_the_outermost_reason() -> None:
    async with served("nowhere")() as (sender, why):
        inner, waits = chanlink.pipe()
        replies = chanlink.pipe()
        await inner.send(replies[0])
        await sender.send(waits)
        with anyio.fail_after(PATIENCE), pytest.raises(ChannelFailed) as failed:
            await replies[1].receive()
        assert failed.value.args == why


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
