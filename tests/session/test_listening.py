"""Endpoints: who gets a session with whom, what strangers get, and what is left when somebody leaves."""

import asyncio
import errno
import logging
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgpack
import pytest
import uvloop
from anyio.abc import ByteStream, SocketAttribute, TaskStatus

import chanlink
from chanlink import (
    ChannelRefused,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    Identity,
    KnownPeers,
    Limits,
    Listener,
    Peer,
    Receiver,
    Sender,
    Session,
    SessionClosed,
    SessionLost,
    Trust,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.errors import AddressError
from chanlink.limits import Bucket
from chanlink.security.handshake import Credentials, handshake_as_server
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.session import listening as endpoint
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE, until
from tests.security.wires import HELLO, prefixed, read_to_end, speak_as_client, wires

pytestmark = pytest.mark.anyio

ALICE = Identity.generate("alice@laptop")
BOB = Identity.generate("bob")
SERVER = Identity.generate("server.example")
EVERYBODY = Trust.of(ALICE.public_key, BOB.public_key)
TCP = "tcp://127.0.0.1:0"
"""A guard only: nothing waits for it."""


@pytest.fixture(autouse=True)
def _one_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the hello is the same everywhere; test_suites.py has the others."""
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")


async def ping(requests: Receiver[Any], peer: Peer) -> None:
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send({"pong": request["ping"], "you": peer.name, "from": peer.address})


async def ask(session: Session, service: str = "ping") -> Any:
    requests: Sender[Any] = await session.open(service)
    async with requests:
        reply: Sender[Any]
        replies: Receiver[Any]
        reply, replies = chanlink.pipe()
        await requests.send({"ping": 7, "reply": reply})
        return await replies.receive()


SERVICES = {"ping": ping}


def listen(address: str = TCP, **options: Any) -> Any:
    defaults: dict[str, Any] = {"identity": SERVER, "trust": EVERYBODY}
    return chanlink.listen(address, **defaults | options)


def connect(address: Any, **options: Any) -> Any:
    defaults: dict[str, Any] = {"identity": ALICE, "peer": SERVER.public_key}
    return chanlink.connect(address, **defaults | options)


@asynccontextmanager
async def serving(address: str = TCP, **options: Any) -> AsyncIterator[Listener]:
    """A listener that serves, of which nothing is left afterwards."""
    async with listen(address, **{"services": SERVICES} | options) as listener:
        yield listener
    assert_empty(listener)


def assert_empty(listener: Listener) -> None:
    assert not listener._sessions
    assert not listener._greeting
    assert not listener._accepted
    assert not len(listener._accepting)
    assert all(sock.fileno() == -1 for sock in listener._sockets.sockets)


def port_of(listener: Listener) -> int:
    return int(listener.addresses[0].rpartition(":")[2])


async def dial(listener: Listener) -> ByteStream:
    return await anyio.connect_tcp("127.0.0.1", port_of(listener))


# --- a server and a client ------------------------------------------------------------------------------

ADDRESSES = [TCP, pytest.param("tcp://[::1]:0", marks=pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6"))]


@pytest.mark.parametrize("address", [*ADDRESSES, "tcp://localhost:0", "unix:{}/s"])
async def test_a_client_is_served_and_both_know_each_other(address: str, tmp_path: Path) -> None:
    async with serving(address.format(tmp_path)) as listener:
        (where, *_) = listener.addresses
        async with connect(where) as session:
            answer = await ask(session)
            assert session.peer == Peer(SERVER.public_key, "server.example", where)
    assert answer["you"] == "alice@laptop"
    host = where.removeprefix("tcp://").rpartition(":")[0]
    assert answer["from"] == "a local process" if where.startswith("unix:") else answer["from"].startswith(f"{host}:")


@pytest.mark.parametrize("first", ["hangs up", "speaks another language", "busy"])
async def test_another_address_of_a_name_is_tried_when_the_first_is_of_no_use(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def strange(connection: ByteStream) -> None:
        if first == "speaks another language":
            await connection.send(b"220 welcome\r\n" * 100)
        await connection.aclose()

    async with (
        serving() as good,
        serving(limits=Limits(sessions=1)) as full,
        connect(full.addresses[0]),
        await anyio.create_tcp_listener(local_host="127.0.0.1") as stranger,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(stranger.serve, strange)
        port = port_of(full) if first == "busy" else stranger.extra(SocketAttribute.local_port)
        named(monkeypatch, port, port_of(good))
        async with connect("tcp://name") as session:
            assert (await ask(session))["pong"] == 7
        named(monkeypatch, port)
        with pytest.raises((HandshakeError, SessionClosed)):
            async with connect("tcp://name"):
                pass
        tasks.cancel_scope.cancel()


async def test_a_server_with_another_key_is_an_error_whatever_else_its_name_stands_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(identity=BOB) as wrong, serving() as good:
        named(monkeypatch, port_of(wrong), port_of(good))
        with pytest.raises(WrongPeer):
            async with connect("tcp://name"):
                pass
        assert not good._greeting


def named(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Let every name stand for these ports of this machine."""

    async def getaddrinfo(*args: object, **kwargs: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)


async def test_many_clients_at_once_and_nothing_is_left_of_them() -> None:
    async with serving() as listener:

        async def client() -> None:
            async with connect(listener.addresses[0]) as session:
                assert (await ask(session))["pong"] == 7

        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(client)
        await until(lambda: not listener._sessions)
        assert not listener._greeting


async def test_either_side_may_serve() -> None:
    async with listen() as listener, anyio.create_task_group() as tasks:

        async def client() -> None:
            async with connect(listener.addresses[0], services=SERVICES) as session:
                await session.wait_closed()

        tasks.start_soon(client)
        session = await listener.accept()
        assert (await ask(session))["you"] == "server.example"
        await session.aclose()


async def test_serve_runs_until_cancelled_and_tells_where_it_listens() -> None:
    async with anyio.create_task_group() as tasks:

        async def run(*, task_status: TaskStatus[Listener]) -> None:
            await chanlink.serve(SERVICES, TCP, identity=SERVER, trust=EVERYBODY, task_status=task_status)

        listener = await tasks.start(run)
        async with connect(listener.addresses[0]) as session:
            await ask(session)
            tasks.cancel_scope.cancel()
    assert_empty(listener)


async def test_the_address_is_free_again_afterwards(tmp_path: Path) -> None:
    for address in TCP, f"unix:{tmp_path}/s":
        async with serving(address) as listener:
            (where,) = listener.addresses
            async with connect(where) as session:
                await ask(session)
        for _ in range(3):
            async with serving(where), connect(where) as session:
                await ask(session)
    assert not os.path.lexists(tmp_path / "s")


async def test_an_address_in_use_is_a_failure(tmp_path: Path) -> None:
    for address in TCP, f"unix:{tmp_path}/s":
        async with serving(address) as listener:
            (where,) = listener.addresses
            with pytest.raises(ConnectFailed, match="in use"):
                async with listen(where):
                    pytest.fail("it listens")
            with pytest.raises(ConnectFailed, match="in use"):
                await chanlink.serve(SERVICES, where, identity=SERVER, trust=EVERYBODY)
            async with connect(where) as session:
                await ask(session)


async def test_bad_addresses_are_refused_before_anything_is_done() -> None:
    with pytest.raises(AddressError):
        async with connect("host:80"):
            pass
    with pytest.raises(AddressError):
        async with listen("host:80"):
            pass


# --- connecting -----------------------------------------------------------------------------------------


async def test_who_does_not_say_which_server_is_expected_does_not_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where there is no file of known peers
    async with serving() as listener:
        with pytest.raises(UntrustedPeer, match="known_peers"):
            async with connect(listener.addresses[0], peer=None):
                pass
        assert os.listdir(tmp_path) == []
        async with await dial(listener) as stream:
            with pytest.raises(ConfigError, match="which server"):
                async with connect(stream, peer=None):
                    pass


async def test_a_port_that_nobody_listens_on_is_a_failure() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match="refused"):
            async with connect(f"tcp://127.0.0.1:{sock.getsockname()[1]}"):
                pass


