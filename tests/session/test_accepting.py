"""`accept`: the server over one byte stream, whatever that is, and whoever is at its other end."""

import logging
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketStream, UNIXSocketStream
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSStream

import chanlink
from chanlink import (
    ChannelRefused,
    HandshakeError,
    HandshakeTimeout,
    Identity,
    Limits,
    SessionClosed,
    SessionLost,
    Trust,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.transport.base import as_transport, close_at_once
from tests.bench import certificates
from tests.patience import PATIENCE
from tests.security.wires import HELLO
from tests.session.endpoints import ALICE, BOB, EVERYBODY, SERVER, SERVICES, ask, connect

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]

Streams = tuple[ByteStream, ByteStream]


async def socket_pair() -> Streams:
    one, other = [await UNIXSocketStream.from_socket(sock) for sock in socket.socketpair()]
    return one, other


async def byte_pipe() -> Streams:
    return chanlink.byte_pipe()


async def tcp() -> Streams:
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = socket.create_connection(server.getsockname())
        there, _ = server.accept()
    one, other = [await SocketStream.from_socket(sock) for sock in (here, there)]
    return one, other


PEM = certificates.p256("localhost")


async def tls() -> Streams:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    path = anyio.Path(await anyio.mkdtemp()) / "pem"
    await path.write_bytes(PEM.key + PEM.certificate)
    server.load_cert_chain(path)
    client.load_verify_locations(cadata=PEM.certificate.decode())
    below = await tcp()  # anyio's streams of Unix sockets can't be cancelled on uvloop while something comes
    streams: dict[str, TLSStream] = {}

    async def wrap(side: str, stream: ByteStream, context: ssl.SSLContext, hostname: str | None) -> None:
        streams[side] = await TLSStream.wrap(
            stream, server_side=side == "server", hostname=hostname, ssl_context=context
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wrap, "client", below[0], client, "localhost")
        tasks.start_soon(wrap, "server", below[1], server, None)
    return streams["client"], streams["server"]


KINDS = [socket_pair, byte_pipe, tcp, tls]
ADDRESSES = {socket_pair: "a local process", byte_pipe: "ByteStream", tcp: "127.0.0.1:", tls: "127.0.0.1:"}
over_each = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
Make = Callable[[], Awaitable[Streams]]


def accept(stream: ByteStream, **options: Any) -> Any:
    return chanlink.accept(stream, **{"identity": SERVER, "trust": EVERYBODY} | options)


Seen = list[Any]


async def serve(stream: ByteStream, seen: Seen, options: dict[str, Any]) -> None:
    """Accept, and keep the session until it is over: what it was, and why it ended; or what was raised."""
    try:
        async with accept(stream, **{"services": SERVICES} | options) as session:
            seen.append(session)
            seen.append(await session.wait_closed())
    except Exception as exc:
        seen.append(exc)


@asynccontextmanager
async def served(make: Make, **options: Any) -> AsyncIterator[tuple[ByteStream, Seen]]:
    near, far = await make()
    seen: Seen = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, far, seen, options)
            yield near, seen
    await close_at_once(as_transport(near))


async def ended(stream: ByteStream) -> bytes:
    """All that comes until the end."""
    data = bytearray()
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
        while True:
            data += await stream.receive()
    return bytes(data)


# --- sessions ---------------------------------------------------------------------------------------------


@over_each
async def test_a_client_is_served_over_any_byte_stream(make: Make) -> None:
    async with served(make) as (near, seen), connect(near) as session:
        answer = await ask(session)
        assert (answer["pong"], answer["you"]) == (7, "alice@laptop")
        assert answer["from"].startswith(ADDRESSES[make])  # type: ignore[index]
        assert session.peer.key == SERVER.public_key
    (theirs, why) = seen
    assert (theirs.peer.key, theirs.suite) == (ALICE.public_key, session.suite)
    assert (type(why), why.code) == (SessionClosed, "")


@over_each
async def test_both_sides_open_channels_and_without_services_they_are_accepted(make: Make) -> None:
    near, far = await make()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                async with accept(far) as session:
                    incoming = await session.accept()
                    async with await session.open("back") as back:
                        await back.send(await incoming.end.receive())
                        await session.wait_closed()

            tasks.start_soon(serve)
            async with connect(near) as session, await session.open("there") as there:
                await there.send("hello")
                assert await (await session.accept()).end.receive() == "hello"


