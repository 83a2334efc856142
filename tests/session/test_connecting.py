"""`connect`: whom a client gets a session with, and what is left when it gets none."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

import chanlink
from chanlink import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    KnownPeers,
    Limits,
    Peer,
    Sender,
    Session,
    SessionClosed,
    SessionLost,
    Trust,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.statics import Statics
from tests.patience import PATIENCE, until
from tests.security.wires import HELLO, wires
from tests.session.endpoints import (
    ALICE,
    BOB,
    SERVER,
    SERVICES,
    TCP,
    ask,
    connect,
    dial,
    greeter_of,
    listen,
    ping,
    port_of,
    refusal,
    serving,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


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


# --- the addresses of a name -------------------------------------------------------------------------


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
        assert not greeter_of(good).admission


def named(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Let every name stand for these ports of this machine."""

    async def getaddrinfo(*args: object, **kwargs: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)


# --- servers that do not answer, and clients that do not wait ----------------------------------------


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

    monkeypatch.setattr("chanlink.transport.reaching.establish", never)
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
        await until(lambda: not greeter_of(listener).admission)


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
        await until(lambda: not greeter_of(listener).admission)


# --- the block ---------------------------------------------------------------------------------------


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


# --- over something else -----------------------------------------------------------------------------


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


# --- trust -------------------------------------------------------------------------------------------


async def test_another_server_is_found_out_and_learns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as listener:
        with pytest.raises(WrongPeer) as caught:
            async with connect(listener.addresses[0], peer=BOB.public_key):
                pytest.fail("there is a session")
        assert caught.value.expected == BOB.public_key.fingerprint
        assert caught.value.actual == SERVER.public_key.fingerprint
        await until(lambda: not greeter_of(listener).admission)
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


async def test_an_eager_client_that_is_trusted_is_served() -> None:
    async with serving() as listener, connect(listener.addresses[0], eager=True) as session:
        assert (await ask(session))["you"] == "alice@laptop"


async def test_sessions_over_connections_in_memory_need_no_sockets() -> None:
    """The handshake and the session over any stream: what `connect` does is not bound to sockets."""
    near, far = wires(piece=1_000, patient=True)

    async def server() -> None:
        def admit(presented: Presented) -> Grant:
            return Grant("alice", None)

        authenticated = await handshake_as_server(far, Statics(SERVER, Role.SERVER), admit, Limits())
        session = Session(
            authenticated.stream, client_side=False, peer=Peer(authenticated.key, "alice", "memory"), services=SERVICES
        )
        async with session:
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server)
        async with connect(near) as session:
            assert (await ask(session))["you"] == "alice"


@pytest.fixture
async def kept_open() -> AsyncIterator[Session]:
    """anyio's plugin enters and leaves a fixture in one task."""
    async with serving() as listener, connect(listener.addresses[0]) as session:
        yield session


async def test_a_session_may_be_kept_open_by_a_fixture(kept_open: Session) -> None:
    assert (await ask(kept_open))["you"] == "alice@laptop"


@pytest.mark.parametrize(
    "options", [{"peer": "server.pub"}, {"peer": SERVER}, {"trust": "known_peers"}], ids=["a path", "ours", "a file"]
)
async def test_a_server_is_expected_by_a_key_not_by_its_file(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"(peer|trust) must be .* or None, not (str|Identity)"):
        async with chanlink.connect("tcp://127.0.0.1:1", **{"identity": ALICE} | options):
            pass


@pytest.mark.parametrize("resume", [-1, -0.001, float("nan"), float("inf"), 2**32 / 1_000])
async def test_a_session_can_be_resumed_for_a_time_that_can_be(resume: float) -> None:
    with pytest.raises(ConfigError, match="resume must be 0 to 4294967 seconds"):
        async with connect("tcp://127.0.0.1:1", resume=resume):
            pass


async def test_what_can_be_resumed_has_an_address_and_waits_for_the_welcome() -> None:
    with pytest.raises(ConfigError, match="no way back to a byte stream"):
        async with connect(wires()[0], resume=5):
            pass
    with pytest.raises(ConfigError, match="resume and eager"):
        async with connect("tcp://127.0.0.1:1", resume=5, eager=True):
            pass


async def test_labels_of_the_protocol_are_not_for_applications() -> None:
    async with serving() as listener, connect(listener.addresses[0]) as session:
        assert len(session.exporter("chanlink-like", 16)) == 16
        for label in ("chanlink resume v1", "chanlink session id", "chanlink "):
            with pytest.raises(ValueError, match="not for applications"):
                session.exporter(label, 16)
        assert len(session.id) == 16