async def test_a_host_that_does_not_exist_is_a_failure() -> None:
    with pytest.raises(ConnectFailed, match="no such host"):
        async with connect("tcp://no-such-host.invalid:80"):
            pass


async def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as listener:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            found = [closed.getsockname(), ("127.0.0.1", port_of(listener))]

            async def getaddrinfo(*args: object, **kwargs: object) -> list[Any]:
                return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in found]

            monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
            async with connect("tcp://name:1") as session:
                await ask(session)


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with anyio.fail_after(PATIENCE), pytest.raises(HandshakeTimeout, match=r"within 0\.1 s"):
            async with connect(f"tcp://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1):
                pytest.fail("there is a session")
        assert_closed_after(silent.accept()[0], HELLO)


def assert_closed_after(sock: socket.socket, begin: bytes) -> None:
    """The other side of this socket has sent something and closed its own."""
    with sock:
        sock.settimeout(PATIENCE)
        data = b""
        while chunk := sock.recv(65_536):
            data += chunk
        assert data.startswith(begin)


async def test_a_server_that_cannot_be_reached_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(sock: socket.socket, sockaddr: Any) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr("chanlink.transport.dial._establish", never)
    with anyio.fail_after(PATIENCE), pytest.raises(ConnectFailed, match=r"no answer within 0\.1 s"):
        async with connect(TCP, timeout=0.1):
            pytest.fail("there is a session")


async def test_the_time_is_for_the_whole_handshake_not_for_each_read() -> None:
    async def dribble(stream: ByteStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError):
                while True:
                    await stream.send(b"\1")
                    await anyio.sleep(0.02)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as dribbler, anyio.create_task_group() as tasks:
        tasks.start_soon(dribbler.serve, dribble)
        port = dribbler.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.fail_after(PATIENCE), pytest.raises(HandshakeTimeout):
            async with connect(f"tcp://127.0.0.1:{port}", timeout=0.2):
                pytest.fail("there is a session")
        tasks.cancel_scope.cancel()


async def test_a_server_that_hangs_up_fails_the_handshake() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as rude, anyio.create_task_group() as tasks:
        tasks.start_soon(rude.serve, anyio.aclose_forcefully)
        with pytest.raises(HandshakeError) as caught:
            async with connect(f"tcp://127.0.0.1:{rude.extra(anyio.abc.SocketAttribute.local_port)}"):
                pytest.fail("there is a session")
        assert type(caught.value) is HandshakeError
        tasks.cancel_scope.cancel()


async def test_cancelling_in_the_middle_of_the_handshake_closes_the_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        async with anyio.create_task_group() as tasks:

            async def client() -> None:
                async with connect(f"tcp://127.0.0.1:{silent.getsockname()[1]}"):
                    pytest.fail("there is a session")

            tasks.start_soon(client)
            await anyio.wait_readable(silent)
            connection, _ = silent.accept()
            await anyio.wait_readable(connection)
            tasks.cancel_scope.cancel()
        assert_closed_after(connection, HELLO)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})])
async def test_a_handshake_can_be_cancelled_at_any_moment_as_asyncio_does_it() -> None:
    async with serving() as listener:

        async def client() -> None:
            async with connect(listener.addresses[0]) as session:
                await session.wait_closed()

        for turns in range(0, 60, 3):
            task = asyncio.ensure_future(client())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with connect(listener.addresses[0]) as session:
            await ask(session)
        await until(lambda: not listener._greeting)


