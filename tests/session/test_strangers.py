"""Good clients among strangers: room for handshakes, sources that fail, and seats for sessions."""

import logging
import os
import resource
import socket
import subprocess
import sys
import tracemalloc
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import HandshakeError, Identity, Limits, SessionClosed, Trust
from chanlink.security.handshake import handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.trust import Grant
from chanlink.security.statics import Statics
from chanlink.session.greeter import Greeter
from chanlink.transport.sockets import SocketTransport
from tests.leaks import Leaks
from tests.patience import PATIENCE, until
from tests.security.wires import HELLO, prefixed
from tests.session.endpoints import (
    ALICE,
    ask,
    connect,
    greeting,
    port_of,
)

pytestmark = pytest.mark.anyio


async def serve_one(greeter: Greeter, address: Any = None, **options: Any) -> None:
    with anyio.fail_after(PATIENCE):
        async with connect(address or greeter.addresses[0], **options) as session:
            assert (await ask(session))["pong"] == 7


def dial(greeter: Greeter, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(greeter)), source_address=(source, 0))


def is_closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


async def test_a_good_client_is_served_while_silent_and_dribbling_strangers_fill_the_room() -> None:
    async with greeting(unauthenticated=20, handshake=600, source_failures=10**6) as greeter, AsyncExitStack() as stack:
        dribblers = [stack.enter_context(dial(greeter)) for _ in range(10)]
        for sock in dribblers:
            sock.send(b"c")
        await until(lambda: len(greeter.admission._speaking) == 10)
        silent = [stack.enter_context(dial(greeter)) for _ in range(30)]
        await until(lambda: sum(map(is_closed, silent)) == 20)
        assert [is_closed(sock) for sock in silent] == [True] * 20 + [False] * 10
        assert not any(map(is_closed, dribblers))
        for _ in range(5):
            await serve_one(greeter)
        for sock in silent:
            sock.close()
        more = [stack.enter_context(dial(greeter)) for _ in range(30)]
        for sock in more:
            sock.send(b"c")
        await until(lambda: len(greeter.admission._speaking) >= 19)
        await serve_one(greeter)
        await until(lambda: sum(map(is_closed, dribblers + more)) >= 20)


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without being told")


BAD = "127.0.0.2"


async def fail_from(greeter: chanlink.Listener, said: bytes, count: int, source: str = BAD) -> None:
    for _ in range(count):
        with dial(greeter, source) as stranger:
            stranger.send(said)
            stranger.shutdown(socket.SHUT_WR)
            await until(lambda stranger=stranger: is_closed(stranger))


