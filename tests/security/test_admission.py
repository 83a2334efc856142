"""Strangers must not keep good clients out: who has to go when there are too many, and who is not let in at all."""

import logging
import os
import resource
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed, HandshakeError, Identity, Limits, RemoteProtocolError, SessionClosed, Trust
from chanlink.security import admission
from chanlink.security.admission import Admission, Visitor, source_of
from chanlink.security.handshake import Credentials, handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.trust import Grant
from chanlink.transport.sockets import SocketTransport
from tests.leaks import Leaks
from tests.patience import PATIENCE, until

from .wires import HELLO, prefixed

pytestmark = pytest.mark.anyio

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")
EVERYBODY = Trust.of(ALICE.public_key)


class Gone:
    """Remembers who was sent away."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def leave(self, name: str) -> Callable[[], None]:
        return lambda: self.names.append(name)


def admit(count: int, **limits: Any) -> tuple[Admission, Gone, list[Visitor]]:
    room, gone = Admission(Limits(**limits)), Gone()
    return room, gone, [room.enter("", gone.leave(str(number))) for number in range(count)]


# --- who has to go --------------------------------------------------------------------------------------


def test_of_too_many_the_one_silent_longest_goes_though_others_are_older() -> None:
    room, gone, visitors = admit(3, unauthenticated=3)
    room.spoke(visitors[0], 0.0)
    for name in ("3", "4"):
        room.enter("", gone.leave(name))
    assert gone.names == ["1", "2"]
    assert visitors[1].was_sent_away
    assert not visitors[0].was_sent_away
    assert len(room) == 3


def test_when_all_have_spoken_a_random_one_goes() -> None:
    first = set()
    for _ in range(200):
        room, gone, visitors = admit(4, unauthenticated=4)
        for visitor in visitors:
            room.spoke(visitor, 0.0)
        room.enter("", gone.leave("new"))
        assert len(gone.names) == 1
        first.add(gone.names[0])
    assert first == {"0", "1", "2", "3"}


def test_a_good_client_is_not_the_one_to_go_while_most_of_the_others_dribble() -> None:
    """They fill the room, and more of them come: who has just connected is silent for a round trip."""
    served = 0
    for _ in range(50):
        room, _, dribblers = admit(1_000)
        for visitor in dribblers:
            room.spoke(visitor, 0.0)
        good = room.enter("", lambda: None)
        for number in range(30):
            if number == 10:
                room.spoke(good, 0.0)
            room.spoke(room.enter("", lambda: None), 0.0)
        served += not good.was_sent_away
    assert served > 40  # 49 of 50 are to be expected


def test_who_left_by_itself_makes_room_and_who_was_sent_away_comes_not_back() -> None:
    room, gone, visitors = admit(2, unauthenticated=2)
    room.left(visitors[0])
    room.enter("", gone.leave("2"))
    assert gone.names == []
    room.enter("", gone.leave("3"))
    assert gone.names == ["1"]
    room.spoke(visitors[1], 0.0)
    room.left(visitors[1])
    assert len(room) == 2
    assert len(list(room)) == 2


def test_there_may_be_nobody_to_send_away() -> None:
    room, gone, _ = admit(0)
    assert not room.send_one_away()
    room.enter("", gone.leave("0"))
    assert room.send_one_away()
    assert gone.names == ["0"]
    assert not room.send_one_away()


# --- sources --------------------------------------------------------------------------------------------


def fail(room: Admission, source: str, now: float = 0.0, *, spoke: bool = True, sent_away: bool = False) -> bool:
    """Somebody comes from there, says something or not, and fails."""
    visitor = room.enter(source, lambda: None)
    if spoke:
        room.spoke(visitor, now)
    if sent_away:
        assert room.send_one_away()
    room.left(visitor)
    return room.failed(visitor, now)


def has_turn(room: Admission, source: str, now: float) -> bool:
    return room.spoke(room.enter(source, lambda: None), now)


def test_a_source_that_fails_too_often_has_few_handshakes_a_second_and_others_have_all() -> None:
    room = Admission(Limits(source_failures=3, suspect_handshakes=2))
    assert [fail(room, "192.0.2.1", 10.0) for _ in range(5)] == [False, False, True, False, False]
    assert [has_turn(room, "192.0.2.1", 10.0) for _ in range(4)] == [False] * 4  # the last two failures had those
    assert [has_turn(room, "192.0.2.1", 10.9) for _ in range(4)] == [True] + [False] * 3
    assert all(has_turn(room, "192.0.2.2", 10.9) for _ in range(100))
    assert all(has_turn(room, "192.0.2.1", 11.0) for _ in range(100))  # a failure was forgiven
    assert fail(room, "192.0.2.1", 11.0)
    assert [has_turn(room, "192.0.2.1", 11.0) for _ in range(4)] == [True] + [False] * 3
    assert all(has_turn(room, "192.0.2.1", 100.0) for _ in range(100))


def test_all_sources_that_come_last_share_what_a_processor_can_bear() -> None:
    room = Admission(Limits(source_failures=1, suspect_handshakes=2))
    sources = [f"192.0.2.{number}" for number in range(100)]
    for source in sources:
        fail(room, source)
    assert sum(has_turn(room, source, 0.0) for source in sources * 2) == 2 * admission.ALL_SUSPECTS


def test_when_room_is_made_among_those_who_speak_the_sources_that_fail_go_first() -> None:
    room, gone = Admission(Limits(unauthenticated=4, source_failures=1)), Gone()
    fail(room, "192.0.2.1")
    for name in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"):
        room.spoke(room.enter(name, gone.leave(name)), 0.0)
    for number in range(2):
        room.enter("192.0.2.3", gone.leave("new"))
        assert gone.names == ["192.0.2.1"] * (number + 1)


@pytest.mark.parametrize("how", [{"spoke": False}, {"sent_away": True}, {"spoke": False, "sent_away": True}], ids=str)
def test_what_is_nobodys_fault_costs_nothing(how: dict[str, bool]) -> None:
    room = Admission(Limits(source_failures=1))
    for _ in range(5):
        assert not fail(room, "192.0.2.1", **how)
    assert all(has_turn(room, "192.0.2.1", 0.0) for _ in range(100))


def test_who_had_no_turn_is_not_charged_for_that() -> None:
    room = Admission(Limits(source_failures=1, suspect_handshakes=1))
    for _ in range(50):
        fail(room, "192.0.2.1")
    assert room._suspects["192.0.2.1"].failures.left(1.0) == 1


def test_sources_are_addresses_and_networks_of_64_bits() -> None:
    assert source_of(("192.0.2.1", 5)) == source_of(("192.0.2.1", 6)) == "192.0.2.1"
    assert source_of(("2001:db8::1", 5, 0, 0)) == source_of(("2001:db8::ffff:1:2:3", 6, 0, 0))
    assert source_of(("2001:db8:0:1::1", 5, 0, 0)) != source_of(("2001:db8::1", 5, 0, 0))
    assert source_of(("fe80::1%eth0", 5, 0, 2)) == "fe80::/64"
    assert source_of("") == source_of(b"") == ""


@pytest.mark.parametrize("address", [("127.0.0.1", 5), ("::1", 5, 0, 0), "", b""], ids=str)
def test_this_machine_is_not_charged(address: object) -> None:
    room, source = Admission(Limits(source_failures=1)), source_of(address)
    for _ in range(5):
        assert not fail(room, source)
    assert has_turn(room, source, 0.0)
    assert not room._suspects


def test_what_is_remembered_of_sources_is_bounded_and_who_failed_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_SOURCES", 10)
    room = Admission(Limits(source_failures=1))
    for number in range(1_000):
        fail(room, "the same")
        fail(room, str(number))
    assert len(room._suspects) == 10
    assert {"the same", "999"} <= set(room._suspects)


# --- a listener -----------------------------------------------------------------------------------------


async def echo(requests: Any, peer: chanlink.Peer) -> None:
    async for request in requests:
        await request["reply"].send(request["say"])


@asynccontextmanager
async def serving(
    trust: Trust = EVERYBODY, psk: bytes | None = None, **limits: Any
) -> AsyncIterator[chanlink.Listener]:
    options: Any = {"identity": SERVER, "trust": trust, "services": {"echo": echo}, "limits": Limits(**limits)}
    async with chanlink.listen("tcp://127.0.0.1:0", psk=psk, **options) as listener:
        yield listener
    assert not listener._greeting
    assert not listener._seats


def connect(listener: chanlink.Listener, address: Any = None, **options: Any) -> Any:
    defaults: dict[str, Any] = {"identity": ALICE, "peer": SERVER.public_key}
    return chanlink.connect(address or listener.addresses[0], **defaults | options)


async def ask(listener: chanlink.Listener, address: Any = None, **options: Any) -> None:
    with anyio.fail_after(PATIENCE):
        async with (
            connect(listener, address, **options) as session,
            await session.open("echo") as requests,
        ):
            reply: Any
            replies: Any
            reply, replies = chanlink.pipe()
            await requests.send({"say": "hello", "reply": reply})
            assert await replies.receive() == "hello"


def dial(listener: chanlink.Listener, source: str = "127.0.0.1") -> socket.socket:
    address = ("127.0.0.1", int(listener.addresses[0].rpartition(":")[2]))
    return socket.create_connection(address, source_address=(source, 0))


def is_closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


async def test_a_good_client_is_served_while_silent_and_dribbling_strangers_fill_the_room() -> None:
    async with serving(unauthenticated=20, handshake=600, source_failures=10**6) as listener, AsyncExitStack() as stack:
        dribblers = [stack.enter_context(dial(listener)) for _ in range(10)]
        for sock in dribblers:
            sock.send(b"c")
        await until(lambda: len(listener._greeting._speaking) == 10)
        silent = [stack.enter_context(dial(listener)) for _ in range(30)]
        await until(lambda: sum(map(is_closed, silent)) == 20)
        assert [is_closed(sock) for sock in silent] == [True] * 20 + [False] * 10
        assert not any(map(is_closed, dribblers))
        for _ in range(5):
            await ask(listener)
        for sock in silent:
            sock.close()
        more = [stack.enter_context(dial(listener)) for _ in range(30)]
        for sock in more:
            sock.send(b"c")
        await until(lambda: len(listener._greeting._speaking) >= 19)
        await ask(listener)
        await until(lambda: sum(map(is_closed, dribblers + more)) >= 20)


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without being told")
BAD = "127.0.0.2"


async def fail_from(listener: chanlink.Listener, said: bytes, count: int, source: str = BAD) -> None:
    for _ in range(count):
        with dial(listener, source) as stranger:
            stranger.send(said)
            stranger.shutdown(socket.SHUT_WR)
            await until(lambda stranger=stranger: is_closed(stranger))


@only_linux
async def test_a_good_client_of_an_address_that_fails_all_the_time_is_served(
    caplog: pytest.LogCaptureFixture, no_leaks: Leaks
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with serving(source_failures=3) as listener:
        await fail_from(listener, b"GET / HTTP/1.1\r\n\r\n", 10)
        assert caplog.text.count("come last for now") >= 1
        assert caplog.text.count("does not speak chanlink") == 10
        for _ in range(5):
            await ask(listener, SocketTransport(dial(listener, BAD)))
            await ask(listener)


@only_linux
@pytest.mark.parametrize("psk", [None, bytes(32)], ids=["", "psk"])
async def test_a_client_that_has_no_turn_is_told_so_and_others_are_served(
    psk: bytes | None, caplog: pytest.LogCaptureFixture, no_leaks: Leaks
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chanlink.session.listening.time", clock)
        async with serving(source_failures=2, suspect_handshakes=3, psk=psk) as listener:
            await fail_from(listener, b"GET / HTTP/1.1\r\n\r\n", 5)
            suspect = listener._greeting._suspects[BAD]
            assert suspect.turns.left(0.0) == 0
            for _ in range(3):
                with pytest.raises(SessionClosed, match="try again later") as caught:
                    await ask(listener, SocketTransport(dial(listener, BAD)), psk=psk)
                assert caught.value.code == "busy"
            assert "too many handshakes of that address" in caplog.text
            await ask(listener, SocketTransport(dial(listener, "127.0.0.3")), psk=psk)
            clock.now += 1 / 3  # one more turn, and no failure is forgiven yet
            await ask(listener, SocketTransport(dial(listener, BAD)), psk=psk)
            clock.now += 1
            for _ in range(5):
                await ask(listener, SocketTransport(dial(listener, BAD)), psk=psk)


@only_linux
async def test_who_has_no_turn_and_lacks_the_pre_shared_key_is_told_nothing(no_leaks: Leaks) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chanlink.session.listening.time", Clock())
        async with serving(source_failures=1, suspect_handshakes=1, psk=bytes(32)) as listener:
            await fail_from(listener, b"GET / HTTP/1.1\r\n\r\n", 3)
            for psk in (None, bytes([1] * 32)):
                with pytest.raises(HandshakeError):
                    await ask(listener, SocketTransport(dial(listener, BAD)), psk=psk)


class Clock:
    """In the place of the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@only_linux
