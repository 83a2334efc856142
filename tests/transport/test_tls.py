"""TLS over a transport: who is refused and why, what ends it, and what it knows. The rest is in test_base."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.streams.tls import TLSAttribute

from chanlink import ConfigError, ConnectFailed
from chanlink.transport.base import BROKEN, Transport
from chanlink.transport.sockets import SocketTransport
from chanlink.transport.tls import tls_over
from tests.bench import certificates
from tests.patience import PATIENCE

from .tls import both_over_tls, contexts, serving

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[SocketTransport, SocketTransport]]:
    near, far = (SocketTransport(sock) for sock in socket.socketpair())
    try:
        with anyio.fail_after(PATIENCE):
            yield near, far
    finally:
        for end in near, far:
            await anyio.aclose_forcefully(end)


@asynccontextmanager
async def tls_pair() -> AsyncIterator[tuple[Transport, Transport, SocketTransport]]:
    """Of a client, of its server, and what is below that."""
    async with pair() as (near, far):
        yield *await both_over_tls(near, far), far


async def refused(client: ssl.SSLContext, server: ssl.SSLContext, hostname: str = "localhost") -> tuple[str, str]:
    """What either side says of a handshake that fails."""
    said = {}

    async with pair() as (near, far):

        async def shake(below: Transport, context: ssl.SSLContext, **how: Any) -> None:
            try:
                await tls_over(below, context, **how)
            except ConnectFailed as exc:
                said[below] = str(exc)
                await below.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: shake(near, client, hostname=hostname, name="tls://there:1"))
            tasks.start_soon(lambda: shake(far, server, server_side=True))
        return said.get(near, ""), said.get(far, "")


# --- who is refused -------------------------------------------------------------------------------------


async def test_a_certificate_that_nobody_vouches_for_is_refused_in_a_line_that_says_what_to_do() -> None:
    client, server = await refused(ssl.create_default_context(), contexts().server)
    assert client.startswith(
        "tls://there:1: its TLS certificate is not trusted (self-signed certificate): give an ssl_"
    )
    assert "$SSL_CERT_FILE" in client
    assert "\n" not in client
    assert server.startswith("the peer: it refused the handshake of TLS (tlsv1 alert unknown ca)")


async def test_a_certificate_of_somebody_else_is_refused() -> None:
    client, server = await refused(contexts().client, contexts().server, "elsewhere.example")
    assert "elsewhere.example" in client
    assert "not trusted (hostname mismatch" in client.lower()
    assert "alert" in server


async def test_a_server_can_ask_for_certificates_of_clients() -> None:
    server = serving(certificates.p256("localhost"))
    server.verify_mode = ssl.CERT_REQUIRED
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _, said = await refused(trusting, server)
    assert "peer did not return a certificate" in said


async def test_a_server_of_older_tls_is_refused() -> None:
    server = serving(certificates.p256("localhost"))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    client, _ = await refused(trusting, server)
    assert client == "tls://there:1: it offers TLSv1.2, and we speak TLS 1.3 only"
    trusting.minimum_version = ssl.TLSVersion.TLSv1_3
    client, _ = await refused(trusting, server)
    assert client == "tls://there:1: it refused the handshake of TLS (tlsv1 alert protocol version)"


@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 200, b""], ids=["http", "zeros", "end"])
async def test_who_speaks_no_tls_is_refused(said: bytes, server_side: bool) -> None:
    async with pair() as (near, far):
        await far.send(said)
        await far.send_eof()
        context = contexts().server if server_side else contexts().client
        hostname = None if server_side else "localhost"
        with pytest.raises(ConnectFailed, match=r"does that port speak TLS 1.3\?"):
            await tls_over(near, context, hostname, server_side=server_side)


async def test_a_host_name_is_needed_where_certificates_have_them() -> None:
    async with pair() as (near, _):
        with pytest.raises(ConfigError, match="hostname"):
            await tls_over(near, contexts().client)


# --- what ends it ---------------------------------------------------------------------------------------


async def receive(stream: Transport) -> bytes:
    return await stream.receive()


async def look(stream: Transport) -> bytes:
    await stream.wait_readable()
    return bytes([stream.receive_now(memoryview(bytearray(1))) or 0])


async def ask(stream: Transport) -> bytes:
    return bytes([await stream.readable()])


every_way = pytest.mark.parametrize("use", [receive, look, ask])


@every_way
async def test_an_end_that_nobody_has_said_is_no_end(use: Callable[[Transport], Any]) -> None:
    async with tls_pair() as (near, _, below):
        await below.send_eof()
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError):
                await use(near)
        with pytest.raises(BROKEN):
            near.send_now(b"x")


@every_way
async def test_bytes_of_somebody_else_are_no_data(use: Callable[[Transport], Any]) -> None:
    async with tls_pair() as (near, _, below):
        await below.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(anyio.BrokenResourceError):
            await use(near)


async def test_what_came_before_a_broken_end_is_received() -> None:
    async with tls_pair() as (near, far, below):
        await far.send(b"data")
        await below.send(bytes(40))
        assert await near.receive() == b"data"
        with pytest.raises(anyio.BrokenResourceError):
            await near.receive()


async def test_after_its_end_nothing_is_sent() -> None:
    async with tls_pair() as (near, far, _):
        await near.send(b"last")
        await near.send_eof()
        await near.send_eof()
        with pytest.raises(anyio.ClosedResourceError):
            await near.send(b"x")
        assert await far.receive() == b"last"
        await far.aclose()
        with pytest.raises(anyio.EndOfStream):
            await near.receive()


async def test_both_may_end_what_they_send_while_data_is_under_way() -> None:
    async with tls_pair() as (near, far, _):
        for end in near, far:
            await end.send(b"data")
        for end in near, far:
            await end.send_eof()
        for end in near, far:
            assert await end.receive() == b"data"
            with pytest.raises(anyio.EndOfStream):
                await end.receive()


# --- what it knows --------------------------------------------------------------------------------------


async def test_it_knows_the_certificate_of_the_peer_and_the_socket_below() -> None:
    async with tls_pair() as (near, far, _):
        assert near.extra(TLSAttribute.tls_version) == "TLSv1.3"
        assert near.extra(TLSAttribute.peer_certificate_binary) == ssl.PEM_cert_to_DER_cert(contexts().certificate)
        assert far.extra(TLSAttribute.peer_certificate_binary) is None
        assert far.extra(TLSAttribute.server_side)
        assert near.extra(anyio.abc.SocketAttribute.family) == socket.AF_UNIX
        assert near.peer_acknowledges(10.0)