@over_each
@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_side_that_breaks_off_is_lost_to_the_other(make: Make, side: str) -> None:
    near, far = await make()
    ends: dict[str, Any] = {}
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                async with accept(far) as session:
                    ends["server"] = session
                    if side == "server":
                        session.abort()
                    ends["why server"] = await session.wait_closed()

            tasks.start_soon(serve)
            async with connect(near) as session:
                if side == "client":
                    session.abort()
                ends["why client"] = await session.wait_closed()
    other = ends["why server" if side == "client" else "why client"]
    assert isinstance(other, chanlink.ConnectionLost)


async def test_an_exception_of_the_block_leaves_it_as_it_is_and_the_client_learns_that() -> None:
    near, far = await socket_pair()
    why: Seen = []

    async def client() -> None:
        async with connect(near) as session:
            why.append(await session.wait_closed())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client)
            with pytest.raises(LookupError, match="on purpose"):
                async with accept(far):
                    raise LookupError("on purpose")
    assert why[0].code == "lookup-error"


async def test_the_trust_file_is_watched(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(f"{ALICE.public_key}\n")
    seen: Seen = []
    near, far = await socket_pair()
    options = {"trust": Trust.load(file), "limits": Limits(trust_interval=0.05)}
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, far, seen, options)
            async with connect(near) as session:
                await ask(session)
                file.write_text(f'services="nothing" {ALICE.public_key}\n')
                with pytest.raises((ChannelRefused, chanlink.ChannelFailed)) as refused:
                    while True:
                        await ask(session)
                assert refused.value.code in ("no-such-service", "revoked")
                file.write_text("# nobody\n")
                why = await session.wait_closed()
    assert (type(why), why.code) == (SessionClosed, "revoked")
    assert seen[-1].code == "revoked"


async def test_a_client_may_do_what_the_trust_allows_it() -> None:
    trust = Trust.of(BOB.public_key)
    async with served(socket_pair, trust=trust) as (near, seen):
        with pytest.raises(UntrustedPeer) as caught:
            async with connect(near):
                pass
        assert caught.value.remote
    assert isinstance(seen[0], UntrustedPeer)
    assert (seen[0].fingerprint, seen[0].remote) == (ALICE.public_key.fingerprint, False)


async def test_a_pre_shared_key_is_needed_on_both_sides() -> None:
    psk = bytes(range(32))
    async with served(socket_pair, psk=psk) as (near, seen), connect(near, psk=psk) as session:
        assert (await ask(session))["pong"] == 7
    for ours, theirs in ((psk, None), (None, psk), (psk, bytes(32))):
        async with served(socket_pair, psk=theirs) as (near, seen):
            with pytest.raises(HandshakeError):
                async with connect(near, psk=ours):
                    pass
        assert type(seen[0]) is HandshakeError


async def test_a_client_that_expects_another_server_learns_it_and_is_not_known_here() -> None:
    async with served(socket_pair) as (near, seen):
        with pytest.raises(WrongPeer):
            async with connect(near, peer=BOB.public_key):
                pass
    assert type(seen[0]) is HandshakeError


# --- who is no client -------------------------------------------------------------------------------------


@over_each
@pytest.mark.parametrize("said", [b"", HELLO[:12], HELLO], ids=["nothing", "half a hello", "a hello"])
async def test_who_says_nothing_more_is_closed_at_the_end_of_the_time(make: Make, said: bytes) -> None:
    async with served(make, limits=Limits(handshake=0.2)) as (near, seen):
        if said:
            await near.send(said)
        assert await ended(near) == b""
    assert isinstance(seen[0], HandshakeTimeout)
    assert "the handshake did not end within 0.2 s" in str(seen[0])


@over_each
@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", bytes(1_000), HELLO + b"\xff\xff"])
async def test_who_speaks_something_else_is_closed_and_told_nothing(make: Make, said: bytes) -> None:
    async with served(make) as (near, seen):
        await near.send(said)
        assert await ended(near) == b""
    assert type(seen[0]) is HandshakeError


@over_each
async def test_who_hangs_up_is_no_client(make: Make) -> None:
    async with served(make) as (near, seen):
        await near.send(HELLO[:5])
        await close_at_once(as_transport(near))
    assert type(seen[0]) is HandshakeError


async def test_a_flood_is_read_no_further_than_the_handshake_needs() -> None:
    class Counted(StapledByteStream):
        taken = 0

        async def receive(self, max_bytes: int = 65_536) -> bytes:
            data = await super().receive(max_bytes)
            self.taken += len(data)
            return data

    near, far = await socket_pair()
    counted = Counted(far, far)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:

            async def flood() -> None:
                with suppress(anyio.BrokenResourceError):
                    await near.send(HELLO + b"\x10\x00" + bytes(5_000_000))

            tasks.start_soon(flood)
            with pytest.raises(HandshakeError):
                async with accept(counted):
                    pass
    assert counted.taken < 200_000
    await near.aclose()