async def test_a_handshake_can_be_cancelled_at_any_moment() -> None:
    async with serving() as listener:

        async def client() -> None:
            async with connect(listener.addresses[0]) as session:
                await session.wait_closed()

        for turns in range(0, 60, 3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        async with connect(listener.addresses[0]) as session:
            await ask(session)
        await until(lambda: not listener._greeting)


async def test_an_exception_of_the_block_leaves_it_as_it_is() -> None:
    async with serving() as listener:
        problems = [ZeroDivisionError("mine"), StopAsyncIteration(), anyio.EndOfStream(), ConnectionLost("mine")]
        for problem in [*problems, ExceptionGroup("mine", [ValueError()])]:
            with pytest.raises(type(problem)) as caught:
                async with connect(listener.addresses[0]) as session:
                    await ask(session)
                    raise problem
            assert caught.value is problem


async def test_cancelling_the_block_ends_it_at_once_and_tells_the_peer() -> None:
    async with listen() as listener:
        with anyio.CancelScope() as scope:
            async with connect(listener.addresses[0]) as session:
                other = await listener.accept()
                scope.cancel()
                await session.wait_closed()
        assert scope.cancelled_caught
        cause = await other.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "cancelled"


async def test_the_death_of_the_session_does_not_cancel_the_block() -> None:
    async with listen() as listener:
        async with connect(listener.addresses[0]) as session:
            other = await listener.accept()
            other.abort()
            assert isinstance(await session.wait_closed(), ConnectionLost)
            await anyio.lowlevel.checkpoint()
            with pytest.raises(ConnectionLost):
                await session.open("ping")
            left = "here"
        assert left


# --- connecting over something else ---------------------------------------------------------------------


class Watched(ByteStream):
    """A stream of the user's own."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.closed = False

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        return await self.stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self.stream.send(item)

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        self.closed = True
        await self.stream.aclose()


async def test_it_connects_over_a_stream_of_the_callers_and_closes_it() -> None:
    async with serving() as listener:
        stream = Watched(await dial(listener))
        async with connect(stream) as session:
            assert (await ask(session))["pong"] == 7
            assert session.peer.address == "Watched"
            assert not stream.closed
        assert stream.closed


async def test_a_stream_of_the_callers_is_closed_when_the_handshake_fails() -> None:
    async with serving() as listener:
        stream = Watched(await dial(listener))
        with pytest.raises(WrongPeer):
            async with connect(stream, peer=BOB.public_key):
                pass
        assert stream.closed


async def test_it_connects_over_a_connectable() -> None:
    async with serving() as listener, connect(anyio.TCPConnectable("127.0.0.1", port_of(listener))) as session:
        assert (await ask(session))["pong"] == 7


async def test_a_connectable_that_does_not_connect_is_a_failure() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match="TCPConnectable"):
            async with connect(anyio.TCPConnectable("127.0.0.1", sock.getsockname()[1])):
                pass


# --- trust: of the server -------------------------------------------------------------------------------


async def test_another_server_is_found_out_and_learns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as listener:
        with pytest.raises(WrongPeer) as caught:
            async with connect(listener.addresses[0], peer=BOB.public_key):
                pytest.fail("there is a session")
        assert caught.value.expected == BOB.public_key.fingerprint
        assert caught.value.actual == SERVER.public_key.fingerprint
        await until(lambda: not listener._greeting)
    assert ALICE.public_key.fingerprint not in caplog.text
    assert "was closed: the peer closed the connection during the handshake" in caplog.text


async def test_any_server_of_the_clients_trust_will_do_and_is_called_by_the_name_in_it() -> None:
    async with serving() as listener:
        key = PublicKey(SERVER.public_key.raw, "the good one")
        async with connect(listener.addresses[0], peer=None, trust=Trust.of(BOB.public_key, key)) as session:
            assert session.peer.name == "the good one"
        with pytest.raises(UntrustedPeer) as caught:
            async with connect(listener.addresses[0], peer=None, trust=Trust.of(BOB.public_key)):
                pytest.fail("there is a session")
        assert caught.value.fingerprint == SERVER.public_key.fingerprint


async def test_of_a_key_and_a_trust_both_must_agree() -> None:
    async with serving() as listener:
        (where,) = listener.addresses
        async with connect(where, trust=Trust.of(SERVER.public_key)) as session:
            await ask(session)
        with pytest.raises(UntrustedPeer):
            async with connect(where, trust=Trust.nobody()):
                pytest.fail("there is a session")
        with pytest.raises(WrongPeer):
            async with connect(where, peer=BOB.public_key, trust=Trust.of(SERVER.public_key)):
                pytest.fail("there is a session")


async def test_a_server_may_use_the_services_that_the_clients_trust_grants_it(tmp_path: Path) -> None:
    path = tmp_path / "servers"
    path.write_text(f'services="ping" {SERVER.public_key}\n')
    async with listen() as listener, anyio.create_task_group() as tasks:

        async def client() -> None:
            services = {"ping": ping, "secret": ping}
            async with connect(listener.addresses[0], trust=Trust.load(path), services=services) as session:
                await session.wait_closed()

        tasks.start_soon(client)
        session = await listener.accept()
        assert (await ask(session))["pong"] == 7
        assert (await refusal(session, "secret")).code == "no-such-service"
        await session.aclose()


async def refusal(session: Session, service: str) -> ChannelRefused:
    sender: Sender[Any] = await session.open(service)
    with pytest.raises(ChannelRefused) as caught:
        await sender.wait_closed()
        await sender.send("anything")
    sender.close()
    return caught.value


# --- trust: of the client -------------------------------------------------------------------------------


async def test_a_client_that_is_not_trusted_always_learns_why_and_the_log_says_who(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with serving(trust=Trust.of(BOB.public_key)) as listener:
        for _ in range(50):
            with pytest.raises(UntrustedPeer) as caught:
                async with connect(listener.addresses[0]):
                    pytest.fail("there is a session")
            assert caught.value.fingerprint == ALICE.public_key.fingerprint
        await until(lambda: not listener._greeting)
        assert not listener._sessions
    lines = [record.getMessage() for record in caplog.records if "was refused" in record.getMessage()]
    assert len(lines) == 50
    assert all(ALICE.public_key.fingerprint in line and line.startswith("127.0.0.1:") for line in lines)


async def test_an_eager_client_that_is_not_trusted_learns_it_as_the_end_of_its_session() -> None:
    async with serving(trust=Trust.of(BOB.public_key)) as listener:
        for _ in range(10):
            async with connect(listener.addresses[0], eager=True) as session:
                requests: Sender[Any] = await session.open("ping")
                with suppress(SessionLost):
                    while True:  # what crosses the refusal does not eat it
                        await requests.send("x" * 10_000)
                cause = await session.wait_closed()
            assert isinstance(cause, UntrustedPeer)
            assert (cause.fingerprint, cause.remote) == (ALICE.public_key.fingerprint, True)


async def test_each_side_says_who_does_not_trust_whom_and_what_to_do(tmp_path: Path) -> None:
    async with serving(trust=Trust.of(BOB.public_key)) as listener:
        with pytest.raises(UntrustedPeer) as caught:
            async with connect(listener.addresses[0]):
                pass
        with pytest.raises(UntrustedPeer) as of_trust:
            async with connect(listener.addresses[0], peer=None, trust=Trust.of(BOB.public_key)):
                pass
        with pytest.raises(UntrustedPeer) as unknown:
            async with connect(listener.addresses[0], peer=None, trust=KnownPeers.load(tmp_path / "known")):
                pass
    ours, theirs = ALICE.public_key, SERVER.public_key
    refused = f"the peer does not trust our key, {ours.fingerprint}: it has to add this line to its trust file: {ours}"
    assert (caught.value.remote, str(caught.value)) == (True, refused)
    assert caught.value.again().args == caught.value.args
    distrust = f"this side does not trust the peer's key, {theirs.fingerprint}"
    assert (of_trust.value.remote, str(of_trust.value)) == (False, distrust)
    assert str(unknown.value).startswith(f"{distrust}: if it is the right one, add this line to {tmp_path}/known: ")
    assert not unknown.value.remote


@pytest.mark.parametrize("how", ["closed", "revoked", "aborted", "cut"])
async def test_who_loses_a_channel_can_tell_an_orderly_end_of_the_session_from_all_others(how: str) -> None:
    """On both sides, and in words: it is what a server that is stopped looks like."""
    async with listen() as listener, connect(listener.addresses[0]) as client:
        server = await listener.accept()
        sender: Sender[Any] = await client.open("service")
        receiver = (await server.accept()).end
        match how:
            case "closed":
                await server.aclose()
            case "revoked":
                server.regrant(None)
            case "aborted":
                server.abort()
            case _:
                server._below._transport._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        with anyio.fail_after(PATIENCE):
            reasons = [await sender.wait_closed()]
            with pytest.raises(SessionLost) as lost:
                await receiver.receive()
        for reason in (*reasons, lost.value):
            assert isinstance(reason, SessionLost)
            assert reason.orderly == (how == "closed")
            assert ("was closed in order" in str(reason)) == reason.orderly
            assert ("was lost" in str(reason)) != reason.orderly
        sender.close()
        receiver.close()


async def test_an_eager_client_that_is_trusted_is_served() -> None:
    async with serving() as listener, connect(listener.addresses[0], eager=True) as session:
        assert (await ask(session))["you"] == "alice@laptop"


async def test_a_refusal_is_logged_though_the_client_spins_out_its_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    static = generate_keypair()
    async with serving(trust=Trust.nobody(), limits=Limits(handshake=0.2)) as listener:
        stream = await dial(listener)
        await speak_as_client(stream, static, await answer_of(ALICE, static.public))
        await read_to_end(stream)
        await until(lambda: not listener._greeting)
        await stream.aclose()
    assert f"was refused: its key {ALICE.public_key.fingerprint}" in caplog.text


async def answer_of(identity: Identity, static: bytes) -> bytes:
    certificate = await certify(identity, static, Role.CLIENT, int(time.time()))
    answer: bytes = msgpack.packb({"certificate": certificate.to_map(), "peer": SERVER.public_key.raw, "limits": {}})
    return answer


async def test_nobody_is_let_in_when_nobody_is_trusted() -> None:
    async with listen(trust=Trust.nobody()) as listener:
        with pytest.raises(UntrustedPeer):
            async with connect(listener.addresses[0]):
                pytest.fail("there is a session")
        assert not listener._accepted


async def test_a_key_may_use_its_services_and_others_are_as_if_they_did_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "authorized_peers"
    path.write_text(f'services="a" {ALICE.public_key}\n{BOB.public_key}\n')
    async with serving(trust=Trust.load(path), services={"a": ping, "b": ping}) as listener:
        async with connect(listener.addresses[0]) as session:
            assert (await ask(session, "a"))["you"] == "alice@laptop"
            forbidden, missing = await refusal(session, "b"), await refusal(session, "c")
            text = "there is no service '{}' here that this key may use"
            assert forbidden.args == ("no-such-service", text.format("b"))
            assert missing.args == ("no-such-service", text.format("c"))
        async with connect(listener.addresses[0], identity=BOB) as session:
            assert (await ask(session, "b"))["you"] == "bob"


# --- strangers ------------------------------------------------------------------------------------------

TLS_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(233)
AT_ONCE = {
    "http": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "tls": TLS_HELLO,
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "random": os.urandom(5_000),
    "zeros": bytes(10_000),
    "another version": b"chanlink\x02" + HELLO[9:],
    "a long offer": HELLO[:9] + b"\xff\xff",
    "a long message": HELLO + b"\xff\xff",
    "a bad key": HELLO + prefixed(b"\xff" * 32),
}
LATER = {
    "silence": b"",
    "half a magic": b"chan",
    "half a hello": HELLO[:15],
    "half a message": HELLO + prefixed(bytes(32))[:20],
    "a good first message": HELLO + prefixed(generate_keypair().public),
}


@pytest.mark.parametrize("said", AT_ONCE.values(), ids=AT_ONCE.keys())
async def test_who_speaks_something_else_is_closed_at_once_and_told_nothing(said: bytes) -> None:
    async with serving(limits=Limits(handshake=600)) as listener:
        async with await dial(listener) as stream:
            await stream.send(said)
            with anyio.fail_after(PATIENCE):
                assert await read_to_end(stream) == b""
        await until(lambda: not listener._greeting)
        async with connect(listener.addresses[0]) as session:
            await ask(session)


async def test_who_is_slow_is_closed_at_the_end_of_its_time_and_others_are_served_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with serving(limits=Limits(handshake=1)) as listener, anyio.create_task_group() as tasks:
        answers: dict[str, bytes] = {}

        async def stranger(name: str, said: bytes) -> None:
            async with await dial(listener) as stream:
                await stream.send(said)
                answers[name] = await read_to_end(stream)

        async def dribbler() -> None:
            async with await dial(listener) as stream:
                with suppress(anyio.BrokenResourceError):
                    for byte in HELLO + bytes(10_000):
                        await stream.send(bytes([byte]))
                        await anyio.sleep(0.05)
                answers["dribbler"] = b""

        for name, said in LATER.items():
            tasks.start_soon(stranger, name, said)
        tasks.start_soon(dribbler)
        await until(lambda: len(listener._greeting) == len(LATER) + 1)
        async with connect(listener.addresses[0]) as session:
            await ask(session)
            assert len(listener._greeting) == len(LATER) + 1
        with anyio.fail_after(PATIENCE):
            await until(lambda: len(answers) == len(LATER) + 1)
        assert [name for name, answer in answers.items() if answer] == ["a good first message"]
        async with connect(listener.addresses[0]) as session:
            await ask(session)
        await until(lambda: not listener._greeting)
    assert caplog.text.count("no handshake within 1 s") == len(LATER) + 1


class Signer:
    """Holds the server's key elsewhere, and is slow or fails."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.go = anyio.Event()
        self.problem: Exception | None = None
        self.identity = Identity(SERVER.public_key, self.sign)

    async def sign(self, data: bytes) -> bytes:
        self.asked.set()
        await self.go.wait()
        if self.problem is not None:
            raise self.problem
        return await SERVER.sign(data)


async def test_a_stranger_who_floods_is_read_no_further_than_the_handshake_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = 0

    class Counted(SocketTransport):
        async def receive(self, max_bytes: int = 65_536) -> bytes:
            nonlocal taken
            data = await super().receive(max_bytes)
            taken += len(data)
            return data

    monkeypatch.setattr(endpoint, "SocketTransport", Counted)
    signer = Signer()
    async with serving(identity=signer.identity) as listener:
        with socket.create_connection(("127.0.0.1", port_of(listener))) as stranger:
            stranger.setblocking(False)
            flood = HELLO + bytes(8_000_000)
            sent = stranger.send(flood)
            assert sent > 16_384
            await signer.asked.wait()
            with suppress(BlockingIOError):
                while sent < len(flood):
                    sent += stranger.send(flood[sent : sent + 65_536])
                    await anyio.lowlevel.checkpoint()
            assert taken == len(HELLO)
            signer.go.set()
            await until(lambda: not listener._greeting)
    assert taken == len(HELLO) + 2  # the length of the first message is zero


async def test_of_too_many_strangers_the_oldest_go_and_a_good_client_is_served() -> None:
    async with serving(limits=Limits(unauthenticated=5, handshake=600)) as listener:
        strangers = [await dial(listener) for _ in range(5)]
        await until(lambda: len(listener._greeting) == 5)
        for _ in range(15):
            strangers.append(await dial(listener))
        ended = [False] * 20

        async def watch(number: int) -> None:
            await read_to_end(strangers[number])
            ended[number] = True

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(watch, number)
            await until(lambda: sum(ended) == 15)
            assert ended == [True] * 15 + [False] * 5
            assert len(listener._greeting) == 5
            async with connect(listener.addresses[0]) as session:
                await ask(session)
            await until(lambda: ended[15])
            assert sum(ended) == 16
            tasks.cancel_scope.cancel()
        for stream in strangers:
            await stream.aclose()
        await until(lambda: not listener._greeting)


async def test_a_burst_of_strangers_never_makes_it_hold_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    held = most = 0

    class Counted(SocketTransport):
        def __init__(self, sock: socket.socket) -> None:
            nonlocal held, most
            super().__init__(sock)
            held += 1
            most = max(held, most)

        async def aclose(self) -> None:
            nonlocal held
            held -= 1
            await super().aclose()

    monkeypatch.setattr(endpoint, "SocketTransport", Counted)
    async with listen(limits=Limits(unauthenticated=5, handshake=600)) as listener:
        burst = [socket.create_connection(("127.0.0.1", port_of(listener))) for _ in range(100)]
        await until(lambda: held == 5 and next(iter(listener._greeting)) is not None)
        await anyio.wait_all_tasks_blocked()
        for sock in burst:
            sock.close()
        await until(lambda: not listener._greeting)
    assert held == 0
    assert most <= 8  # who has to go needs a turn of the loop for it


async def test_accepting_goes_on_after_errors_of_the_system(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endpoint, "Bucket", lambda burst, a_second: Bucket(burst, a_second / 10**9))  # a long second
    async with serving() as listener:
        (sock,) = listener._sockets.sockets
        errors = [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.EPROTO, errno.EINVAL, errno.ENOBUFS]

        class Failing:
            def __init__(self, sock: socket.socket) -> None:
                self.sock = sock

            def accept(self) -> Any:
                if errors:
                    raise OSError(errors[0], os.strerror(errors.pop(0)))
                return self.sock.accept()

            def fileno(self) -> int:
                return self.sock.fileno()

        failing: Any = Failing(sock)
        listener._tasks.start_soon(listener._accept_loop, failing)
        await until(lambda: not errors)
        with anyio.fail_after(PATIENCE):
            async with connect(listener.addresses[0]) as session:
                await ask(session)
    assert caplog.text.count("can't accept connections") == 1  # for as long as it lasts
    assert os.strerror(errno.EMFILE) in caplog.text


async def test_a_signer_that_fails_costs_the_connection_and_not_the_server(caplog: pytest.LogCaptureFixture) -> None:
    signer = Signer()
    signer.problem = RuntimeError("the agent is locked")
    signer.go.set()
    async with serving(identity=signer.identity) as listener:
        with pytest.raises(HandshakeError):
            async with connect(listener.addresses[0]):
                pytest.fail("there is a session")
        assert "the agent is locked" in caplog.text
        signer.problem = None
        async with connect(listener.addresses[0]) as session:
            await ask(session)


async def test_a_client_that_resets_the_connection_once_it_is_trusted_costs_nothing_else() -> None:
    clients: list[socket.socket] = []

    class Resetting(Trust):
        def check(self, key: PublicKey) -> Grant | None:
            if clients:
                client = clients.pop()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
            return super().check(key)

    async with serving(trust=Resetting.of(ALICE.public_key)) as listener:
        client = socket.create_connection(("127.0.0.1", port_of(listener)))
        clients.append(client)
        static = generate_keypair()
        stream = SocketTransport(client)
        with suppress(anyio.ClosedResourceError):
            await speak_as_client(stream, static, await answer_of(ALICE, static.public))
            await until(lambda: not clients)
        await until(lambda: not listener._greeting and not listener._sessions)
        async with connect(listener.addresses[0]) as session:
            await ask(session)


async def test_a_defect_in_one_session_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken: list[bool] = []

    class Broken(Session):
        async def wait_closed(self) -> Any:
            if not broken and self.peer.key == ALICE.public_key:  # on the server
                broken.append(True)
                raise AssertionError("a defect")
            return await super().wait_closed()

    async with serving() as listener:
        monkeypatch.setattr(endpoint, "Session", Broken)
        async with connect(listener.addresses[0]) as session:
            await session.wait_closed()
        async with connect(listener.addresses[0]) as session:
            await ask(session)
    assert "a defect" in caplog.text


async def test_no_secret_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as listener:
        async with connect(listener.addresses[0]) as session:
            await ask(session)
            text = repr(session) + repr(listener) + repr(session._below)
        for options in {"peer": BOB.public_key}, {"identity": Identity.generate()}:
            with pytest.raises(HandshakeError):
                async with connect(listener.addresses[0], **options):
                    pass
        static, _ = await listener._greeter._credentials.current()
    text += caplog.text
    assert "alice@laptop connected" in text
    for identity in ALICE, SERVER:
        seed = identity._signer.seed  # type: ignore[attr-defined]
        assert seed.hex() not in text
        assert repr(seed)[2:-1] not in text
    assert static.private.hex() not in text


# --- accepting sessions ---------------------------------------------------------------------------------


async def test_acceptors_get_one_session_each() -> None:
    async with listen() as listener, anyio.create_task_group() as tasks:
        got: list[Session] = []

        async def acceptor() -> None:
            got.append(await listener.accept())

        for _ in range(3):
            tasks.start_soon(acceptor)
        await anyio.wait_all_tasks_blocked()
        async with connect(listener.addresses[0]), connect(listener.addresses[0]), connect(listener.addresses[0]):
            await until(lambda: len(got) == 3)
        assert len(set(got)) == 3


async def test_sessions_wait_to_be_accepted_in_their_order() -> None:
    async with listen() as listener, connect(listener.addresses[0]), connect(listener.addresses[0], identity=BOB):
        await until(lambda: len(listener._accepted) == 2)
        assert [(await listener.accept()).peer.name for _ in range(2)] == ["alice@laptop", "bob"]


async def test_a_cancelled_acceptor_passes_its_wake_up_on() -> None:
    async with listen() as listener, anyio.create_task_group() as tasks:
        got: list[Session] = []
        cancelled = anyio.CancelScope()

        async def acceptor(scope: anyio.CancelScope) -> None:
            with scope:
                got.append(await listener.accept())

        async with connect(listener.addresses[0]):
            session = await listener.accept()
            for scope in cancelled, anyio.CancelScope():
                tasks.start_soon(acceptor, scope)
                await anyio.wait_all_tasks_blocked()
            # As one comes: the first acceptor is cancelled, and woken before it can run.
            cancelled.cancel()
            listener._accepted.append(session)
            listener._accepting.wake()
            await until(lambda: got)
        assert got == [session]
        assert cancelled.cancelled_caught


async def test_a_session_that_is_over_before_it_was_accepted_is_forgotten() -> None:
    async with listen() as listener:
        for _ in range(3):
            async with connect(listener.addresses[0]):
                await until(lambda: listener._accepted)
            await until(lambda: not listener._sessions)
            assert not listener._accepted
        async with connect(listener.addresses[0], identity=BOB):
            assert (await listener.accept()).peer.name == "bob"


async def test_closing_the_listener_wakes_who_waits_and_closes_the_sessions() -> None:
    async with listen() as listener, anyio.create_task_group() as tasks:
        async with connect(listener.addresses[0]) as session, connect(listener.addresses[0]):
            await listener.accept()

            async def acceptor() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await listener.accept()

            await until(lambda: listener._accepted)  # nor is the one given out that waits to be accepted
            listener._accepted.clear()
            tasks.start_soon(acceptor)
            await anyio.wait_all_tasks_blocked()
            await listener.aclose()
            await listener.aclose()
            cause = await session.wait_closed()
            assert isinstance(cause, SessionClosed)
            assert cause.code == ""
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()
            with pytest.raises(ConnectFailed):
                async with connect(listener.addresses[0]):
                    pass
        await until(lambda: not listener._sessions)


async def test_closing_the_listener_closes_who_is_in_the_handshake() -> None:
    async with listen(limits=Limits(handshake=600)) as listener:
        async with await dial(listener) as stranger:
            await until(lambda: listener._greeting)
            await listener.aclose()
            with anyio.fail_after(PATIENCE):
                assert await read_to_end(stranger) == b""
        await until(lambda: not listener._greeting)


async def test_who_passes_the_handshake_as_the_listener_closes_is_closed_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with listen() as listener:
        greet = listener._greeter.greet

        async def greet_and_close(*args: Any) -> Any:
            secured = await greet(*args)
            listener._stop()
            return secured

        monkeypatch.setattr(listener._greeter, "greet", greet_and_close)
        async with connect(listener.addresses[0]) as session:
            cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == ""
    assert_empty(listener)


async def test_a_closed_listener_gives_out_no_session_that_waited() -> None:
    async with listen() as listener, connect(listener.addresses[0]):
        await until(lambda: listener._accepted)
        listener._stop()
        with pytest.raises(anyio.ClosedResourceError):
            await listener.accept()


async def test_handlers_run_in_tasks_of_their_own() -> None:
    async with listen() as listener, anyio.create_task_group() as tasks:
        met = anyio.Event()
        names: list[str] = []

        async def handler(session: Session) -> None:
            names.append(session.peer.name)
            if len(names) == 2:
                met.set()
            await met.wait()  # so both run at once
            await session.aclose()

        tasks.start_soon(listener.serve, handler)
        async with connect(listener.addresses[0]) as one, connect(listener.addresses[0], identity=BOB) as two:
            await one.wait_closed()
            await two.wait_closed()
        assert sorted(names) == ["alice@laptop", "bob"]
        tasks.cancel_scope.cancel()


async def broken_handler(session: Session) -> None:
    raise ZeroDivisionError


async def test_a_listener_with_services_gives_no_sessions_and_says_so_at_once() -> None:
    """Also one without any: there is nobody to wait for."""
    for services in (SERVICES, {}):
        async with listen(services=services) as listener:
            with pytest.raises(ConfigError, match="was made with services"):
                await listener.accept()
            with pytest.raises(ConfigError, match="was made with services"):
                await listener.serve(pytest.fail)
        with pytest.raises(ConfigError, match="was made with services"):
            await listener.accept()


async def test_an_exception_of_a_handler_ends_serving_as_with_listeners_of_anyio() -> None:
    async with listen() as listener, connect(listener.addresses[0]):
        with pytest.raises(ExceptionGroup) as caught:
            await listener.serve(broken_handler)
        assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]