@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["health checks", "junk"])
async def test_empty_connections_and_those_of_this_machine_are_not_charged(said: bytes, no_leaks: Leaks) -> None:
    async with serving(source_failures=2) as listener:
        await fail_from(listener, said, 5, "127.0.0.1" if said else BAD)
        assert not listener._greeting._suspects


async def test_good_clients_are_not_charged() -> None:
    async with serving(source_failures=2) as listener:
        for _ in range(5):
            await ask(listener)
        assert not listener._greeting._suspects


# --- how many sessions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"sessions": 3}, {"sessions_per_key": 3}, {"sessions": 9, "sessions_per_key": 3}])
async def test_one_session_too_many_is_told_busy_and_the_others_go_on(
    limits: dict[str, int], caplog: pytest.LogCaptureFixture, no_leaks: Leaks
) -> None:
    async with serving(**limits) as listener:
        for _ in range(2):
            async with AsyncExitStack() as stack:
                sessions = [await stack.enter_async_context(connect(listener)) for _ in range(3)]
                for _ in range(3):
                    with pytest.raises(SessionClosed, match="sessions") as caught:
                        await ask(listener)
                    assert caught.value.code == "busy"
                async with connect(listener, eager=True) as eager:  # it goes on before it is welcome
                    assert (await eager.wait_closed()).args == caught.value.args
                for session in sessions:
                    assert await session.ping() > 0
                assert len(listener._seats) == 3
            await until(lambda: not listener._seats)
        assert "busy" in caplog.text
        assert not listener._greeting._suspects


