"""Two sessions with keys: a real handshake and real records, over a pipe in memory or a pair of sockets."""

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal

import anyio
from anyio.abc import ByteStream as AnyByteStream
from anyio.abc import TaskGroup, UNIXSocketStream

import chanlink
from chanlink import Identity, Limits, Services, Session
from chanlink.arguments import expect
from chanlink.session.services import check_services
from chanlink.tasks import tasks_beside

from .faulty_stream import FaultyStream
from .guests import Guests

Over = Literal["memory", "sockets"]
Faults = Mapping[str, Any]
"""Arguments of a `FaultyStream`, such as ``{"cut_after": 1_000}``."""


@dataclass(frozen=True)
class SessionPair:
    """Two sessions that are joined, and what is between them. ``client, server = pair`` works, too."""

    client: Session
    """The side that has connected."""
    server: Session
    """The side that it has connected to."""
    client_wire: FaultyStream
    """What the client's bytes go through, for faults: ``await pair.client_wire.cut()``."""
    server_wire: FaultyStream
    """The same of the server's."""

    def __iter__(self) -> Iterator[Session]:
        yield self.client
        yield self.server


@asynccontextmanager
async def session_pair_with_keys(
    limits: Limits | None = None,
    server_limits: Limits | None = None,
    *,
    services: Services | None = None,
    client_services: Services | None = None,
    may_use: Collection[str] | None = None,
    over: Over = "memory",
    client_faults: Faults | None = None,
    server_faults: Faults | None = None,
) -> AsyncGenerator[SessionPair, None]:
    """Two sessions with keys of their own: an async context manager that gives a `SessionPair`.

    All is as between two processes, except for what carries the bytes: a pipe in memory, or a pair of Unix ``sockets``.
    The keys are made for the pair, and called ``client`` and ``server``. ``limits`` are the client's, and the server's
    too if ``server_limits`` is not given. ``services`` are served by the server, ``client_services`` by the client;
    without them, channels come out of `Session.accept`. ``may_use`` names the services that the client may use (all of
    them if it is not given). ``client_faults`` and ``server_faults`` are arguments of the `FaultyStream` that either
    side's bytes go through, from the first byte of the handshake on; faults at a moment are verbs of
    `SessionPair.client_wire` and `SessionPair.server_wire`.

    Raises what `chanlink.connect` raises, when the handshake fails because of a fault. The server's side lives in a
    task of its own. Both sessions are closed when the block is left, and a wire that is stalled then is cut; an
    exception of the block leaves it as it is.
    """
    expect("limits", limits, Limits, NoneType)
    expect("server_limits", server_limits, Limits, NoneType)
    check_services(services)
    check_services(client_services)
    guests, server_identity = Guests(), Identity.generate("server")
    client_identity = guests.let_in("client", may_use)
    client_wire, server_wire = await _wires(over, client_faults, server_faults)
    accept = chanlink.accept(
        server_wire, identity=server_identity, trust=guests, services=services, limits=server_limits or limits
    )
    connect = chanlink.connect(
        client_wire,
        identity=client_identity,
        peer=server_identity.public_key,
        services=client_services,
        limits=limits,
    )
    async with tasks_beside() as tasks, _accepting(tasks, accept) as accepted, connect as client:
        server = await accepted()
        if server is None:  # a fault in the last bytes of the handshake, which the client has not seen
            raise await client.wait_closed()
        try:
            yield SessionPair(client, server, client_wire, server_wire)
        finally:
            await client_wire.cut_if_stalled()
            await server_wire.cut_if_stalled()


@asynccontextmanager
async def _accepting(
    tasks: TaskGroup, block: AbstractAsyncContextManager[Session]
) -> AsyncGenerator[Callable[[], Awaitable[Session | None]], None]:
    """The server's side, in a task of its own; what this gives waits for its session, or None if there is none.

    Why there is none, the client's side says, too.
    """
    sessions: list[Session] = []
    shaken, done = anyio.Event(), anyio.Event()

    async def live() -> None:
        try:
            async with block as session:
                sessions.append(session)
                shaken.set()
                await done.wait()
        except chanlink.SessionError:
            shaken.set()

    async def accepted() -> Session | None:
        await shaken.wait()
        return sessions[0] if sessions else None

    tasks.start_soon(live)
    try:
        yield accepted
    finally:
        done.set()


async def _wires(
    over: Over, client_faults: Faults | None, server_faults: Faults | None
) -> tuple[FaultyStream, FaultyStream]:
    expect("client_faults", client_faults, Mapping, NoneType)
    expect("server_faults", server_faults, Mapping, NoneType)
    near, far = await _joined(over)
    try:
        return FaultyStream(near, **client_faults or {}), FaultyStream(far, **server_faults or {})
    except BaseException:
        await near.aclose()
        await far.aclose()
        raise


async def _joined(over: Over) -> tuple[AnyByteStream, AnyByteStream]:
    if over == "memory":
        return chanlink.byte_pipe()
    if over != "sockets":
        raise ValueError(f"over is 'memory' or 'sockets', not {over!r:.40}")
    near, far = socket.socketpair()
    return await UNIXSocketStream.from_socket(near), await UNIXSocketStream.from_socket(far)