async def test_handlers_may_run_in_a_task_group_of_the_callers() -> None:
    async with listen() as listener, connect(listener.addresses[0]):
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as tasks:
                await listener.serve(broken_handler, tasks)
        assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.aclose)
            with pytest.raises(anyio.ClosedResourceError):
                await listener.serve(broken_handler, tasks)


# --- leaving --------------------------------------------------------------------------------------------


@asynccontextmanager
async def client_of(listener: Listener) -> AsyncIterator[list[Any]]:
    """A client in a task of its own; the list gets the cause of the end of its session."""
    causes: list[Any] = []
    connected = anyio.Event()

    async def client() -> None:
        async with connect(listener.addresses[0]) as session:
            connected.set()
            causes.append(await session.wait_closed())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client)
        await connected.wait()
        yield causes


async def test_leaving_a_listener_closes_its_sessions_in_order() -> None:
    async with anyio.create_task_group() as tasks:
        causes: list[Any] = []
        async with listen() as listener:
            where = listener.addresses[0]
            connected = anyio.Event()

            async def client() -> None:
                async with connect(where) as session:
                    channel: Receiver[Any] = (await session.accept()).end
                    connected.set()
                    messages = [await channel.receive() for _ in range(3)]
                    assert messages == [0, 1, 2]
                    causes.append(await session.wait_closed())

            tasks.start_soon(client)
            session = await listener.accept()
            sender: Sender[Any] = await session.open("numbers")
            for number in range(3):
                await sender.send(number)  # accepted, so it arrives
            sender.close()
            await connected.wait()
        assert_empty(listener)
    assert [type(cause) for cause in causes] == [SessionClosed]
    assert causes[0].code == ""