@pytest.mark.parametrize("stage", [0, 1, 2])
async def test_a_handshake_that_is_cancelled_closes_the_stream(stage: int) -> None:
    near, far = await socket_pair()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                for _ in range(stage):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            tasks.start_soon(cancel)
            async with accept(far):
                raise AssertionError("nobody has connected")
    assert scope.cancelled_caught
    with anyio.fail_after(PATIENCE):
        assert await ended(near) == b""
    await near.aclose()


async def test_what_can_be_no_server_is_said_at_once() -> None:
    near, far = chanlink.byte_pipe()
    wrong: list[dict[str, Any]] = [{"trust": "path"}, {"identity": "path"}, {"services": [ask]}, {"services": {"x": 1}}]
    for options in wrong:
        with pytest.raises(TypeError, match=next(iter(options))):
            async with accept(far, **options):
                pass
    with pytest.raises(TypeError, match="stream must be ByteStream, not str"):
        async with accept("tcp://127.0.0.1:1"):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError):
        chanlink.accept(far, identity=SERVER)  # type: ignore[call-arg]
    for end in near, far:
        end.close()


async def test_the_log_names_a_key_that_is_not_trusted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    stranger = Identity.generate()
    async with served(socket_pair) as (near, _):
        with pytest.raises(UntrustedPeer):
            async with connect(near, identity=stranger):
                pass
    assert "Traceback" not in caplog.text


# --- processes --------------------------------------------------------------------------------------------

CHILD = """
import socket, sys
import anyio, chanlink
from anyio.abc import UNIXSocketStream

async def ping(requests, peer):
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send({"pong": request["ping"], "you": peer.name})

async def main():
    stream = await UNIXSocketStream.from_socket(socket.socket(fileno=0))
    server, trust = chanlink.Identity.load("server"), chanlink.Trust.load("trust")
    async with chanlink.accept(stream, identity=server, trust=trust, services={"ping": ping}) as session:
        await session.wait_closed()

anyio.run(main)
"""


async def test_a_child_is_the_server_over_its_standard_input(tmp_path: Path) -> None:
    SERVER.save(tmp_path / "server")
    (tmp_path / "trust").write_text(f"{ALICE.public_key}\n")
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", CHILD]
    with anyio.fail_after(PATIENCE):
        async with await anyio.open_process(command, stdin=theirs, stdout=DEVNULL, stderr=None, cwd=tmp_path) as child:
            theirs.close()
            async with connect(await UNIXSocketStream.from_socket(ours)) as session:
                assert (await ask(session))["pong"] == 7
            assert await child.wait() == 0


PIPES = """
import sys
import anyio, chanlink
from anyio.streams.stapled import StapledByteStream
from chanlink import wrap

async def main():
    me, server = chanlink.Identity.load("alice"), chanlink.PublicKey.load("server.pub")
    read, write = open(0, "rb", buffering=0), open(1, "wb", buffering=0)
    async with wrap(read) as coming, wrap(write) as going:
        stream = StapledByteStream(going, coming)
        async with chanlink.connect(stream, identity=me, peer=server) as session:
            async with await session.open("ping") as requests:
                reply, replies = chanlink.pipe()
                await requests.send({"ping": 7, "reply": reply})
                print((await replies.receive())["you"], file=sys.stderr)

anyio.run(main)
"""


async def test_the_pipes_of_a_child_are_a_byte_stream_of_which_we_are_the_server(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "alice")
    (tmp_path / "server.pub").write_text(f"{SERVER.public_key}\n")
    seen: Seen = []
    with anyio.fail_after(PATIENCE):
        async with await anyio.open_process([sys.executable, "-c", PIPES], cwd=tmp_path) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stderr is not None
            await serve(StapledByteStream(child.stdin, child.stdout), seen, {})
            assert await child.stderr.receive() == b"alice@laptop\n"
            assert await child.wait() == 0
    assert (type(seen[-1]), seen[-1].code) == (SessionClosed, "")


async def test_a_child_that_is_killed_is_a_session_that_is_lost(tmp_path: Path) -> None:
    SERVER.save(tmp_path / "server")
    (tmp_path / "trust").write_text(f"{ALICE.public_key}\n")
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", CHILD]
    with anyio.fail_after(PATIENCE):
        async with await anyio.open_process(command, stdin=theirs, stdout=DEVNULL, stderr=None, cwd=tmp_path) as child:
            theirs.close()
            async with connect(await UNIXSocketStream.from_socket(ours)) as session:
                requests = await session.open("ping")
                child.kill()
                assert isinstance(await requests.wait_closed(), SessionLost)
                requests.close()
