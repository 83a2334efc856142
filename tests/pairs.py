"""Pairs of sessions in memory, and channels made in every way: in memory, opened, or with one end sent away."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import Limits, Peer, Receiver, Sender, Session
from chanlink.limits import PeerLimits

PEER = Peer(None, "the other side", "memory")


def peer_limits(limits: Limits) -> PeerLimits:
    return PeerLimits(**{name: getattr(limits, name) for name in PeerLimits.__slots__})


@asynccontextmanager
async def session_pair(
    limits: Limits | None = None, server_limits: Limits | None = None, **server: Any
) -> AsyncIterator[tuple[Session, Session]]:
    """Two sessions, joined in memory: the client's and the server's."""
    limits = limits or Limits()
    server_limits = server_limits or limits
    here, there = chanlink.byte_pipe()
    client_session = Session(here, client_side=True, peer=PEER, limits=limits, peer_limits=peer_limits(server_limits))
    server_session = Session(
        there, client_side=False, peer=PEER, limits=server_limits, peer_limits=peer_limits(limits), **server
    )
    # The server's side lives in a task of its own, as in life: its end must not need the end of the client's block.
    async with anyio.create_task_group() as tasks:
        ready, done = anyio.Event(), anyio.Event()

        async def serve() -> None:
            async with server_session:
                ready.set()
                await done.wait()

        tasks.start_soon(serve)
        await ready.wait()
        error: BaseException | None = None
        try:
            async with client_session:
                yield client_session, server_session
        except Exception as exc:  # a task group would wrap it
            error = exc
        done.set()
    if error is not None:
        raise error


Channel = tuple[Sender[Any], Receiver[Any]]
MakeChannel = Callable[[int | None], AbstractAsyncContextManager[Channel]]


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
