"""Channels made in every way: in memory, opened, or with one end sent away; `chanlink.testing` joins the sessions.

And what is done with sessions: something is asked, and a program is interrupted.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import Receiver, Sender
from chanlink.testing import session_pair
from chanlink.testing.promises import MakeChannel
from chanlink.testing.sessions import PEER

__all__ = ["CHANNELS", "PEER", "REMOTE", "MakeChannel", "session_pair", "settle"]

Channel = tuple[Sender[Any], Receiver[Any]]


@asynccontextmanager
async def in_memory(capacity: int | None = None) -> AsyncIterator[Channel]:
    yield chanlink.pipe(capacity)


@asynccontextmanager
async def opened(capacity: int | None = None) -> AsyncIterator[Channel]:
    """A top-level channel."""
    async with session_pair() as (client, server):
        sender: Sender[Any] = await client.open("service", capacity=capacity)
        yield sender, (await server.accept()).end


@asynccontextmanager
async def receiver_sent(capacity: int | None = None) -> AsyncIterator[Channel]:
    async with session_pair() as (client, server):
        carrier: Sender[Any] = await client.open("service")
        sender, receiver = chanlink.pipe(capacity)
        await carrier.send(receiver)
        yield sender, await (await server.accept()).end.receive()


@asynccontextmanager
async def sender_sent(capacity: int | None = None) -> AsyncIterator[Channel]:
    """By the side that accepted the carrying channel's opening, so that it opens a stream itself."""
    async with session_pair() as (client, server):
        carrier: Sender[Any] = await server.open("service")
        sender, receiver = chanlink.pipe(capacity)
        await carrier.send([{"sender": sender}])
        message = await (await client.accept()).end.receive()
        yield message[0]["sender"], receiver


CHANNELS = [in_memory, opened, receiver_sent, sender_sent]
REMOTE = CHANNELS[1:]


async def settle() -> None:
    """Let the sessions in memory deliver what is under way."""
    for _ in range(100):
        await checkpoint()


def assert_is_interrupted(program: Callable[[], Awaitable[object]], backend: tuple[str, dict[str, object]]) -> None:
    """It ends by Ctrl-C: trio and task groups have that in groups."""
    name, options = backend
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        anyio.run(program, backend=name, backend_options=options)
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, KeyboardInterrupt)