async def test_sessions_of_a_key_are_no_concern_of_another_one(no_leaks: Leaks) -> None:
    bob = Identity.generate("bob")
    async with serving(trust=Trust.of(ALICE.public_key, bob.public_key), sessions_per_key=1) as listener:
        async with connect(listener), connect(listener, identity=bob) as session:
            assert await session.ping() > 0
            with pytest.raises(SessionClosed, match="busy"):
                await ask(listener)
        await until(lambda: not listener._seats)
        await ask(listener)


@only_linux
async def test_strangers_who_make_keys_as_they_like_share_the_seats_of_their_address(no_leaks: Leaks) -> None:
    async with serving(trust=Trust.anyone(["echo"]), sessions_per_key=2) as listener, AsyncExitStack() as stack:

        async def join(source: str | None) -> None:
            address = SocketTransport(dial(listener, source)) if source else None
            await stack.enter_async_context(connect(listener, address, identity=Identity.generate()))

        await join(BAD)
        await join(BAD)
        with pytest.raises(SessionClosed, match="your address has 2 sessions"):
            await join(BAD)
        await join("127.0.0.3")
        for _ in range(3):  # from this machine itself
            await join(None)


async def test_a_client_that_goes_before_its_welcome_keeps_no_seat(no_leaks: Leaks) -> None:
    async with serving(sessions=1) as listener:
        for _ in range(3):
            credentials, transport = Credentials(ALICE, Role.CLIENT), SocketTransport(dial(listener))
            await handshake_as_client(transport, credentials, lambda key: Grant("", None), Limits(), eager=True)
            await transport.aclose()
            await until(lambda: not listener._greeting and not listener._seats)
        await ask(listener)


