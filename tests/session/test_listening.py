"""Listeners: who gets a session, and what is left when somebody leaves."""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop
from anyio.abc import TaskStatus

import chanlink
from chanlink import (
    ChannelFailed,
    ConfigError,
    ConnectFailed,
    HandshakeError,
    Identity,
    Limits,
    Listener,
    Peer,
    Receiver,
    RemoteProtocolError,
    Sender,
    Session,
    SessionClosed,
    SessionLost,
    Trust,
    UntrustedPeer,
)
from chanlink.errors import AddressError
from chanlink.session import session as session_module
from tests.patience import PATIENCE, until
from tests.security.wires import read_to_end
from tests.session.endpoints import (
    ALICE,
    BOB,
    EVERYBODY,
    SERVER,
    SERVICES,
    TCP,
    ask,
    assert_empty,
    connect,
    dial,
    greeter_of,
    listen,
    ping,
    refusal,
    serving,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


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


async def test_many_clients_at_once_and_nothing_is_left_of_them() -> None:
    async with serving() as listener:

        async def client() -> None:
            async with connect(listener.addresses[0]) as session:
                assert (await ask(session))["pong"] == 7

        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(client)
        await until(lambda: not listener.sessions)
        assert not greeter_of(listener).admission


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
                server._regrant(None)
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
        monkeypatch.setattr(session_module, "Session", Broken)
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
        static, _ = await greeter_of(listener).statics.current()
    text += caplog.text
    assert "alice@laptop connected" in text
    for identity in ALICE, SERVER:
        seed = identity._signer.seed  # type: ignore[attr-defined]
        assert seed.hex() not in text
        assert repr(seed)[2:-1] not in text
    assert static.private.hex() not in text


# --- accepting sessions ------------------------------------------------------------------------------


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
            await until(lambda: not listener.sessions)
            assert not listener._accepted
        async with connect(listener.addresses[0], identity=BOB):
            assert (await listener.accept()).peer.name == "bob"


# --- closing -----------------------------------------------------------------------------------------


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
        await until(lambda: not listener.sessions)


async def test_closing_the_listener_closes_who_is_in_the_handshake() -> None:
    async with listen(limits=Limits(handshake=600)) as listener:
        async with await dial(listener) as stranger:
            await until(lambda: greeter_of(listener).admission)
            await listener.aclose()
            with anyio.fail_after(PATIENCE):
                assert await read_to_end(stranger) == b""
        await until(lambda: not greeter_of(listener).admission)


async def test_who_passes_the_handshake_as_the_listener_closes_is_closed_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with listen() as listener:
        authenticate = greeter_of(listener).authenticate

        async def authenticate_and_close(*args: Any) -> Any:
            authenticated = await authenticate(*args)
            listener._stop()
            return authenticated

        monkeypatch.setattr(greeter_of(listener), "authenticate", authenticate_and_close)
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


# --- handlers ----------------------------------------------------------------------------------------


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


# --- leaving -----------------------------------------------------------------------------------------


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
                await until(lambda: len(greeter_of(listener).admission) == 1)
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
            await until(lambda: len(listener.sessions) == 3 and len(greeter_of(listener).admission) == 1)
            server_tasks.cancel_scope.cancel()
        assert_empty(listener)
        assert await read_to_end(stranger) == b""
        await stranger.aclose()
    assert [type(cause) for cause in causes] == [SessionClosed] * 3


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trust": "authorized_peers"}, "trust must be Trust, not str"),
        ({"trust": ALICE.public_key}, "trust must be Trust, not PublicKey"),
        ({"identity": "id_ed25519"}, "identity must be Identity or None, not str"),
        ({"services": ping}, "services must be functions by name"),
        ({"services": ["ping"]}, "services must be functions by name"),
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


# --- what is logged ---------------------------------------------------------------------------------


def test_words_of_peers_stay_in_their_line() -> None:
    for error in [
        SessionClosed("code", "one\ntwo\x1b[31m"),
        ChannelFailed("x\r\ny", "tab\there\u2028"),
        RemoteProtocolError("h2 says: b'\n'"),
    ]:
        assert str(error).isprintable()
    assert "\\n" in str(SessionClosed("code", "one\ntwo"))


async def test_an_event_is_one_line_under_a_logger_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "chanlink")
    async with serving() as listener:
        async with connect(listener.addresses[0]) as session:
            await ask(session)
        async with await dial(listener) as stranger:
            await stranger.send(b"\n\x1b[31mGET / HTTP/1.1\r\n\r\n")
            await read_to_end(stranger)
    assert caplog.records
    for record in caplog.records:
        assert record.name.startswith("chanlink.")
        assert record.getMessage().isprintable()
    text = caplog.text
    assert "alice@laptop connected from 127.0.0.1" in text
    assert ALICE.public_key.fingerprint in text
    assert "does not speak chanlink" in text


async def test_a_listener_says_where_it_listens_and_how_many_sessions_it_has() -> None:
    async with listen() as listener:
        [address] = listener.addresses
        assert repr(listener) == f"<Listener on {address}: open, sessions 0>"
        async with connect(address):
            await until(lambda: repr(listener) == f"<Listener on {address}: open, sessions 1>")
    assert repr(listener) == f"<Listener on {address}: closed, sessions 0>"