async def test_leaving_a_listener_by_an_exception_ends_its_sessions_and_raises_it_as_it_is() -> None:
    problem = ZeroDivisionError("mine")
    async with anyio.create_task_group() as tasks:
        causes: list[Any] = []
        connected = anyio.Event()

        async def client(where: str) -> None:
            async with connect(where) as session:
                connected.set()
                causes.append(await session.wait_closed())

        with pytest.raises(ZeroDivisionError) as caught:
            async with listen() as listener:
                tasks.start_soon(client, listener.addresses[0])
                await connected.wait()
                await listener.accept()
                raise problem
        assert caught.value is problem
        assert_empty(listener)
    assert [type(cause) for cause in causes] == [SessionClosed]
    assert causes[0].code == "cancelled"


async def test_leaving_a_listener_does_not_wait_for_strangers_or_for_services_that_never_return() -> None:
    started = anyio.Event()
    cancelled = anyio.Event()

    async def stuck(requests: Receiver[Any], peer: Peer) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with anyio.create_task_group() as tasks:

        async def client(where: str) -> None:
            async with connect(where) as session:
                await session.open("stuck")
                await session.wait_closed()

        with anyio.fail_after(PATIENCE):
            async with serving(services={"stuck": stuck}, limits=Limits(handshake=600)) as listener:
                tasks.start_soon(client, listener.addresses[0])
                stranger = await dial(listener)
                await started.wait()
                await until(lambda: len(listener._greeting) == 1)
        assert cancelled.is_set()
        assert await read_to_end(stranger) == b""
        await stranger.aclose()


