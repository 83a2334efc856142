"""Sessions by a daemon of this machine, as the client: they are sessions like others, and their program has no key."""

import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    ConfigError,
    ConnectFailed,
    HandshakeError,
    HandshakeTimeout,
    Identity,
    KnownPeers,
    Local,
    Receiver,
    SessionClosed,
    SessionError,
    Trust,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.errors import ServerTooOld
from chanlink.handover.messages import Refused
from chanlink.handover.passing import packet_socket
from tests.handover.little_daemon import LittleDaemon, little_daemon
from tests.patience import until

pytestmark = pytest.mark.anyio

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")


async def echo(receiver: Receiver[Any], peer: chanlink.Peer) -> None:
    async for item in receiver:
        await item["reply"].send([item["text"], peer.name])


SERVICES: Any = {"echo": echo, "other": echo}


async def call(session: chanlink.Session, text: str, service: str = "echo") -> Any:
    reply, receiver = chanlink.pipe(1)
    async with await session.open(service) as sender:
        await sender.send({"reply": reply, "text": text})
        return await receiver.receive()


@asynccontextmanager
async def world(folder: Path, **options: Any) -> AsyncIterator[tuple[LittleDaemon, chanlink.Listener, Local]]:
    """A server, a daemon of a host that knows it as ``web1``, and what leads there."""
    async with (
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=SERVER, trust=Trust.of(ALICE.public_key), services=SERVICES, **options
        ) as listener,
        little_daemon(folder, "echo", identity=ALICE) as daemon,
    ):
        daemon.hosts["web1"] = listener.addresses[0], SERVER.public_key
        yield daemon, listener, Local("web1", service="echo", folder=folder)


async def test_a_session_by_the_daemon_is_a_session_like_others(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, listener, local), chanlink.connect(local) as session:
        assert await call(session, "hello") == ["hello", "alice"]
        assert session.peer.name == "web1"
        assert session.peer.key == SERVER.public_key
        assert session.peer.address == "web1 (echo, by the daemon)"
        [other] = listener.sessions
        assert session.id == other.id
        assert session.exporter("mine", 32) == other.exporter("mine", 32)
        assert session.statistics().round_trip > 0


async def test_it_is_for_its_service_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, _, local), chanlink.connect(local) as session:
        with pytest.raises(chanlink.ChannelError):
            await call(session, "hello", "other")
        assert await call(session, "hello") == ["hello", "alice"]


async def test_its_keys_are_others_than_those_that_the_daemon_has_had(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, listener, local), chanlink.connect(local) as session:
        await call(session, "hello")
        [other] = listener.sessions
        await until(lambda: session._below.epoch == other._below.epoch == 1)


async def test_an_eager_session_begins_without_the_welcome(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, _, local), chanlink.connect(local, eager=True) as session:
        assert await call(session, "hello") == ["hello", "alice"]


async def test_a_server_that_does_not_trust_the_key_of_the_user_refuses(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local):
        daemon.identity = Identity.generate("mallory")
        with pytest.raises(UntrustedPeer, match="does not trust our key") as caught:
            async with chanlink.connect(local):
                pass
        assert caught.value.fingerprint == daemon.identity.public_key.fingerprint
        async with chanlink.connect(local, eager=True) as session:
            assert isinstance(await session.wait_closed(), UntrustedPeer)


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (Refused(code="no-such-host", text="nobody"), ConnectFailed),
        (Refused(code="unreachable", text="nobody"), ConnectFailed),
        (Refused(code="stopping", text=""), ConnectFailed),
        (Refused(code="timeout", text="late"), HandshakeTimeout),
        (Refused(code="wrong-peer", text="no", expected="SHA256:a", found="SHA256:b"), WrongPeer),
        (Refused(code="wrong-peer", text="no"), HandshakeError),
        (Refused(code="untrusted", text="no", found="SHA256:b"), UntrustedPeer),
        (Refused(code="untrusted", text="no"), HandshakeError),
        (Refused(code="server-too-old", text="old"), ServerTooOld),
        (Refused(code="handshake-failed", text="no"), HandshakeError),
        (Refused(code="id-taken", text="no"), HandshakeError),
        (Refused(code="busy", text="full"), SessionClosed),
        (Refused(code="no-identity", text="no key"), ConfigError),
        (Refused(code="no-such-service", text="no"), ConfigError),
        (Refused(code="version", text="no"), ConfigError),
        (Refused(code="of-the-future", text="no"), ConfigError),
    ],
    ids=lambda one: one.code if isinstance(one, Refused) else one.__name__,
)
async def test_a_refusal_of_the_daemon_is_the_error_that_it_would_be_without_one(
    tmp_path: Path, refused: Refused, error: type[Exception]
) -> None:
    async with world(tmp_path) as (daemon, _, local):
        daemon.refuses = refused
        with pytest.raises(error) as caught:
            async with chanlink.connect(local):
                pass
        assert type(caught.value) is error
        daemon.refuses = None
        async with chanlink.connect(local) as session:
            assert await call(session, "hello") == ["hello", "alice"]


async def test_without_a_daemon_there_is_no_connection_and_it_may_be_waited_for(tmp_path: Path) -> None:
    local = Local("web1", service="echo", folder=tmp_path)
    with pytest.raises(ConnectFailed, match="chanlink daemon"):
        async with chanlink.connect(local):
            pass
    async with anyio.create_task_group() as tasks:
        done = anyio.Event()

        async def connect() -> None:
            async with chanlink.connect(local, wait=100) as session:
                assert await call(session, "hello") == ["hello", "alice"]
            done.set()

        tasks.start_soon(connect)
        await anyio.wait_all_tasks_blocked()
        async with world(tmp_path):
            await done.wait()


