"""The greeter by itself: what strangers get, and how long they may take."""

import errno
import logging
import os
import socket
from contextlib import suppress
from typing import Any

import anyio
import pytest

from chanlink import (
    HandshakeError,
    Identity,
    Trust,
    UntrustedPeer,
)
from chanlink.limits import Bucket
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.session import greeter as greeter_module
from chanlink.transport import listen as listen_module
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE, until
from tests.security.wires import HELLO, prefixed, read_to_end, speak_as_client
from tests.session.endpoints import ALICE, BOB, SERVER, TCP, answer_of, ask, connect, dial, greeting, port_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


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
    async with greeting(handshake=600) as greeter:
        async with await dial(greeter) as stream:
            await stream.send(said)
            with anyio.fail_after(PATIENCE):
                assert await read_to_end(stream) == b""
        await until(lambda: not greeter.admission)
        async with connect(greeter.addresses[0]) as session:
            await ask(session)


@pytest.mark.slow
async def test_who_is_slow_is_closed_at_the_end_of_its_time_and_others_are_served_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with greeting(handshake=1) as greeter, anyio.create_task_group() as tasks:
        answers: dict[str, bytes] = {}

        async def stranger(name: str, said: bytes) -> None:
            async with await dial(greeter) as stream:
                await stream.send(said)
                answers[name] = await read_to_end(stream)

        async def dribbler() -> None:
            async with await dial(greeter) as stream:
                with suppress(anyio.BrokenResourceError):
                    for byte in HELLO + bytes(10_000):
                        await stream.send(bytes([byte]))
                        await anyio.sleep(0.05)
                answers["dribbler"] = b""

        for name, said in LATER.items():
            tasks.start_soon(stranger, name, said)
        tasks.start_soon(dribbler)
        await until(lambda: len(greeter.admission) == len(LATER) + 1)
        async with connect(greeter.addresses[0]) as session:
            await ask(session)
            assert len(greeter.admission) == len(LATER) + 1
        with anyio.fail_after(PATIENCE):
            await until(lambda: len(answers) == len(LATER) + 1)
        assert [name for name, answer in answers.items() if answer] == ["a good first message"]
        async with connect(greeter.addresses[0]) as session:
            await ask(session)
        await until(lambda: not greeter.admission)
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

        def receive_now(self, buffer: memoryview) -> int | None:
            nonlocal taken
            size = super().receive_now(buffer)
            taken += size or 0
            return size

    monkeypatch.setattr(listen_module, "SocketTransport", Counted)
    signer = Signer()
    async with greeting(identity=signer.identity) as greeter:
        with socket.create_connection(("127.0.0.1", port_of(greeter))) as stranger:
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
            await until(lambda: not greeter.admission)
    assert taken == len(HELLO) + 2  # the length of the first message is zero


async def test_of_too_many_strangers_the_oldest_go_and_a_good_client_is_served() -> None:
    async with greeting(unauthenticated=5, handshake=600) as greeter:
        strangers = [await dial(greeter) for _ in range(5)]
        await until(lambda: len(greeter.admission) == 5)
        for _ in range(15):
            strangers.append(await dial(greeter))
        ended = [False] * 20

        async def watch(number: int) -> None:
            await read_to_end(strangers[number])
            ended[number] = True

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(watch, number)
            await until(lambda: sum(ended) == 15)
            assert ended == [True] * 15 + [False] * 5
            assert len(greeter.admission) == 5
            async with connect(greeter.addresses[0]) as session:
                await ask(session)
            await until(lambda: ended[15])
            assert sum(ended) == 16
            tasks.cancel_scope.cancel()
        for stream in strangers:
            await stream.aclose()
        await until(lambda: not greeter.admission)