async def test_a_handler_that_is_still_at_work_sees_the_end_of_its_session_when_the_listener_is_left() -> None:
    ended: list[Any] = []
    async with anyio.create_task_group() as tasks:
        at_work = anyio.Event()

        async def handler(session: Session) -> None:
            at_work.set()
            ended.append(await session.wait_closed())

        async def serve_until_closed(listener: Listener) -> None:
            async with anyio.create_task_group() as handlers:
                with pytest.raises(anyio.ClosedResourceError):
                    await listener.serve(handler, handlers)

        async def client(where: str) -> None:
            async with connect(where) as session:
                await session.wait_closed()

        async with listen() as listener:
            tasks.start_soon(serve_until_closed, listener)
            tasks.start_soon(client, listener.addresses[0])
            await at_work.wait()
    assert [type(cause) for cause in ended] == [SessionClosed]


async def test_cancelling_a_listener_leaves_nothing() -> None:
    async with anyio.create_task_group() as tasks:

        async def server(*, task_status: TaskStatus[Listener]) -> None:
            async with listen() as listener:
                task_status.started(listener)
                await anyio.sleep_forever()

        async def client(where: str, *, task_status: TaskStatus[Session]) -> None:
            async with connect(where) as session:
                task_status.started(session)
                causes.append(await session.wait_closed())

        causes: list[Any] = []
        async with anyio.create_task_group() as server_tasks:
            listener = await server_tasks.start(server)
            for _ in range(3):
                await tasks.start(client, listener.addresses[0])
            stranger = await dial(listener)
            await until(lambda: len(listener._sessions) == 3 and len(listener._greeting) == 1)
            server_tasks.cancel_scope.cancel()
        assert_empty(listener)
        assert await read_to_end(stranger) == b""
        await stranger.aclose()
    assert [type(cause) for cause in causes] == [SessionClosed] * 3


