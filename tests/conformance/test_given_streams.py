"""The checks of `chanlink.testing` over byte streams of the program's: `connect` and `accept` over anyio's, and TLS."""

import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream as AnyByteStream
from anyio.streams.tls import TLSStream

import chanlink
from chanlink import ByteStream, Limits, Session, Trust
from chanlink.testing import BYTE_STREAM_PROMISES, CHANNEL_PROMISES, check_byte_stream, check_channel
from tests.bench import certificates
from tests.patience import PATIENCE

from .routes import Channel, Joined, PlacesApart, chain

pytestmark = pytest.mark.anyio

CLIENT, SERVER = chanlink.Identity.generate("client"), chanlink.Identity.generate("server")

Streams = tuple[AnyByteStream, AnyByteStream]


async def tcp() -> Streams:
    """Both ends of a connection, as anyio has them."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        one: Any = listener.listeners[0] if hasattr(listener, "listeners") else listener
        near = await anyio.connect_tcp("127.0.0.1", one.extra(anyio.abc.SocketAttribute.local_port))
        return near, await one.accept()


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a client, and of the server that it knows."""
    pem = certificates.p256("localhost")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        certificates.write(Path(folder) / "pem", pem)
        server.load_cert_chain(Path(folder) / "pem")
    return ssl.create_default_context(cadata=pem.certificate.decode()), server


async def tls() -> Streams:
    below, (client, server) = await tcp(), contexts()
    streams: dict[bool, TLSStream] = {}

    async def wrap(server_side: bool) -> None:
        context, name = (server, None) if server_side else (client, "localhost")
        stream = below[server_side]
        streams[server_side] = await TLSStream.wrap(stream, server_side=server_side, hostname=name, ssl_context=context)

    async with anyio.create_task_group() as tasks:
        for side in (False, True):
            tasks.start_soon(wrap, side)
    return streams[False], streams[True]


@asynccontextmanager
async def joined(make: Callable[[], Any], limits: Limits) -> AsyncIterator[Joined]:
    near, far = await make()
    servers: list[Session] = []
    accepted = anyio.Event()

    async def accept() -> None:
        trust = Trust.of(CLIENT.public_key)
        async with chanlink.accept(far, identity=SERVER, trust=trust, limits=limits) as session:
            servers.append(session)
            accepted.set()
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        async with chanlink.connect(near, identity=CLIENT, peer=SERVER.public_key, limits=limits) as client:
            await accepted.wait()
            yield Joined(client, servers[0], client.abort)


def places(make: Callable[[], Any]) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(partial(joined, make), 1)


over_each = pytest.mark.parametrize("make", [tcp, tls], ids=lambda make: make.__name__)


@over_each
@pytest.mark.parametrize("promise", CHANNEL_PROMISES)
async def test_a_channel_keeps_the_promise(make: Callable[[], Any], promise: str) -> None:
    @asynccontextmanager
    async def channel(capacity: int | None) -> AsyncIterator[Channel]:
        async with places(make) as there:
            yield await there.channel(capacity)

    await check_channel(channel, only=[promise], patience=PATIENCE)


@over_each
@pytest.mark.parametrize("promise", BYTE_STREAM_PROMISES)
async def test_a_byte_stream_keeps_the_promise(make: Callable[[], Any], promise: str) -> None:
    @asynccontextmanager
    async def byte_stream() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with places(make) as there:
            yield await there.byte_stream()

    await check_byte_stream(byte_stream, only=[promise], patience=PATIENCE)
