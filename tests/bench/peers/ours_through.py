"""chanlink: sessions made by hand, with or without an empty layer between the session and its records."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

import chanlink
from chanlink.security.handshake import handshake_as_client, handshake_as_server
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.trust import Grant
from chanlink.security.statics import Statics
from chanlink.security.stream import SecureStream
from chanlink.transport.address import parse_address
from chanlink.transport.dial import connect_socket
from chanlink.transport.listen import listening_sockets
from chanlink.transport.sockets import SocketTransport
from tests.bench.meter import Meter, Missing
from tests.security.through import Through

from .ours import Where, there_and_back
from .services import SERVICES

LIMITS = chanlink.Limits()


def anybody(key: chanlink.PublicKey) -> Grant:
    return Grant("somebody", None)


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    """Two addresses: the first for sessions without the layer, the second for those with it."""
    statics = Statics(chanlink.Identity.generate(), Role.SERVER)

    async def live(connection: Any, layer: bool) -> None:
        transport = SocketTransport(connection)
        authenticated = await handshake_as_server(transport, statics, anybody, LIMITS)
        async with _session(authenticated, layer, client_side=False, services=SERVICES) as session:
            await session.wait_closed()

    async def accept(sock: Any, layer: bool) -> None:
        while True:
            await anyio.wait_readable(sock)
            tasks.start_soon(live, sock.accept()[0], layer)

    listening = [await listening_sockets(parse_address("tcp://127.0.0.1:0")) for _ in range(2)]
    async with anyio.create_task_group() as tasks:
        for number, each in enumerate(listening):
            tasks.start_soon(accept, each.sockets[0], bool(number))
        yield {"addresses": [each.addresses[0] for each in listening], "host": "", "port": 0}
        tasks.cancel_scope.cancel()


def _session(authenticated: Any, layer: bool, **options: Any) -> chanlink.Session:
    below: SecureStream = Through(authenticated.stream) if layer else authenticated.stream
    peer = chanlink.Peer(authenticated.key, "the other side", "here")
    return chanlink.Session(below, peer=peer, limits=LIMITS, peer_limits=authenticated.peer_limits, **options)


async def round_trip(where: Where, meter: Meter, *, count: int, layer: bool) -> None:
    """Finds the processor time of each: what is looked for is less than what the clock's figures wander by."""
    transport = await connect_socket(parse_address(where["addresses"][layer]))
    statics = Statics(chanlink.Identity.generate(), Role.CLIENT)
    authenticated = await handshake_as_client(transport, statics, anybody, LIMITS)
    async with _session(authenticated, layer, client_side=True) as session:
        await there_and_back(session, meter, count)
    if meter.cpu is None:
        raise Missing("measuring processor time needs Linux")
    meter.found(meter.cpu / meter.count * 1e6)


WORKS = {"round_trip": round_trip}
