"""Handshakes a second, both ends in one process over TCP: ours, TLS 1.3 of asyncio with Ed25519 certificates, asyncssh.

Of ours: TCP connection, the whole handshake with welcome, both verified, closed. Of TLS: the same with a byte each way,
so that the client's certificate is checked, too. Of asyncssh: until the client is authenticated by an Ed25519 key; the
key exchange is X25519 alone, as the others have it.
"""

import asyncio
import ssl
import time
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from chanlink import Identity, Limits, Trust
from chanlink.security.handshake import handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.issuers import Issuer, Issuers
from chanlink.security.keys.krl import Krl
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.revocations import Revocations
from chanlink.security.keys.trust import Grant
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from chanlink.transport.reaching import connect_socket
from chanlink.transport.sockets import SocketTransport
from tests.bench import certificates
from tests.bench.harness import Row
from tests.bench.meter import Missing
from tests.bench.results import Goal
from tests.bench.units import figure
from tests.security.keys.credentials import CA
from tests.security.keys.lists import KRL_HEAD, certificates_of, serials

COUNT = 300
REVOKED = 100_000
A_SECOND = figure("a second", less_is_better=False)


def rows() -> list[Row]:
    peers = {"mutual TLS 1.3": lambda: asyncio.run(_tls()), "asyncssh": lambda: asyncio.run(_ssh())}
    what = f"{COUNT} handshakes one after the other"
    return [
        Row(
            "handshake",
            what,
            A_SECOND,
            lambda: anyio.run(_ours),
            peers,
            (Goal(">=", 1.3, "mutual TLS 1.3"),),
            repeats=5,
        ),
        Row(
            "handshake-server",
            "processor time of the server's half, no socket",
            figure("ms"),
            _server_alone,
            {},
            (Goal("<=", 0.8),),
            repeats=5,
        ),
        Row(
            "credential",
            "processor time for a credential of an authority: read, verified, admitted",
            figure("ms"),
            _credential,
            {},
            (Goal("<=", 0.3),),
            repeats=5,
        ),
    ]


def _anybody(presented: Presented) -> Grant:
    return Grant("", None)


async def _ours() -> float:
    listening = await listening_sockets(parse_address("tcp://127.0.0.1:0"))
    address = parse_address(listening.addresses[0])
    server_side, client_side = (Statics(Identity.generate(), role) for role in (Role.SERVER, Role.CLIENT))

    async def serve(connection: Any) -> None:
        transport = SocketTransport(connection)
        await handshake_as_server(transport, server_side, _anybody, Limits())
        await transport.aclose()

    async def accept() -> None:
        (sock,) = listening.sockets
        while True:
            await anyio.wait_readable(sock)
            tasks.start_soon(serve, sock.accept()[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        began = time.perf_counter()
        for _ in range(COUNT):
            transport = await connect_socket(address)
            await handshake_as_client(transport, client_side, _anybody, Limits())
            await transport.aclose()
        took = time.perf_counter() - began
        tasks.cancel_scope.cancel()
    listening.close()
    return COUNT / took


def _server_alone() -> float:
    """The processor time of this process less that of the client's half, which is measured in a run with both."""
    return anyio.run(_server_share)


async def _server_share() -> float:
    from tests.security.wires import wires

    spent = 0.0
    server_side, client_side = (Statics(Identity.generate(), role) for role in (Role.SERVER, Role.CLIENT))
    for _ in range(COUNT):
        client_end, server_end = wires()
        server = handshake_as_server(server_end, server_side, _anybody, Limits())

        async def serve(server: Any = server) -> None:
            nonlocal spent
            sent: Any = None
            while True:  # drive it by hand, to count only its own time
                began = time.process_time()
                try:
                    waits_for = server.send(sent)
                except StopIteration:
                    spent += time.process_time() - began
                    return
                spent += time.process_time() - began
                sent = await _wait(waits_for)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await handshake_as_client(client_end, client_side, _anybody, Limits())
    return spent / COUNT * 1_000


def _credential() -> float:
    """What a handshake costs more whose client shows one, with a revocation list of a hundred thousand numbers."""
    ca, client = CA(), Identity.generate().public_key
    blob = ca.issue(client, source_address="10.0.0.0/8,fd00::/8").blob
    trust = Trust({}, issuers=Issuers([Issuer("org", ca.key, ("alice",), None, "")]))
    numbers = pack(f">{REVOKED}Q", *range(10, 10 + 3 * REVOKED, 3))
    revocations = Revocations(Krl.parse(KRL_HEAD + certificates_of(ca.key.blob, serials(numbers))))
    began = time.process_time()
    for _ in range(COUNT):
        trust.admit(Presented(client, Credential.parse(blob), None, "10.1.2.3"), 0, revocations)
    return (time.process_time() - began) / COUNT * 1_000


class _wait:
    """Hands what a coroutine waits for to the event loop."""

    def __init__(self, waits_for: Any) -> None:
        self._waits_for = waits_for

    def __await__(self) -> Any:
        return (yield self._waits_for)


async def _tls() -> float:
    with TemporaryDirectory() as name:
        ours, theirs = contexts(Path(name))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"x")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ours)
    port = server.sockets[0].getsockname()[1]
    began = time.perf_counter()
    for _ in range(COUNT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=theirs, server_hostname="localhost")
        writer.write(b"x")
        await reader.readexactly(1)
        writer.close()
    took = time.perf_counter() - began
    server.close()
    return COUNT / took


async def _ssh() -> float:
    try:
        import asyncssh
    except ImportError as exc:
        raise Missing("not installed: pip install --group bench") from exc
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    allowed = asyncssh.import_authorized_keys(client.export_public_key().decode())
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=allowed, kex_algs=["curve25519-sha256"]
    )
    known = ([host.convert_to_public()], [], [])
    options: Any = {"username": "me", "client_keys": [client], "known_hosts": known, "config": None, "agent_path": None}
    count = COUNT // 10
    began = time.perf_counter()
    for _ in range(count):
        async with asyncssh.connect("127.0.0.1", server.get_port(), **options):
            pass
    took = time.perf_counter() - began
    server.close()
    return count / took


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and a client that both want the other's certificate."""
    for who in ("server", "client"):
        certificates.write(folder / f"{who}.pem", certificates.ed25519(who))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, us, them in ((server, "server", "client"), (client, "client", "server")):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(folder / f"{us}.pem")
        context.load_verify_locations(folder / f"{them}.pem")
    server.num_tickets = 0
    return server, client
