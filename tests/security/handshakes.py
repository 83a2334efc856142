"""Handshakes: both sides of one, over connections of several kinds, and peers that say what a test wants."""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgpack
import pytest
from anyio.abc import ByteStream

from chanlink import Identity, Limits, UntrustedPeer, WrongPeer, clock
from chanlink.features import FEATURES
from chanlink.security import suites
from chanlink.security.buffers import loop_buffers
from chanlink.security.handshake import Admit, Authenticated, handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.x25519 import KeyPair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import RecordKeys, Secrets
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from chanlink.transport.reaching import connect_socket
from chanlink.transport.sockets import SocketTransport

from .wires import HELLO, WELCOME, Scripted, Wire, speak_as_client, speak_as_server, wires

# Where nothing depends on the event loop.
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])

ALICE = Identity.generate("alice@laptop")
SERVER = Identity.generate("server")
MALLORY = Identity.generate("mallory")
FULL_BODY = 65_518
TO_MESSAGE_3 = len(HELLO) + 2 + 32
"""What a client sends before it shows who it is: the hello, and an ephemeral key."""
Outcome = Authenticated | Exception


def anybody(presented: Presented) -> Grant:
    return Grant("somebody", None)


def nobody(presented: Presented) -> Grant:
    raise UntrustedPeer(presented.key.fingerprint)


def wrong(presented: Presented) -> Grant:
    raise WrongPeer(MALLORY.public_key.fingerprint, presented.key.fingerprint)


class Pair:
    """Both sides of a handshake, with the statics of their processes."""

    def __init__(self) -> None:
        self.client = Statics(ALICE, Role.CLIENT)
        self.server = Statics(SERVER, Role.SERVER)

    async def handshake(
        self,
        client_end: ByteStream,
        server_end: ByteStream,
        *,
        client_admit: Admit = anybody,
        server_admit: Admit = anybody,
        limits: tuple[Limits, Limits] = (Limits(), Limits()),
        eager: bool = False,
        features: tuple[Collection[str], Collection[str]] = (FEATURES, FEATURES),
    ) -> tuple[Outcome, Outcome]:
        """What each side got. A side that fails closes its end, as endpoints do."""
        outcomes: dict[ByteStream, Outcome] = {}

        async def run(end: ByteStream, handshake: Awaitable[Authenticated]) -> None:
            try:
                outcomes[end] = await handshake
            except Exception as exc:
                outcomes[end] = exc
                await end.aclose()

        async with anyio.create_task_group() as tasks:
            client = handshake_as_client(
                client_end, self.client, client_admit, limits[0], eager=eager, features=features[0]
            )
            server = handshake_as_server(server_end, self.server, server_admit, limits[1], features=features[1])
            tasks.start_soon(run, client_end, client)
            tasks.start_soon(run, server_end, server)
        return outcomes[client_end], outcomes[server_end]


def authenticated(outcome: Outcome) -> Authenticated:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    yield wires()


@asynccontextmanager
async def byte_by_byte() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    yield wires(piece=1)


@asynccontextmanager
async def over_sockets(address: str) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    listening = await listening_sockets(parse_address(address))
    try:
        client = await connect_socket(parse_address(listening.addresses[0]))
        await anyio.wait_readable(listening.sockets[0])
        server = SocketTransport(listening.sockets[0].accept()[0])
    finally:
        listening.close()
    try:
        yield client, server
    finally:
        await client.aclose()
        await server.aclose()


# --- scripted peers


async def good_answer(static: KeyPair, **changes: object) -> bytes:
    """The client's payload (protocol section 2), with some entries changed; None leaves one out."""
    certificate = await certify(ALICE, static.public, Role.CLIENT, int(time.time()))
    answer = {"certificate": certificate.to_map(), "peer": SERVER.public_key.raw, "limits": {}} | changes
    return packed({name: value for name, value in answer.items() if value is not None})


async def good_offer(static: KeyPair, **changes: object) -> bytes:
    """The server's."""
    certificate = await certify(SERVER, static.public, Role.SERVER, int(time.time()))
    offer = {"certificate": certificate.to_map(), "suite": "chachapoly", "limits": {}} | changes
    return packed({name: value for name, value in offer.items() if value is not None})


def packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


async def with_scripted_client(
    static: KeyPair, payload: bytes, *, admit: Admit = anybody, after: bytes = b"", **script: Any
) -> tuple[Scripted | None, Outcome]:
    """What a server makes of a client that says ``payload``."""
    client_end, server_end = wires()
    said: list[Scripted] = []
    outcome: list[Outcome] = []

    async def client() -> None:
        try:
            said.append(await speak_as_client(client_end, static, payload, **script))
            await client_end.send(after)
            await client_end.send_eof()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass  # the server has hung up

    async def server() -> None:
        try:
            statics = Statics(SERVER, Role.SERVER)
            outcome.append(await handshake_as_server(server_end, statics, admit, Limits()))
        except Exception as exc:
            outcome.append(exc)
            await server_end.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client)
        tasks.start_soon(server)
    return (said[0] if said else None), outcome[0]


async def with_scripted_server(
    static: KeyPair,
    payload: bytes,
    play: Callable[[Scripted], Awaitable[None]] | None = None,
    *,
    eager: bool = False,
    admit: Admit = anybody,
) -> tuple[Scripted | None, Outcome]:
    """What a client makes of a server that says ``payload`` and then does ``play``."""
    client_end, server_end = wires()
    said: list[Scripted] = []
    outcome: list[Outcome] = []

    async def server() -> None:
        try:
            said.append(await speak_as_server(server_end, static, payload))
        except anyio.EndOfStream:
            return  # the client has hung up
        with suppress(anyio.BrokenResourceError):  # the client may have enough
            if play is not None:
                await play(said[0])
            await server_end.send_eof()

    async def client() -> None:
        try:
            statics = Statics(ALICE, Role.CLIENT)
            outcome.append(await handshake_as_client(client_end, statics, admit, Limits(), eager=eager))
        except Exception as exc:
            outcome.append(exc)
            await client_end.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server)
        tasks.start_soon(client)
    return (said[0] if said else None), outcome[0]


async def welcome(server: Scripted) -> None:
    await server.send(WELCOME, {"code": "", "you": ALICE.public_key.raw})


# --- records


def stream_pair(piece: int = 65_536) -> tuple[NoiseStream, NoiseStream, Wire, Wire]:
    """Two joined `NoiseStream` objects, and the wires under them."""
    one, two = wires(piece)
    secrets = Secrets(*(os.urandom(32) for _ in range(4)))
    return stream_over(one, secrets, True), stream_over(two, secrets, False), one, two


def stream_over(transport: ByteStream, secrets: Secrets | None = None, client_side: bool = True) -> NoiseStream:
    secrets = secrets or Secrets(*(os.urandom(32) for _ in range(4)))
    buffers = loop_buffers()
    keys = RecordKeys(
        secrets, suites.suite("chachapoly"), client_side=client_side, now=clock.now(), plain=buffers.plain
    )
    return NoiseStream(transport, keys, secrets, buffers)
