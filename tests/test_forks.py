"""Processes that fork: what a child must not go on with, and what its parent must not notice of it.

The forks are real. A child does one thing, says what came of it over a pipe, and is gone by `os._exit`.
"""

import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConnectionLost, Identity, LocalProtocolError, Session, Trust, forks
from chanlink.security.keys.certificate import Role
from chanlink.security.noise.cipher import CipherState
from chanlink.security.noise.x25519 import KeyPair, generate_keypair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import FORKED
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from tests.echo import ask, echo
from tests.security.test_rekey import held, sides

from .conftest import BACKENDS
from .patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")


@asynccontextmanager
async def connected(address: str = "tcp://127.0.0.1:0") -> AsyncIterator[tuple[Session, Session]]:
    """A client's session, and the server's; both are in this process."""
    trust = Trust.of(ALICE.public_key)
    async with chanlink.listen(address, identity=SERVER, trust=trust, services={"echo": echo}) as listener:
        here = listener.addresses[0]
        async with chanlink.connect(here, identity=ALICE, peer=SERVER.public_key) as client:
            assert await ask(client, "before") == "before"
            yield client, listener.sessions[0]


def fork(writing: int) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a process with threads should not fork: nobody waits for those here
        pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)  # whatever else happens to the child
        os.dup2(writing, 1)
    return pid


def say_and_go(what: object) -> None:
    os.write(1, str(what).encode())
    os._exit(0)


async def in_child(act: Callable[[], object]) -> str:
    """What the child says that does this, or what that raises."""
    reading, writing = os.pipe()
    if (pid := fork(writing)) == 0:
        try:
            say_and_go(act())
        except BaseException as exc:
            say_and_go(repr(exc))
    return await said(pid, reading, writing)


async def said(pid: int, reading: int, writing: int) -> str:
    os.close(writing)
    await anyio.wait_readable(reading)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    assert os.waitpid(pid, 0) == (pid, 0)
    return text


def in_a_loop_of_its_own(backend: Any, act: Callable[[], Awaitable[object]]) -> object:
    """In another thread: what an event loop keeps for its thread is not in the way there."""
    name, options = backend if isinstance(backend, tuple) else (backend, {})
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(anyio.run(act, backend=name, backend_options=options))
        except BaseException as exc:
            outcome.append(repr(exc))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


async def still_there(client: Session) -> None:
    """The session of the parent has noticed nothing."""
    with anyio.fail_after(PATIENCE):
        for value in range(3):
            assert await ask(client, value) == value


# --- records --------------------------------------------------------------------------------------------


def records(session: Session) -> NoiseStream:
    assert isinstance(session._below, NoiseStream)
    return session._below


def seal_now(client: Session, server: Session) -> object:
    return client._below.send_now([b"under a nonce that the parent will use"])


def seal_by_hand(client: Session, server: Session) -> object:
    return records(client)._keys.seal(0, [b"something"], memoryview(bytearray(100)))


def open_by_hand(client: Session, server: Session) -> object:
    return records(client)._keys.open(memoryview(bytearray(100)))


def seal_as_server(client: Session, server: Session) -> object:
    return seal_now(server, client)


def export(client: Session, server: Session) -> object:
    return client.exporter("label", 32)


@pytest.mark.parametrize("use", [seal_now, seal_by_hand, open_by_hand, seal_as_server, export])
async def test_a_child_has_no_keys_of_its_parent(use: Callable[[Session, Session], object]) -> None:
    async with connected() as (client, server):
        text = await in_child(partial(use, client, server))
        assert text.startswith(("ConnectionLost", "LocalProtocolError"))
        await still_there(client)


async def test_a_child_with_an_event_loop_of_its_own_is_told_why_it_can_not_use_a_session(anyio_backend: Any) -> None:
    async with connected() as (client, _server):
        use = partial(in_a_loop_of_its_own, anyio_backend, partial(ask, client, "child"))
        text = await in_child(use)
        if anyio_backend[0] != "trio":  # whose tasks can be woken by their own loop only
            assert FORKED in text
        await still_there(client)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_child_that_goes_on_in_the_event_loop_of_its_parent_is_told_too() -> None:
    """On asyncio nothing waits in there: the loop of a task is that of its process."""
    async with connected() as (client, server):
        reading, writing = os.pipe()
        if (pid := fork(writing)) == 0:
            try:
                say_and_go(await ask(client, "child"))
            except BaseException as exc:
                say_and_go(repr(exc))
        assert FORKED in await said(pid, reading, writing)
        assert not client.closed  # (what came meanwhile, either process may have got: they share an epoll set)
        assert not server.closed


