"""Both sides of handshakes in TLS, and peers that say inside it what a test wants."""

import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgpack
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute

from chanlink import Limits
from chanlink.security.handshake import Admit, Authenticated
from chanlink.security.handshake_server import welcome
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.identity import Identity
from chanlink.security.resuming.agreement import Terms
from chanlink.security.statics import Statics
from chanlink.security.tls import handshake
from chanlink.security.tls.certificate import NAMESPACE, TlsKey, client_context, read_certificate
from chanlink.security.tls.handshake import proof_data
from chanlink.security.tls.own import OwnKey
from chanlink.security.tls.stream import finished_of
from chanlink.transport.base import as_transport
from chanlink.transport.tls import TlsTransport, tls_over
from tests.security.handshakes import ALICE, SERVER, anybody
from tests.security.wires import prefixed

Outcome = Authenticated | Exception


def own(identity: Identity, role: Role) -> OwnKey:
    return OwnKey(Statics(identity, role), Limits())


async def as_server(end: ByteStream, side: OwnKey, admit: Admit = anybody) -> Authenticated:
    return await welcome(await handshake.meet(end, side), admit, Terms.made(0))


class Pair:
    """Both sides, with the keys of their processes."""

    def __init__(self) -> None:
        self.client, self.server = own(ALICE, Role.CLIENT), own(SERVER, Role.SERVER)

    async def handshake(
        self, client_end: ByteStream, server_end: ByteStream, *, client: Admit = anybody, server: Admit = anybody
    ) -> tuple[Outcome, Outcome]:
        """What each side got."""
        return await both(
            (client_end, handshake.as_client(client_end, self.client, client)),
            (server_end, as_server(server_end, self.server, server)),
        )


async def both(*sides: tuple[ByteStream, Awaitable[Any]]) -> Any:
    """What each side of a connection got. One that fails closes its end, as endpoints do."""
    outcomes: dict[ByteStream, Any] = {}

    async def run(end: ByteStream, does: Awaitable[Any]) -> None:
        try:
            outcomes[end] = await does
        except Exception as exc:
            outcomes[end] = exc
            await end.aclose()

    async with anyio.create_task_group() as tasks:
        for end, does in sides:
            tasks.start_soon(run, end, does)
    return tuple(outcomes[end] for end, _ in sides)


async def in_tls(end: ByteStream, context: ssl.SSLContext, *, server_side: bool) -> TlsTransport:
    return await tls_over(as_transport(end), context, server_side=server_side)


# --- servers ------------------------------------------------------------------------------------


def loaded(*pems: bytes, folder: Path) -> ssl.SSLContext:
    """A server that shows these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["chanlink/1"])
    (folder / "pem").write_bytes(b"".join(pems))
    context.load_cert_chain(folder / "pem")
    return context


async def with_server(end: ByteStream, other: ByteStream, context: ssl.SSLContext) -> tuple[Exception, bytes]:
    """What a client of ours says of a server with this context, and what that has heard inside."""
    heard = bytearray()

    async def serve() -> None:
        tls = await in_tls(other, context, server_side=True)
        while True:
            heard.extend(await tls.receive())

    outcome, _ = await both((end, handshake.as_client(end, own(ALICE, Role.CLIENT), anybody)), (other, serve()))
    return outcome, bytes(heard)


# --- clients ------------------------------------------------------------------------------------

Say = Callable[[TlsTransport], Awaitable[bytes]]


async def good_answer(tls: TlsTransport, **changes: object) -> dict[str, Any]:
    """A client's map (protocol section 18.3), with some entries changed; None leaves one out."""
    key = TlsKey.generate()
    certificate = await certify(ALICE, key.hash, Role.CLIENT, int(time.time()), namespace=NAMESPACE)
    server = read_certificate(tls.extra(TLSAttribute.peer_certificate_binary)).key_hash
    proof = key.private.sign(proof_data(server, finished_of(tls), SERVER.public_key.raw))
    answer = {
        "key": key.public,
        "certificate": certificate.to_map(),
        "proof": proof,
        "peer": SERVER.public_key.raw,
    } | changes
    return {name: value for name, value in answer.items() if value is not None}


def packed(answer: object) -> bytes:
    return prefixed(msgpack.packb(answer))


async def with_client(end: ByteStream, other: ByteStream, say: Say) -> Any:
    """What a server of ours says of a client that says this inside."""

    async def speak() -> None:
        tls = await in_tls(end, client_context(), server_side=False)
        await tls.send(await say(tls))
        while True:
            await tls.receive()

    async def serve() -> Authenticated:
        try:
            return await as_server(other, own(SERVER, Role.SERVER))
        finally:
            await other.aclose()

    _, outcome = await both((end, speak()), (other, serve()))
    return outcome