async def test_sessions_over_connections_in_memory_need_no_sockets() -> None:
    """The handshake and the session over any stream: what `connect` does is not bound to sockets."""
    near, far = wires(piece=1_000, patient=True)

    async def server() -> None:
        def admit(key: PublicKey) -> Grant:
            return Grant("alice", None)

        secured = await handshake_as_server(far, Credentials(SERVER, Role.SERVER), admit, Limits())
        session = Session(
            secured.stream, client_side=False, peer=Peer(secured.key, "alice", "memory"), services=SERVICES
        )
        async with session:
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server)
        async with connect(near) as session:
            assert (await ask(session))["you"] == "alice"


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_program_of_asyncio_need_not_know_of_anyio(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """What arrives is taken by the event loop itself there, outside of any task; relays pass on, services start."""

    async def lend(requests: Receiver[Any], peer: Peer) -> None:
        async for request in requests:
            async with request["to"] as back:
                await back.send(request)

    async def main() -> None:
        async with (
            serving(services={**SERVICES, "lend": lend}) as listener,
            connect(listener.addresses[0]) as one,
            connect(listener.addresses[0]) as two,
        ):
            assert (await ask(one))["pong"] == 7
            reply, replies = chanlink.pipe()
            to, back = chanlink.pipe()
            async with await one.open("lend") as lender, await two.open("ping") as requests, back, replies:
                await lender.send({"reply": reply, "to": to})
                lent = await back.receive()  # its reply comes from the one session, and goes out in the other
                await requests.send({"ping": 8, "reply": lent["reply"]})
                assert (await replies.receive())["pong"] == 8

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(main(), PATIENCE))