async def test_a_burst_of_strangers_never_makes_it_hold_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    held = most = 0

    class Counted(SocketTransport):
        def __init__(self, sock: socket.socket) -> None:
            nonlocal held, most
            super().__init__(sock)
            held += 1
            most = max(held, most)

        def close_now(self) -> bool:
            nonlocal held
            held -= self._sock.fileno() >= 0
            return super().close_now()

    monkeypatch.setattr(listen_module, "SocketTransport", Counted)
    async with greeting(unauthenticated=5, handshake=600) as greeter:
        burst = [socket.create_connection(("127.0.0.1", port_of(greeter))) for _ in range(100)]
        await until(lambda: held == 5 and next(iter(greeter.admission)) is not None)
        await anyio.wait_all_tasks_blocked()
        for sock in burst:
            sock.close()
        await until(lambda: not greeter.admission)
    assert held == 0
    assert most <= 8  # who has to go needs a turn of the loop for it


async def test_accepting_goes_on_after_errors_of_the_system(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A long second.
    monkeypatch.setattr(greeter_module, "Bucket", lambda burst, a_second: Bucket(burst, a_second / 10**9))
    errors = [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.EPROTO, errno.EINVAL, errno.ENOBUFS]

    class Failing:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock
            self.fileno = sock.fileno
            self.close = sock.close

        def accept(self) -> Any:
            if errors:
                raise OSError(errors[0], os.strerror(errors.pop(0)))
            return self.sock.accept()

    sockets: Any = await listening_sockets(parse_address(TCP))
    sockets.sockets = [Failing(sock) for sock in sockets.sockets]
    async with greeting(sockets) as greeter:
        await until(lambda: not errors)
        with anyio.fail_after(PATIENCE):
            async with connect(greeter.addresses[0]) as session:
                await ask(session)
    assert caplog.text.count("can't accept connections") == 1  # for as long as it lasts
    assert os.strerror(errno.EMFILE) in caplog.text


async def test_a_signer_that_fails_costs_the_connection_and_not_the_server(caplog: pytest.LogCaptureFixture) -> None:
    signer = Signer()
    signer.problem = RuntimeError("the agent is locked")
    signer.go.set()
    async with greeting(identity=signer.identity) as greeter:
        with pytest.raises(HandshakeError):
            async with connect(greeter.addresses[0]):
                pytest.fail("there is a session")
        assert "the agent is locked" in caplog.text
        signer.problem = None
        async with connect(greeter.addresses[0]) as session:
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

    async with greeting(trust=Resetting.of(ALICE.public_key)) as greeter:
        client = socket.create_connection(("127.0.0.1", port_of(greeter)))
        clients.append(client)
        static = generate_keypair()
        stream = SocketTransport(client)
        with suppress(anyio.ClosedResourceError):
            await speak_as_client(stream, static, await answer_of(ALICE, static.public))
            await until(lambda: not clients)
        await until(lambda: not greeter.admission and not greeter.seats)
        async with connect(greeter.addresses[0]) as session:
            await ask(session)


async def test_a_client_that_is_not_trusted_always_learns_why_and_the_log_says_who(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with greeting(trust=Trust.of(BOB.public_key)) as greeter:
        for _ in range(50):
            with pytest.raises(UntrustedPeer) as caught:
                async with connect(greeter.addresses[0]):
                    pytest.fail("there is a session")
            assert caught.value.fingerprint == ALICE.public_key.fingerprint
        await until(lambda: not greeter.admission)
        assert not greeter.seats
    lines = [record.getMessage() for record in caplog.records if "was refused" in record.getMessage()]
    assert len(lines) == 50
    assert all(ALICE.public_key.fingerprint in line and line.startswith("127.0.0.1:") for line in lines)


async def test_a_refusal_is_logged_though_the_client_spins_out_its_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    static = generate_keypair()
    async with greeting(trust=Trust.nobody(), handshake=0.2) as greeter:
        stream = await dial(greeter)
        await speak_as_client(stream, static, await answer_of(ALICE, static.public))
        await read_to_end(stream)
        await until(lambda: not greeter.admission)
        await stream.aclose()
    assert f"was refused: its key {ALICE.public_key.fingerprint}" in caplog.text
