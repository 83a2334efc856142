"""A client whose connection breaks comes back to its session, and nothing of it is lost."""

import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, ByteStreamConnectable, Process

import chanlink
from chanlink import (
    ConnectionLost,
    Identity,
    KnownPeers,
    Limits,
    Listener,
    Sender,
    Session,
    SessionClosed,
    SessionError,
    SessionLost,
    Trust,
    UntrustedPeer,
)
from chanlink.backoff import FIRST
from chanlink.session import coming_back
from chanlink.session.coming_back import LONGEST_PAUSE, pauses
from tests.patience import PATIENCE, until
from tests.session.endpoints import ALICE, BOB, SERVER, SERVICES, ask, connect, listen, port_of, serving
from tests.session.ways import Way, way_to

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


@asynccontextmanager
async def broken_now_and_then(**options: Any) -> AsyncIterator[tuple[Session, Way, Listener]]:
    """A session that may be resumed, and the way to its server."""
    limits = {"limits": options.pop("server_limits", Limits())}
    async with (
        serving(**limits) as listener,
        way_to(listener) as way,
        connect(way.address, **{"resume": 60} | options) as session,
    ):
        yield session, way, listener


def test_the_first_attempt_is_made_at_once_and_the_others_after_random_pauses_that_grow() -> None:
    many = [[pause for _, pause in zip(range(12), pauses(), strict=False)] for _ in range(200)]
    assert {one[0] for one in many} == {0.0}
    for number in range(1, 12):
        longest = min(FIRST * 2 ** (number - 1), LONGEST_PAUSE)
        found = [one[number] for one in many]
        assert max(found) <= longest
        assert max(found) > longest / 2 > min(found)
    assert min(FIRST * 2**11, LONGEST_PAUSE) == LONGEST_PAUSE


async def test_a_session_goes_on_after_its_connection_is_cut() -> None:
    async with broken_now_and_then() as (session, way, listener):
        assert (await ask(session))["pong"] == 7
        (other,) = listener.sessions
        for cuts in range(1, 4):
            way.cut()
            assert (await ask(session))["pong"] == 7
            await until(lambda: session.state == "open")
            assert listener.sessions == [other]
            assert way.taken == 1 + cuts


async def test_what_was_sent_before_the_cut_arrives_once_and_in_order() -> None:
    async with listen() as listener, way_to(listener) as way, connect(way.address, resume=60) as session:
        other = await listener.accept()
        sender = await session.open("numbers")
        receiver = (await other.accept()).end
        got: list[int] = []

        async def receive() -> None:
            async for number in receiver:
                got.append(number)
                if number % 400 == 0:
                    way.cut()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for number in range(2_000):
                await sender.send(number)
            await sender.aclose()
        assert got == list(range(2_000))
        assert way.taken > 2


async def over(session: Session) -> SessionError:
    with anyio.fail_after(PATIENCE):
        return await session.wait_closed()


# --- who may, and for how long ----------------------------------------------------------------------------


@pytest.mark.parametrize(("resume", "limit"), [(0, 60), (60, 0)], ids=["not asked for", "not allowed"])
async def test_without_a_grant_a_connection_that_breaks_is_the_end(resume: float, limit: float) -> None:
    async with broken_now_and_then(resume=resume, server_limits=Limits(resume=limit)) as (session, way, _):
        way.cut()
        cause = await over(session)
        assert isinstance(cause, ConnectionLost)
        assert way.taken == 1


@pytest.mark.parametrize(("resume", "limit"), [(1.0, 60), (60, 1.0)], ids=["asked for", "allowed"])
async def test_after_the_time_that_was_granted_the_session_is_lost(resume: float, limit: float) -> None:
    async with broken_now_and_then(resume=resume, server_limits=Limits(resume=limit)) as (session, way, _):
        way.close()
        cause = await over(session)
        assert isinstance(cause, ConnectionLost)
        assert str(cause) == "the connection was away for more than 1 s"
        assert way.taken > 1


async def test_a_session_with_a_pre_shared_key_is_resumed_as_others_are() -> None:
    async with (
        serving(psk=b"k" * 32) as listener,
        way_to(listener) as way,
        connect(way.address, resume=60, psk=b"k" * 32) as session,
    ):
        way.cut()
        assert (await ask(session))["pong"] == 7
        assert way.taken == 2


async def test_secrets_stay_those_of_the_first_handshake() -> None:
    async with broken_now_and_then() as (session, way, listener):
        (other,) = listener.sessions
        before = session.id, session.exporter("for the application", 32)
        way.cut()
        await ask(session)
        assert way.taken == 2
        assert (session.id, session.exporter("for the application", 32)) == before
        assert (other.id, other.exporter("for the application", 32)) == before


async def test_a_reason_to_try_again_ends_the_pause_between_two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coming_back, "pauses", lambda: iter([0.0, *[10.0 * PATIENCE] * 9]))
    async with broken_now_and_then(resume=100 * PATIENCE) as (session, way, _):
        way.close()
        await until(lambda: way.taken == 2)
        way.is_open = True
        while session.state == "away":
            session.check()
            await anyio.sleep(0.01)
        assert (await ask(session))["pong"] == 7


