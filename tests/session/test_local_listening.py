"""Sessions by a daemon of this machine, as the server: who comes was let in by it, and its keys are worth nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    Advertised,
    ConfigError,
    ConnectFailed,
    Identity,
    Limits,
    SessionClosed,
    SessionError,
    Trust,
)
from chanlink.handover.messages import Changed, Ended, Over, Refused, Withdrawn
from tests.handover.little_daemon import LittleDaemon, little_daemon
from tests.patience import PATIENCE, until

from .test_local_connecting import SERVICES, call

pytestmark = pytest.mark.anyio

ALICE, HOST = Identity.generate("alice"), Identity.generate("host")


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[LittleDaemon]:
    """A daemon that trusts Alice for what it passes on."""
    async with little_daemon(folder, "echo", identity=HOST) as daemon:
        daemon.trust = Trust.of(ALICE.public_key)
        yield daemon


@asynccontextmanager
async def client(daemon: LittleDaemon, **options: Any) -> AsyncIterator[chanlink.Session]:
    options = {"identity": ALICE, "peer": HOST.public_key, "service": "echo"} | options
    async with chanlink.connect(daemon.address, **options) as session:
        yield session


async def test_a_client_of_the_daemon_is_one_like_others(tmp_path: Path) -> None:
    async with world(tmp_path) as daemon:
        async with chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES) as listener:
            assert listener.addresses == [daemon.address]
            async with client(daemon) as session:
                assert await call(session, "hello") == ["hello", "alice"]
                [other] = listener.sessions
                assert other.peer.key == ALICE.public_key
                assert other.peer.address == "somewhere:1"
                assert other.id == session.id
                await until(lambda: session._below.epoch == other._below.epoch == 1)
        await until(lambda: {type(one) for one in daemon.said} == {Withdrawn, Ended})
        assert not daemon.known


async def test_a_client_gets_the_service_that_is_advertised_and_no_other(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES),
        client(daemon) as session,
    ):
        with pytest.raises(chanlink.ChannelError):
            await call(session, "hello", "other")
        assert await call(session, "hello") == ["hello", "alice"]


async def test_sessions_are_accepted_as_those_of_any_listener(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path)) as listener,
        client(daemon) as session,
    ):
        sender = await session.open("echo")
        accepted = await listener.accept()
        incoming = await accepted.accept()
        await sender.send("hello")
        assert await incoming.end.receive() == "hello"


async def test_serve_takes_it_and_stops_in_order(tmp_path: Path) -> None:
    async with world(tmp_path) as daemon, anyio.create_task_group() as tasks:
        listener = await tasks.start(lambda task_status: _serve(tmp_path, task_status))
        async with client(daemon) as session:
            assert await call(session, "hello") == ["hello", "alice"]
            await listener.drain(PATIENCE)
            assert isinstance(await session.wait_closed(), SessionClosed)
        tasks.cancel_scope.cancel()


async def _serve(folder: Path, task_status: Any) -> None:
    await chanlink.serve(SERVICES, Advertised("echo", folder=folder), task_status=task_status)


async def test_strangers_do_not_reach_the_application(tmp_path: Path) -> None:
    async with world(tmp_path) as daemon, chanlink.listen(Advertised("echo", folder=tmp_path)) as listener:
        with pytest.raises(SessionError):
            async with client(daemon, identity=Identity.generate("mallory")):
                pass
        assert daemon.handed == []
        assert listener.sessions == []


async def test_two_applications_share_a_service_and_a_client_gets_to_one(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES) as first,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES) as second,
        client(daemon) as session,
    ):
        assert await call(session, "hello") == ["hello", "alice"]
        assert len(first.sessions) + len(second.sessions) == 1


@pytest.mark.parametrize(
    "given",
    [{"identity": ALICE}, {"trust": Trust.nobody()}, {"psk": bytes(32)}, {"shared": True}],
    ids=lambda given: next(iter(given)),
)
async def test_what_the_daemon_decides_is_not_said_to_it(tmp_path: Path, given: dict[str, Any]) -> None:
    listens: Any = chanlink.listen
    with pytest.raises(ConfigError, match="don't go with Advertised"):
        async with listens(Advertised("echo", folder=tmp_path), **given):
            pass


async def test_an_address_needs_a_trust() -> None:
    listens: Any = chanlink.listen
    with pytest.raises(TypeError, match="trust must be Trust"):
        async with listens("tcp://127.0.0.1:0"):
            pass


@pytest.mark.parametrize(
    ("code", "error"), [("stopping", ConnectFailed), ("busy", ConnectFailed), ("version", ConfigError)]
)
async def test_a_daemon_that_refuses_is_an_error_of_listen(tmp_path: Path, code: str, error: type[Exception]) -> None:
    async with world(tmp_path) as daemon:
        daemon.refuses = Refused(code=code, text="why")
        with pytest.raises(error, match="why"):
            async with chanlink.listen(Advertised("echo", folder=tmp_path)):
                pass


async def test_without_a_daemon_nothing_is_advertised(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="chanlink daemon"):
        async with chanlink.listen(Advertised("echo", folder=tmp_path)):
            pass


async def test_a_listener_has_as_many_sessions_as_its_limits_say(tmp_path: Path) -> None:
    advertised = Advertised("echo", folder=tmp_path)
    async with world(tmp_path) as daemon, chanlink.listen(advertised, services=SERVICES, limits=Limits(sessions=1)):
        async with client(daemon) as session:
            with pytest.raises(SessionClosed) as caught:
                async with client(daemon):
                    pass
            assert caught.value.code == "busy"
            assert await call(session, "hello") == ["hello", "alice"]
        await until(lambda: not daemon.known)
        async with client(daemon) as session:
            assert await call(session, "hello") == ["hello", "alice"]


async def test_a_client_sends_no_more_than_the_daemon_has_said(tmp_path: Path) -> None:
    async with little_daemon(tmp_path, "echo", identity=HOST, limits=Limits(message_size=5_000)) as daemon:
        daemon.trust = Trust.of(ALICE.public_key)
        async with chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES), client(daemon) as session:
            with pytest.raises(chanlink.MessageTooLarge):
                await call(session, "x" * 6_000)
            assert len((await call(session, "x" * 4_000))[0]) == 4_000


# --- what the daemon says -----------------------------------------------------------------------


async def test_a_session_that_the_daemon_revokes_ends_and_the_others_go_on(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES),
        client(daemon) as one,
        client(daemon) as other,
    ):
        daemon.tell(Over(id=daemon.handed[0].id, code="revoked"))
        cause = await one.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"
        assert await call(other, "hello") == ["hello", "alice"]
        await until(lambda: len(daemon.known) == 1)


async def test_a_session_expires_and_a_peer_is_called_otherwise_as_the_daemon_says(tmp_path: Path) -> None:
    advertised = Advertised("echo", folder=tmp_path)
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(advertised, services=SERVICES, limits=Limits(keepalive=0.2)) as listener,
        client(daemon) as session,
    ):
        id = daemon.handed[0].id
        daemon.tell(Changed(id=id, name="alice2"))
        await until(lambda: [one.peer.name for one in listener.sessions] == ["alice2"])
        assert await call(session, "hello") == ["hello", "alice2"]
        daemon.tell(Changed(id=id, expires=1))
        cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "expired"


async def test_a_daemon_that_is_restarted_ends_no_session_and_brings_new_ones(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES),
        client(daemon) as one,
        client(daemon) as other,
    ):
        daemon.stop()
        assert await call(one, "alone") == ["alone", "alice"]
        daemon.start(daemon._tasks, "echo")
        await until(lambda: len(daemon.lines) == 2)
        daemon.tell(Over(id=daemon.handed[0].id, code="revoked"))
        assert isinstance(await one.wait_closed(), SessionClosed)
        assert await call(other, "hello") == ["hello", "alice"]
        async with client(daemon) as third:
            assert await call(third, "hello") == ["hello", "alice"]


async def test_a_session_that_a_restarted_daemon_does_not_know_is_revoked(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES),
        client(daemon) as session,
    ):
        daemon.stop()
        daemon.known.clear()
        daemon.start(daemon._tasks, "echo")
        cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"


async def test_a_listener_that_drains_takes_no_more_also_of_a_daemon_that_was_restarted(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        anyio.create_task_group() as tasks,
        chanlink.listen(Advertised("echo", folder=tmp_path)) as listener,
        client(daemon) as session,
    ):
        await listener.accept()
        tasks.start_soon(listener.drain, PATIENCE)
        await until(lambda: daemon.said == [Withdrawn()])
        daemon.stop()
        daemon.start(daemon._tasks, "echo")
        await until(lambda: daemon.said == [Withdrawn(), Withdrawn()])
        assert daemon.advertising == {"echo": []}
        await session.aclose()


# --- coming back --------------------------------------------------------------------------------


async def test_what_is_handed_over_to_a_listener_that_was_closed_is_over(tmp_path: Path) -> None:
    """The daemon may not have read yet that no more is taken."""
    async with world(tmp_path) as daemon, chanlink.listen(Advertised("echo", folder=tmp_path)) as listener:
        [line] = daemon.advertising["echo"]
        await listener.aclose()
        await until(lambda: daemon.said == [Withdrawn()])
        daemon.advertising["echo"] = [line]
        with pytest.raises(SessionError):
            async with client(daemon):
                pass
        [handed] = daemon.handed
        await until(lambda: daemon.said == [Withdrawn(), Ended(id=handed.id)])
        assert not daemon.known


async def test_a_client_comes_back_to_its_session_by_the_daemon(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES) as listener,
        client(daemon, resume=60) as session,
    ):
        assert await call(session, "hello") == ["hello", "alice"]
        for number in range(3):
            session._below._connection._transport.close_now()  # type: ignore[attr-defined]
            assert await call(session, f"again {number}") == [f"again {number}", "alice"]
        assert [bool(handed.returns) for handed in daemon.handed] == [False, True, True, True]
        assert len({handed.id for handed in daemon.handed}) == 1
        [other] = listener.sessions
        assert other.id == session.id
        await until(lambda: session._below._connection.epoch == 1)  # type: ignore[attr-defined]


async def test_a_client_comes_back_by_a_daemon_that_was_restarted(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES),
        client(daemon, resume=60) as session,
    ):
        assert await call(session, "hello") == ["hello", "alice"]
        daemon.stop()
        session._below._connection._transport.close_now()  # type: ignore[attr-defined]
        await until(lambda: session.state == "away")
        daemon.start(daemon._tasks, "echo")
        assert await call(session, "again") == ["again", "alice"]


async def test_a_listener_that_grants_no_returns_grants_none_by_the_daemon(tmp_path: Path) -> None:
    advertised = Advertised("echo", folder=tmp_path)
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(advertised, services=SERVICES, limits=Limits(resume=0)),
        client(daemon, resume=60) as session,
    ):
        session._below._transport.close_now()  # type: ignore[attr-defined]
        assert isinstance(await session.wait_closed(), chanlink.ConnectionLost)


async def test_who_comes_back_without_a_proof_is_nobody(tmp_path: Path) -> None:
    """The daemon has all that it has handed over, and is not able to come back with it."""
    async with (
        world(tmp_path) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES),
        client(daemon, resume=60) as session,
        client(daemon, resume=60) as other,
    ):
        agreement = other._below._come_back.__self__._agreement  # type: ignore[attr-defined]
        way = session._below._come_back.__self__  # type: ignore[attr-defined]
        right, way._agreement = way._agreement, agreement._replace(secret=way._agreement.secret)
        session._below._connection._transport.close_now()  # type: ignore[attr-defined]
        await until(lambda: len(daemon.handed) >= 3)
        way._agreement = right
        assert await call(session, "again") == ["again", "alice"]
        assert await call(other, "hello") == ["hello", "alice"]