async def test_running_out_of_descriptors_sends_silent_strangers_away_and_a_good_client_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(handshake=600) as listener:
        port = int(listener.addresses[0].rpartition(":")[2])
        good = socket.socket()  # while there are descriptors
        # In another process, which has a table of its own, and is given time to connect all of them.
        code = (
            "import socket, sys, time\n"
            f"made = [socket.create_connection(('127.0.0.1', {port})) for _ in range(100)]\n"
            "print('done', flush=True); sys.stdin.read()"
        )
        lowest = os.dup(0)
        os.close(lowest)
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as strangers:
            assert strangers.stdout is not None
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 30, hard))
            try:
                await until(lambda: "can't accept connections" in caplog.text)
                good.connect(("127.0.0.1", port))
                await ask(listener, SocketTransport(good))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                strangers.kill()
        assert 1 <= caplog.text.count("can't accept connections") <= 10  # one a second
        await until(lambda: not listener._greeting)


FIRST = HELLO + prefixed(bytes([9] + [0] * 31))
SAID = {
    "silent": b"",
    "has begun": HELLO[:10],
    "was answered": FIRST,
    "one byte is missing": FIRST + b"\x10\0" + bytes(4_095),
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
async def test_an_unauthenticated_connection_holds_16_kib_at_most(said: bytes, anyio_backend: Any) -> None:
    count = 300
    async with serving(handshake=600) as listener, AsyncExitStack() as stack:
        await ask(listener)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(count):
                stack.enter_context(dial(listener)).send(said)
            await until(lambda: len(listener._greeting) == count)
            if said:
                await until(lambda: len(listener._greeting._speaking) == count)
            await anyio.wait_all_tasks_blocked()
            await anyio.sleep(0.1)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (after - before) / count < 16_384


# --- what is logged -------------------------------------------------------------------------------------


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
        await ask(listener)
        with dial(listener) as stranger:
            stranger.send(b"\n\x1b[31mGET / HTTP/1.1\r\n\r\n")
            await until(lambda: is_closed(stranger))
    assert caplog.records
    for record in caplog.records:
        assert record.name.startswith("chanlink.")
        assert record.getMessage().isprintable()
    text = caplog.text
    assert "alice connected from 127.0.0.1" in text
    assert ALICE.public_key.fingerprint in text
    assert "does not speak chanlink" in text