class Connects(ByteStreamConnectable):
    """A way to a server that is no address."""

    def __init__(self, way: Way) -> None:
        self.port = int(way.address.rpartition(":")[2])

    async def connect(self) -> ByteStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)


async def test_who_connects_by_something_of_its_own_comes_back_by_that() -> None:
    async with (
        serving() as listener,
        way_to(listener) as way,
        connect(Connects(way), resume=60) as session,
    ):
        for number in range(2, 5):
            way.cut()
            assert (await ask(session))["pong"] == 7
            assert way.taken == number


# --- what is at the address ---------------------------------------------------------------------------------


async def test_a_server_that_was_started_anew_is_the_end_at_once() -> None:
    async with broken_now_and_then() as (session, way, _), serving() as another:
        way.port = port_of(another)
        way.cut()
        cause = await over(session)
        assert isinstance(cause, ConnectionLost)
        assert str(cause) == "the server was restarted, and has no such session"
        assert way.taken == 2


async def test_another_key_at_the_address_is_passed_over_and_learns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with broken_now_and_then() as (session, way, listener), serving(identity=BOB) as another:
        way.port = port_of(another)
        way.cut()
        await until(lambda: way.taken > 3)
        assert session.state == "away"
        way.port = port_of(listener)
        assert (await ask(session))["pong"] == 7
        assert not another.sessions
    assert len([one for one in caplog.messages if "is lost, and made anew" in one]) == 1
    assert len([one for one in caplog.messages if "back at" in one]) == 1


async def test_where_nobody_answers_another_attempt_is_made() -> None:
    async with broken_now_and_then(limits=Limits(handshake=0.5)) as (session, way, _):
        way.stop()
        way.cut()
        await until(lambda: way.taken > 2)
        way.passes.set()
        assert (await ask(session))["pong"] == 7


async def test_of_several_who_share_an_address_the_right_one_is_found() -> None:
    async with (
        listen(services=SERVICES, shared=True) as first,
        connect(first.addresses[0], resume=60) as session,
        listen(first.addresses[0], services=SERVICES, shared=True) as second,
    ):
        for _ in range(5):
            session._below.survives(ConnectionLost("the network is another one"))
            assert (await ask(session))["pong"] == 7
        assert len(first.sessions) == 1
        assert not second.sessions


# --- what the file of known peers says by now -------------------------------------------------------------


@asynccontextmanager
async def by_a_file(path: Path) -> AsyncIterator[tuple[Session, Way, str]]:
    """A session with the server that a file knows, the way to it, and what the file says."""
    async with serving() as listener, way_to(listener) as way:
        text = f"[127.0.0.1]:{way.address.rpartition(':')[2]} {SERVER.public_key}\n"
        path.write_text(text)
        async with connect(way.address, peer=None, trust=KnownPeers.load(path), resume=60) as session:
            yield session, way, text


async def test_a_server_whose_key_was_revoked_meanwhile_is_not_gone_back_to(tmp_path: Path) -> None:
    path = tmp_path / "known_peers"
    async with by_a_file(path) as (session, way, text):
        path.write_text(f"{text}@revoked * {SERVER.public_key}\n")
        assert (await ask(session))["pong"] == 7
        way.cut()
        cause = await over(session)
        assert isinstance(cause, UntrustedPeer)
        assert str(path) in str(cause)
        assert way.taken == 1


async def test_while_the_file_can_not_be_read_a_client_stays_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "known_peers"
    async with by_a_file(path) as (session, way, text):
        path.write_text(f"{text}@revok* {SERVER.public_key}\n")
        way.cut()
        await until(lambda: any(f"{path}:2: " in one for one in caplog.messages))
        assert (session.state, way.taken) == ("away", 1)
        path.write_text(text)
        assert (await ask(session))["pong"] == 7
        assert way.taken == 2


# --- what has changed at the server -----------------------------------------------------------------------


async def test_a_connection_that_still_lives_is_replaced_by_the_one_that_comes_back() -> None:
    async with broken_now_and_then() as (session, way, listener):
        (other,) = listener.sessions
        for number in range(2, 5):
            session._below.survives(ConnectionLost("the network is another one"))  # the server knows of nothing
            assert (await ask(session))["pong"] == 7
            assert way.taken == number
        assert listener.sessions == [other]


async def test_a_key_that_is_not_trusted_any_more_ends_a_session_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "trusted"
    path.write_text(f"{ALICE.public_key}\n")
    limits = Limits(trust_interval=0.02)
    async with (
        serving(trust=Trust.load(path), limits=limits) as listener,
        way_to(listener) as way,
        connect(way.address, resume=60) as session,
    ):
        way.close()
        await until(lambda: session.state == "away")
        path.write_text(f"{BOB.public_key}\n")
        await until(lambda: not listener.sessions)
        way.is_open = True
        cause = await over(session)
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"