def collect(ends: list[Any]) -> None:
    ends.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ends that were not closed
        gc.collect()


def close(ends: list[Any]) -> None:
    for end in ends:
        end.close()


def abort(ends: list[Any]) -> None:
    ends[0].abort()


@pytest.mark.parametrize("act", [collect, close, abort])
async def test_what_a_child_closes_or_forgets_is_still_open_in_its_parent(act: Callable[[list[Any]], None]) -> None:
    async with connected() as (client, _server):
        requests = await client.open("echo")
        ends: list[Any] = [client] if act is abort else [requests]
        await in_child(partial(act, ends))
        reply, replies = chanlink.pipe()
        await requests.send({"value": 1, "reply": reply})
        assert await replies.receive() == 1
        await still_there(client)
        requests.close()


@pytest.mark.parametrize("anyio_backend", BACKENDS[:2])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_child_that_leaves_its_parents_blocks_says_nothing_to_the_peers(kind: str, tmp_path: Path) -> None:
    """On trio it could take events from its parent meanwhile, whatever we do: their event loops share an epoll set."""
    address = "tcp://127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/s"
    reading, writing = os.pipe()
    pid = -1
    try:
        async with connected(address) as (client, _server):
            if (pid := fork(writing)) == 0:
                raise SystemExit
            assert await said(pid, reading, writing) == "left"
            await still_there(client)
            if kind == "unix":
                assert os.path.exists(f"{tmp_path}/s")
    except BaseException:  # on asyncio it can't even leave: nothing can be waited for
        if pid == 0:
            say_and_go("left")
        raise


async def test_a_child_has_none_of_the_connections_and_of_the_listening_sockets() -> None:
    async with connected() as (client, server):
        sockets = [records(session)._transport._sock for session in (client, server)]  # type: ignore[attr-defined]
        assert await in_child(lambda: [sock.fileno() for sock in sockets]) == "[-1, -1]"
        await still_there(client)
    listening = await listening_sockets(parse_address("tcp://127.0.0.1:0"))
    assert await in_child(lambda: [sock.fileno() for sock in listening.sockets]) == "[-1]"
    listening.close()


