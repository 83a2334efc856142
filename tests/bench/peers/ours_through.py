"""chanlink: sessions made by hand, with nothing between them and their records, or a layer that does something."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

import chanlink
from chanlink.security.handshake import handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.resuming.resumable import ResumableStream
from chanlink.security.statics import Statics
from chanlink.security.stream import SecureStream
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from chanlink.transport.reaching import connect_socket
from chanlink.transport.sockets import SocketTransport
from tests.bench.meter import Meter, Missing
from tests.bench.payload import message, pour
from tests.security.through import Through

from .ours import Where, there_and_back
from .services import SERVICES

LIMITS = chanlink.Limits()
LAYERS = "none", "empty", "resumable"
"""What may be between the two."""


def anybody(presented: Presented) -> Grant:
    return Grant("somebody", None)


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    """An address for sessions of each sort."""
    statics = Statics(chanlink.Identity.generate(), Role.SERVER)

    async def live(connection: Any, layer: str) -> None:
        transport = SocketTransport(connection)
        authenticated = await handshake_as_server(transport, statics, anybody, LIMITS)
        async with _session(authenticated, layer, client_side=False, services=SERVICES) as session:
            await session.wait_closed()

    async def accept(sock: Any, layer: str) -> None:
        while True:
            await anyio.wait_readable(sock)
            tasks.start_soon(live, sock.accept()[0], layer)

    listening = [await listening_sockets(parse_address("tcp://127.0.0.1:0")) for _ in LAYERS]
    async with anyio.create_task_group() as tasks:
        for layer, each in zip(LAYERS, listening, strict=True):
            tasks.start_soon(accept, each.sockets[0], layer)
        addresses = {layer: each.addresses[0] for layer, each in zip(LAYERS, listening, strict=True)}
        yield {"addresses": addresses, "host": "", "port": 0}
        tasks.cancel_scope.cancel()


def _session(authenticated: Any, layer: str, *, client_side: bool, **options: Any) -> chanlink.Session:
    below: SecureStream = authenticated.stream
    if layer == "empty":
        below = Through(below)
    elif layer == "resumable":
        most = {"unacknowledged": LIMITS.unacknowledged, "peer_unacknowledged": LIMITS.unacknowledged}
        come_back = _never if client_side else None
        below = ResumableStream(
            authenticated.stream, **most, progress=LIMITS.progress, patience=60.0, come_back=come_back
        )
    peer = chanlink.Peer(authenticated.key, "the other side", "here")
    peer_limits = authenticated.peer_limits
    return chanlink.Session(
        below, peer=peer, limits=LIMITS, peer_limits=peer_limits, client_side=client_side, **options
    )


async def _never() -> None:
    raise chanlink.ConnectionLost("nothing breaks here")


@asynccontextmanager
async def _connect(where: Where, layer: str) -> AsyncIterator[chanlink.Session]:
    transport = await connect_socket(parse_address(where["addresses"][layer]))
    statics = Statics(chanlink.Identity.generate(), Role.CLIENT)
    authenticated = await handshake_as_client(transport, statics, anybody, LIMITS)
    async with _session(authenticated, layer, client_side=True) as session:
        yield session


async def round_trip(where: Where, meter: Meter, *, count: int, layer: str) -> None:
    """Finds the processor time of each: what is looked for is less than what the clock's figures wander by."""
    async with _connect(where, layer) as session:
        await there_and_back(session, meter, count)
    if meter.cpu is None:
        raise Missing("measuring processor time needs Linux")
    meter.found(meter.cpu / meter.count * 1e6)


async def byte_stream(where: Where, meter: Meter, *, count: int, layer: str) -> None:
    async with _connect(where, layer) as session:
        await pour(await session.open_stream("discard"), meter, count)


async def one_way(where: Where, meter: Meter, *, count: int, layer: str) -> None:
    async with _connect(where, layer) as session, await session.open("count") as sender:
        with meter.over(count):
            for n in range(count):
                await sender.send(message(n))
            sender.close()
            await sender.flush()


WORKS = {"round_trip": round_trip, "byte_stream": byte_stream, "one_way": one_way}