# --- blocks and tasks ---------------------------------------------------------------------------


@pytest.fixture
async def kept_open() -> AsyncIterator[Session]:
    """anyio's plugin enters and leaves a fixture in one task."""
    async with serving() as listener, connect(listener.addresses[0]) as session:
        yield session


async def test_a_session_may_be_kept_open_by_a_fixture(kept_open: Session) -> None:
    assert (await ask(kept_open))["you"] == "alice@laptop"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trust": "authorized_peers"}, "trust must be Trust, not str"),
        ({"trust": ALICE.public_key}, "trust must be Trust, not PublicKey"),
        ({"identity": "id_ed25519"}, "identity must be Identity or None, not str"),
        ({"services": ping}, "services are functions by name"),
        ({"services": ["ping"]}, "services are functions by name"),
        ({"services": {"ping": 5}}, "services: 'ping': a name and an async function are wanted, not 5"),
    ],
    ids=["a path", "a key", "a file", "a function", "a list", "a number"],
)
async def test_what_is_of_another_kind_is_noticed_before_anybody_comes(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        async with chanlink.listen("tcp://127.0.0.1:0", **{"identity": SERVER, "trust": Trust.nobody()} | options):
            pass
    if "trust" not in options:
        with pytest.raises(TypeError, match=re.escape(words)):
            async with chanlink.connect("tcp://127.0.0.1:1", **{"peer": SERVER.public_key} | options):
                pass


@pytest.mark.parametrize(
    "options", [{"peer": "server.pub"}, {"peer": SERVER}, {"trust": "known_peers"}], ids=["a path", "ours", "a file"]
)
async def test_a_server_is_expected_by_a_key_not_by_its_file(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"(peer|trust) must be .* or None, not (str|Identity)"):
        async with chanlink.connect("tcp://127.0.0.1:1", **{"identity": ALICE} | options):
            pass