CLIENT = """
import anyio, os, sys, chanlink

async def main():
    me = chanlink.Identity.load(sys.argv[2])
    async with chanlink.connect(sys.argv[1], identity=me, peer=chanlink.PublicKey.parse(sys.argv[3])):
        if (pid := os.fork()) == 0:
            os.read(0, 1)
            os._exit(0)
        print(pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@one_backend
async def test_the_peer_learns_of_the_end_of_a_process_though_its_child_lives_on(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "alice")
    async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=Trust.of(ALICE.public_key)) as listener:
        words = [listener.addresses[0], tmp_path / "alice", str(SERVER.public_key)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", CLIENT, *words], **pipes) as process:  # type: ignore[call-overload]
            session = await listener.accept()
            child = int(await anyio.to_thread.run_sync(process.stdout.readline))
            process.kill()
            with anyio.fail_after(PATIENCE):
                assert isinstance(await session.wait_closed(), ConnectionLost)
            os.kill(child, 0)  # it lives
        # Its standard input has ended with that, and so has the child.


# --- handshakes, and what a process has for them --------------------------------------------------------


async def static_key(statics: Statics) -> str:
    static, certificate = await statics.current()
    certificate.verify(static.public, statics.role, certificate.not_after)
    return static.public.hex()


async def test_a_child_makes_a_static_key_and_a_certificate_of_its_own(anyio_backend: Any) -> None:
    statics = Statics(ALICE, Role.SERVER)
    ours = await static_key(statics)
    async with statics._signing:  # as when a task of the parent asks an agent at that moment
        child = await in_child(lambda: in_a_loop_of_its_own(anyio_backend, partial(static_key, statics)))
    assert len(child) == len(ours)
    assert child != ours
    assert await static_key(statics) == ours


async def test_a_handshake_is_not_gone_on_with_in_a_child() -> None:
    noise, _ = await Statics(ALICE, Role.CLIENT).begin(b"prologue")
    for use in (noise.write_message, lambda: noise.read_message(bytes(96)), noise.split):
        assert (await in_child(use)).startswith("LocalProtocolError")
    assert noise.write_message()


@one_backend
async def test_a_child_knows_the_first_messages_that_its_parent_has_answered() -> None:
    statics = Statics(ALICE, Role.SERVER, bytes(32))
    statics.replay_guard.check(b"ephemeral", 1_000, 1_000.0, 5.0)
    again = partial(statics.replay_guard.check, b"ephemeral", 1_000, 1_000.0, 6.0)
    assert "replayed" in await in_child(again)


def hashes(values: Iterable[bytes]) -> set[bytes]:
    return {hashlib.sha256(value).digest() for value in values}


def secrets_of_ours(sessions: Iterable[Session], static: KeyPair) -> set[bytes]:
    """The hashes of them: what this test remembers must not be found itself."""
    keys = [records(session)._keys for session in sessions]
    found = [secret for each in keys for secret in (each._sending.k, each._receiving.k, each._secrets.exporter_secret)]
    return hashes([static.private, *(secret for secret in found if secret)])


async def test_no_secret_of_its_parent_is_found_in_a_child() -> None:
    """Whatever holds one: this looks everywhere that a session, or the credentials of a listener, lead to."""
    statics = Statics(ALICE, Role.SERVER)
    noise, _ = await statics.begin(b"prologue")
    async with connected() as (client, server):
        secrets = secrets_of_ours((client, server), (await statics.current())[0])
        assert len(secrets) == 4
        roots = [client._below, server._below, statics, noise]
        assert secrets <= hashes(held(roots))
        assert await in_child(lambda: len(secrets & hashes(held(roots)))) == "0"


@one_backend
async def test_what_is_drawn_by_lot_differs_in_a_child() -> None:
    draw = lambda: generate_keypair().public.hex()  # noqa: E731
    drawn = {await in_child(draw), await in_child(draw), draw()}
    assert len(drawn) == 3


# --- the cores ------------------------------------------------------------------------------------------


def test_a_cipher_state_that_has_forgotten_its_key_encrypts_and_decrypts_nothing() -> None:
    state = CipherState(bytes(range(32)))
    buffer = memoryview(bytearray(100))
    state.forget()
    for use in (
        lambda: state.encrypt_with_ad(b"", b"plain"),
        lambda: state.decrypt_with_ad(b"", bytes(32)),
        lambda: state.encrypt_into(memoryview(b"plain"), buffer),
        lambda: state.decrypt_into(memoryview(bytes(32)), buffer),
    ):
        with pytest.raises(LocalProtocolError):
            use()


@pytest.mark.parametrize("done", range(4))
def test_keys_that_are_forgotten_while_they_are_renewed_are_of_no_use(done: int) -> None:
    """After this many of the rekey records."""
    client, server = sides()
    for side, other in [(client, server), (server, client), (client, server)][:done]:
        side.write(b"", 121.0)
        other.read(side, 121.0)
    for side in (client, server):
        keys = {side.keys._sending.k, side.keys._receiving.k, side.keys._secrets.exporter_secret}
        assert keys <= held(side.keys)
        side.keys.forget()
        assert not side.keys.has_record(1_000.0)
        with pytest.raises(ConnectionLost, match="forked"):
            side.keys.check()
        with pytest.raises(LocalProtocolError):
            side.keys.seal(0, b"data")
        assert not keys & held(side.keys)


def test_what_nobody_has_any_more_is_not_kept_for_a_fork() -> None:
    gc.collect()
    before = len(forks._held)
    statics = Statics(ALICE, Role.CLIENT)
    assert len(forks._held) == before + 1
    del statics
    gc.collect()
    assert len(forks._held) == before