async def test_a_daemon_that_does_not_answer_takes_the_time_that_was_said(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local):
        daemon.is_silent = True
        with pytest.raises(ConnectFailed, match=r"no answer of the daemon within 0\.05 s"):
            async with chanlink.connect(local, timeout=0.05):
                pass


@pytest.mark.parametrize(
    "given",
    [
        {"identity": ALICE},
        {"peer": SERVER.public_key},
        {"trust": Trust.nobody()},
        {"trust": KnownPeers.load("/nonexistent", first_use=True)},
        {"psk": bytes(32)},
        {"directory": "tcp://localhost"},
        {"trust_directory": True},
        {"early": True},
        {"service": "other"},
    ],
    ids=lambda given: next(iter(given)),
)
async def test_what_the_daemon_decides_is_not_said_to_it(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"don't go with Local|a session is for one service"):
        async with chanlink.connect(Local("web1", service="echo", folder=tmp_path), **given):
            pass


async def test_one_may_say_again_for_which_service_it_is(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, _, local), chanlink.connect(local, service="echo") as session:
        assert await call(session, "hello") == ["hello", "alice"]


async def test_a_link_goes_on_by_the_daemon(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, listener, local), chanlink.reconnecting(local) as link:
        first = await link.session()
        assert await call(first, "hello") == ["hello", "alice"]
        for session in listener.sessions:
            session.abort()
        await first.wait_closed()
        assert await call(await link.session(), "again") == ["again", "alice"]


async def test_what_does_not_go_with_a_daemon_does_not_go_with_a_link(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="don't go with Local"):
        async with chanlink.reconnecting(Local("web1", service="echo", folder=tmp_path), identity=ALICE):
            pass


# --- coming back --------------------------------------------------------------------------------


async def test_a_session_outlives_its_connection_by_the_daemon(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, listener, local), chanlink.connect(local, resume=60) as session:
        assert await call(session, "hello") == ["hello", "alice"]
        for number in range(3):
            session._below._connection._transport.close_now()  # type: ignore[attr-defined]
            assert await call(session, f"again {number}") == [f"again {number}", "alice"]
        assert len(daemon.handed) == 4
        assert len({handed.id for handed in daemon.handed}) == 1
        assert len({handed.client_key for handed in daemon.handed}) == 4
        [other] = listener.sessions
        assert session.id == other.id
        await until(lambda: session._below._connection.epoch == 1)  # type: ignore[attr-defined]


async def test_a_session_comes_back_by_a_daemon_that_was_restarted(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local, resume=60) as session:
        assert await call(session, "hello") == ["hello", "alice"]
        daemon.stop()
        session._below._connection._transport.close_now()  # type: ignore[attr-defined]
        await until(lambda: session.state == "away")
        daemon.start(daemon._tasks, "echo")
        assert await call(session, "again") == ["again", "alice"]


async def test_a_server_of_another_key_is_none_to_come_back_to(tmp_path: Path) -> None:
    other = Identity.generate("other")
    async with (
        world(tmp_path) as (daemon, _, local),
        chanlink.listen("tcp://127.0.0.1:0", identity=other, trust=Trust.of(ALICE.public_key)) as wrong,
        chanlink.connect(local, resume=60) as session,
    ):
        assert await call(session, "hello") == ["hello", "alice"]
        right = daemon.hosts["web1"]
        daemon.hosts["web1"] = wrong.addresses[0], other.public_key
        session._below._connection._transport.close_now()  # type: ignore[attr-defined]
        await until(lambda: len(daemon.handed) >= 2)
        assert session.state == "away"
        daemon.hosts["web1"] = right
        assert await call(session, "again") == ["again", "alice"]


async def test_a_session_that_the_daemon_does_not_know_any_more_is_revoked(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local, resume=60) as session:
        assert await call(session, "hello") == ["hello", "alice"]
        daemon.refuses = Refused(code="unknown-session", text="gone")
        session._below._connection._transport.close_now()  # type: ignore[attr-defined]
        cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"


@pytest.mark.parametrize("way", ["ipc", "import"])
async def test_a_refusal_arrives_whoever_is_faster(tmp_path: Path, way: str) -> None:
    """A daemon with too many requests reads none of the next one: that may be sent before its answer, or behind it."""
    (tmp_path / way).mkdir()
    with packet_socket() as sock:
        sock.bind(str(tmp_path / way / "echo"))
        sock.listen()
        sock.setblocking(True)
        refusing = threading.Thread(target=_refuse_each, args=(sock, TRIES), daemon=True)
        refusing.start()
        for _ in range(TRIES):
            with pytest.raises(SessionError, match="it is full"):
                if way == "ipc":
                    async with chanlink.connect(Local("host", service="echo", folder=tmp_path)):
                        pass
                else:
                    async with chanlink.listen(chanlink.Advertised("echo", folder=tmp_path)):
                        pass
        refusing.join()


TRIES = 50


def _refuse_each(sock: socket.socket, count: int) -> None:
    for _ in range(count):
        connection, _ = sock.accept()
        connection.send(Refused(code="busy", text="it is full").packed())
        connection.close()