@only_linux
async def test_a_good_client_of_an_address_that_fails_all_the_time_is_served(
    caplog: pytest.LogCaptureFixture, no_leaks: Leaks
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with greeting(source_failures=3) as greeter:
        await fail_from(greeter, b"GET / HTTP/1.1\r\n\r\n", 10)
        assert caplog.text.count("come last for now") >= 1
        assert caplog.text.count("does not speak chanlink") == 10
        for _ in range(5):
            await serve_one(greeter, SocketTransport(dial(greeter, BAD)))
            await serve_one(greeter)


@only_linux
@pytest.mark.parametrize("psk", [None, bytes(32)], ids=["", "psk"])
async def test_a_client_that_has_no_turn_is_told_so_and_others_are_served(
    psk: bytes | None, caplog: pytest.LogCaptureFixture, no_leaks: Leaks
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chanlink.session.greeter.time", clock)
        async with greeting(source_failures=2, suspect_handshakes=3, psk=psk) as greeter:
            await fail_from(greeter, b"GET / HTTP/1.1\r\n\r\n", 5)
            suspect = greeter.admission._suspects[BAD]
            assert suspect.turns.left(0.0) == 0
            for _ in range(3):
                with pytest.raises(SessionClosed, match="try again later") as caught:
                    await serve_one(greeter, SocketTransport(dial(greeter, BAD)), psk=psk)
                assert caught.value.code == "busy"
            assert "too many handshakes of that address" in caplog.text
            await serve_one(greeter, SocketTransport(dial(greeter, "127.0.0.3")), psk=psk)
            clock.now += 1 / 3  # one more turn, and no failure is forgiven yet
            await serve_one(greeter, SocketTransport(dial(greeter, BAD)), psk=psk)
            clock.now += 1
            for _ in range(5):
                await serve_one(greeter, SocketTransport(dial(greeter, BAD)), psk=psk)


@only_linux
async def test_who_has_no_turn_and_lacks_the_pre_shared_key_is_told_nothing(no_leaks: Leaks) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chanlink.session.greeter.time", Clock())
        async with greeting(source_failures=1, suspect_handshakes=1, psk=bytes(32)) as greeter:
            await fail_from(greeter, b"GET / HTTP/1.1\r\n\r\n", 3)
            for psk in (None, bytes([1] * 32)):
                with pytest.raises(HandshakeError):
                    await serve_one(greeter, SocketTransport(dial(greeter, BAD)), psk=psk)


class Clock:
    """In the place of the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@only_linux
@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["health checks", "junk"])
async def test_empty_connections_and_those_of_this_machine_are_not_charged(said: bytes, no_leaks: Leaks) -> None:
    async with greeting(source_failures=2) as greeter:
        await fail_from(greeter, said, 5, "127.0.0.1" if said else BAD)
        assert not greeter.admission._suspects


async def test_good_clients_are_not_charged() -> None:
    async with greeting(source_failures=2) as greeter:
        for _ in range(5):
            await serve_one(greeter)
        assert not greeter.admission._suspects


@pytest.mark.parametrize("limits", [{"sessions": 3}, {"sessions_per_key": 3}, {"sessions": 9, "sessions_per_key": 3}])
async def test_one_session_too_many_is_told_busy_and_the_others_go_on(
    limits: dict[str, int], caplog: pytest.LogCaptureFixture, no_leaks: Leaks
) -> None:
    async with greeting(**limits) as greeter:
        for _ in range(2):
            async with AsyncExitStack() as stack:
                sessions = [await stack.enter_async_context(connect(greeter.addresses[0])) for _ in range(3)]
                for _ in range(3):
                    with pytest.raises(SessionClosed, match="sessions") as caught:
                        await serve_one(greeter)
                    assert caught.value.code == "busy"
                async with connect(greeter.addresses[0], eager=True) as eager:  # it goes on before it is welcome
                    assert (await eager.wait_closed()).args == caught.value.args
                for session in sessions:
                    assert await session.ping() > 0
                assert len(greeter.seats) == 3
            await until(lambda: not greeter.seats)
        assert "busy" in caplog.text
        assert not greeter.admission._suspects


async def test_sessions_of_a_key_are_no_concern_of_another_one(no_leaks: Leaks) -> None:
    bob = Identity.generate("bob")
    async with greeting(trust=Trust.of(ALICE.public_key, bob.public_key), sessions_per_key=1) as greeter:
        async with connect(greeter.addresses[0]), connect(greeter.addresses[0], identity=bob) as session:
            assert await session.ping() > 0
            with pytest.raises(SessionClosed, match="busy"):
                await serve_one(greeter)
        await until(lambda: not greeter.seats)
        await serve_one(greeter)


@only_linux
async def test_strangers_who_make_keys_as_they_like_share_the_seats_of_their_address(no_leaks: Leaks) -> None:
    async with greeting(trust=Trust.anyone(["ping"]), sessions_per_key=2) as greeter, AsyncExitStack() as stack:

        async def join(source: str | None) -> None:
            address = SocketTransport(dial(greeter, source)) if source else None
            await stack.enter_async_context(connect(address or greeter.addresses[0], identity=Identity.generate()))

        await join(BAD)
        await join(BAD)
        with pytest.raises(SessionClosed, match="your address has 2 sessions"):
            await join(BAD)
        await join("127.0.0.3")
        for _ in range(3):  # from this machine itself
            await join(None)


async def test_a_client_that_goes_before_its_welcome_keeps_no_seat(no_leaks: Leaks) -> None:
    async with greeting(sessions=1) as greeter:
        for _ in range(3):
            statics, transport = Statics(ALICE, Role.CLIENT), SocketTransport(dial(greeter))
            await handshake_as_client(transport, statics, lambda presented: Grant("", None), Limits(), eager=True)
            await transport.aclose()
            await until(lambda: not greeter.admission and not greeter.seats)
        await serve_one(greeter)


async def test_running_out_of_descriptors_sends_silent_strangers_away_and_a_good_client_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with greeting(handshake=600) as greeter:
        port = int(greeter.addresses[0].rpartition(":")[2])
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
                await serve_one(greeter, SocketTransport(good))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                strangers.kill()
        assert 1 <= caplog.text.count("can't accept connections") <= 10  # one a second
        await until(lambda: not greeter.admission)


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
    async with greeting(handshake=600) as greeter, AsyncExitStack() as stack:
        await serve_one(greeter)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(count):
                stack.enter_context(dial(greeter)).send(said)
            await until(lambda: len(greeter.admission) == count)
            if said:
                await until(lambda: len(greeter.admission._speaking) == count)
            await anyio.wait_all_tasks_blocked()
            await anyio.sleep(0.1)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (after - before) / count < 16_384