async def test_who_comes_back_to_a_session_that_was_closed_meanwhile_is_told_so() -> None:
    limits = Limits(close=0.3)
    async with (
        listen(limits=limits) as listener,
        way_to(listener) as way,
        connect(way.address, resume=60) as session,
    ):
        other = await listener.accept()
        way.close()
        await until(lambda: session.state == "away" == other.state)
        await other.aclose()
        way.is_open = True
        cause = await over(session)
        assert isinstance(cause, SessionClosed)
        assert cause.code == ""


async def test_a_listener_that_is_closed_does_not_wait_for_those_who_are_away_or_go_away() -> None:
    limits = Limits(close=10 * PATIENCE)
    async with (
        listen(limits=limits) as listener,
        way_to(listener) as way,
        connect(way.address, resume=60, limits=Limits(close=0.1)),
        connect(way.address, resume=60, limits=Limits(close=0.1)),
    ):
        first, second = await listener.accept(), await listener.accept()
        next(iter(way.connections)).cancel()
        await until(lambda: "away" in (first.state, second.state))
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.drain, 10 * PATIENCE)
                await until(lambda: len(listener.sessions) == 1)
                (left,) = listener.sessions
                way.close()
                assert str(await over(left)) == "the client was away when the listener was closed"
        assert not listener.sessions


async def test_when_too_many_of_a_key_are_away_the_longest_is_gone() -> None:
    async with (
        serving(limits=Limits(away_per_key=1)) as listener,
        way_to(listener) as way,
        connect(way.address, resume=60) as one,
        connect(way.address, resume=60) as other,
    ):
        way.close()
        await until(lambda: one.state == "away" == other.state)
        await until(lambda: len(listener.sessions) == 1)
        way.is_open = True
        await until(lambda: one.closed or other.closed)
        lost, kept = (one, other) if one.closed else (other, one)
        assert str(await over(lost)) == "the server has given the session up"
        assert (await ask(kept))["pong"] == 7


async def test_the_server_knows_where_the_client_is_now() -> None:
    async with broken_now_and_then() as (session, way, listener):
        (other,) = listener.sessions
        before = other.peer.address
        assert (await ask(session))["from"] == before
        way.cut()
        after = (await ask(session))["from"]
        assert after != before
        assert other.peer.address == after


# --- processes ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_server(key: Path, port: int = 0) -> AsyncIterator[tuple[Process, str]]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-m", "tests.session.resumed_server", str(key), str(port)]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
        assert process.stdout is not None
        try:
            yield process, (await process.stdout.receive()).decode().strip()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()


async def next_number(requests: Sender[Any]) -> int:
    reply, replies = chanlink.pipe()
    await requests.send(reply)
    number: int = await replies.receive()
    return number


async def test_a_server_that_was_killed_and_started_anew_is_known_at_once(tmp_path: Path) -> None:
    server = Identity.generate()
    server.save(tmp_path / "key")
    async with a_server(tmp_path / "key") as (process, address):
        port = int(address.rpartition(":")[2])
        async with connect(address, peer=server.public_key, resume=10 * PATIENCE) as session:
            requests: Sender[Any] = await session.open("count")
            assert await next_number(requests) == 1
            process.kill()
            await until(lambda: session.state == "away")
            async with a_server(tmp_path / "key", port):
                assert str(await over(session)) == "the server was restarted, and has no such session"
                with pytest.raises(SessionLost):
                    await next_number(requests)


async def test_a_server_process_counts_on_over_many_connections(tmp_path: Path) -> None:
    server = Identity.generate()
    server.save(tmp_path / "key")
    async with (
        a_server(tmp_path / "key") as (_, address),
        way_to(int(address.rpartition(":")[2])) as way,
        connect(way.address, peer=server.public_key, resume=PATIENCE) as session,
    ):
        requests: Sender[Any] = await session.open("count")
        for number in range(1, 31):
            assert await next_number(requests) == number
            if number % 3 == 0:
                way.cut()
        assert way.taken > 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a machine acknowledges")
async def test_a_client_that_is_only_stopped_is_not_away_and_one_that_is_killed_is(tmp_path: Path) -> None:
    async with serving(limits=Limits(keepalive=0.1, peer_timeout=0.3)) as listener:
        ALICE.save(tmp_path / "key")
        command = [sys.executable, "-c", STOPPED, str(tmp_path / "key"), str(SERVER.public_key), listener.addresses[0]]
        async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
            await until(lambda: listener.sessions)
            (session,) = listener.sessions
            states = [session.state]
            process.send_signal(signal.SIGSTOP)
            for _ in range(30):
                await anyio.sleep(0.1)
                states.append(session.state)
            process.send_signal(signal.SIGCONT)
            await session.ping()
            assert set(states) == {"open"}
            process.kill()
            await until(lambda: session.state == "away")


STOPPED = """
import sys, anyio, chanlink
async def main():
    key = chanlink.PublicKey.parse(sys.argv[2])
    async with chanlink.connect(sys.argv[3], identity=chanlink.Identity.load(sys.argv[1]), peer=key, resume=600):
        await anyio.sleep_forever()
anyio.run(main)
"""
