"""The control line of a client's session: what the daemon says ends the session, and its restart does not."""

from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import SessionClosed
from chanlink.handover.messages import Changed, Over
from tests.patience import until

from .test_local_connecting import call, world

pytestmark = pytest.mark.anyio


async def test_a_session_that_the_daemon_revokes_ends_on_both_sides(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, listener, local), chanlink.connect(local) as session:
        assert await call(session, "hello") == ["hello", "alice"]
        [other] = listener.sessions
        daemon.tell(Over(id=daemon.handed[0].id, code="revoked"))
        for cause in (await session.wait_closed(), await other.wait_closed()):
            assert isinstance(cause, SessionClosed)
            assert cause.code == "revoked"


async def test_a_session_that_has_expired_ends_as_expired(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local):
        for number, says in enumerate(["over", "changed"]):
            async with chanlink.connect(local, limits=chanlink.Limits(keepalive=0.2)) as session:
                assert await call(session, "hello") == ["hello", "alice"]
                id = daemon.handed[number].id
                daemon.tell(Over(id=id, code="expired") if says == "over" else Changed(id=id, expires=1))
                cause = await session.wait_closed()
                assert isinstance(cause, SessionClosed)
                assert cause.code == "expired"


async def test_what_expires_is_over_also_without_the_daemon(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local):
        daemon.expires = 1
        async with chanlink.connect(local, limits=chanlink.Limits(keepalive=0.2)) as session:
            daemon.stop()
            cause = await session.wait_closed()
            assert isinstance(cause, SessionClosed)
            assert cause.code == "expired"


async def test_a_server_is_called_as_the_daemon_calls_it(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local) as session:
        daemon.tell(Changed(id=daemon.handed[0].id, name="web2"))
        await until(lambda: session.peer.name == "web2")
        assert await call(session, "hello") == ["hello", "alice"]


async def test_what_is_said_of_another_session_means_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local) as session:
        line = daemon.lines[daemon.handed[0].id]
        line.send_now(Over(id=bytes(16), code="revoked"))
        line.send_now(Changed(id=bytes(16), name="somebody"))
        line.send_now(Changed(id=daemon.handed[0].id, name="web2"))
        await until(lambda: session.peer.name == "web2")
        assert await call(session, "hello") == ["hello", "alice"]


async def test_a_daemon_that_is_restarted_ends_no_session_and_is_obeyed_afterwards(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local) as session:
        id = daemon.handed[0].id
        for _ in range(2):
            daemon.stop()
            assert await call(session, "alone") == ["alone", "alice"]
            daemon.start(daemon._tasks, "echo")
            await until(lambda: id in daemon.lines)
        assert await call(session, "again") == ["again", "alice"]
        daemon.tell(Over(id=id, code="revoked"))
        assert isinstance(await session.wait_closed(), SessionClosed)


async def test_a_daemon_that_knows_the_session_no_more_revokes_it(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local) as session:
        daemon.stop()
        daemon.known.clear()
        daemon.start(daemon._tasks, "echo")
        cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"


async def test_a_daemon_that_says_what_it_may_not_is_left_and_asked_again(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local) as session:
        id = daemon.handed[0].id
        before = daemon.lines.pop(id)
        before.raw_socket.send(b"rubbish")
        await until(lambda: id in daemon.lines)
        assert daemon.lines[id] is not before
        assert await call(session, "hello") == ["hello", "alice"]


@pytest.mark.parametrize("how", ["left", "closed there", "aborted"])
async def test_the_line_ends_when_the_session_is_over_and_not_before(tmp_path: Path, how: str) -> None:
    async with world(tmp_path) as (daemon, listener, local):
        async with chanlink.connect(local, resume=30) as session:
            line = daemon.lines[daemon.handed[0].id]
            await anyio.wait_all_tasks_blocked()
            assert line.raw_socket.fileno() >= 0
            if how == "closed there":
                await listener.sessions[0].aclose()
            elif how == "aborted":
                session.abort()
            if how != "left":
                await session.wait_closed()
                await until(lambda: line.raw_socket.fileno() < 0)
        await until(lambda: line.raw_socket.fileno() < 0)


async def test_a_session_that_has_come_back_has_its_new_line(tmp_path: Path) -> None:
    async with world(tmp_path) as (daemon, _, local), chanlink.connect(local, resume=60) as session:
        id = daemon.handed[0].id
        before = daemon.lines[id]
        session._below._connection._transport.close_now()  # type: ignore[attr-defined]
        assert await call(session, "hello") == ["hello", "alice"]
        await until(lambda: before.raw_socket.fileno() < 0)
        assert daemon.lines[id] is not before
        daemon.tell(Over(id=id, code="revoked"))
        assert isinstance(await session.wait_closed(), SessionClosed)
