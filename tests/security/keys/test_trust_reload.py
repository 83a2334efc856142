"""Trust files that change while a listener uses them."""

import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    ChannelFailed,
    ChannelRefused,
    Identity,
    Limits,
    Listener,
    Peer,
    Receiver,
    Session,
    SessionClosed,
    SessionLost,
    Trust,
    TrustFormatError,
    UntrustedPeer,
)
from chanlink.security.keys import authority_files
from chanlink.security.keys.authority_files import TrustWatch
from tests.patience import PATIENCE, lines_run, until

pytestmark = pytest.mark.anyio

ALICE, BOB, SERVER = (Identity.generate(name) for name in ("alice@laptop", "bob", "server"))
QUICK = Limits(trust_interval=0.02)
"""A guard only: nothing waits for it."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "authorized_peers"


def write(file: Path, *lines: str) -> None:
    """Put the file there in one go, as editors do."""
    new = file.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.replace(file)


# --- looking at the file ------------------------------------------------------------------------


def test_file_is_read_when_it_was_the_same_at_two_looks(file: Path) -> None:
    write(file, str(ALICE.public_key))
    watch = TrustWatch(Trust.load(file))
    write(file, str(BOB.public_key))
    assert watch.look() is None  # whoever writes it may not be done
    new = watch.look()
    assert new is not None
    assert (new.check(ALICE.public_key), new.path) == (None, file)
    assert new.check(BOB.public_key) is not None
    assert watch.look() is None
    write(file, str(BOB.public_key), str(ALICE.public_key))
    assert watch.look() is None
    write(file, str(BOB.public_key))
    assert [watch.look() for _ in range(4)] == [None] * 4  # it says what it has said


def test_file_that_is_being_written_is_not_read(file: Path) -> None:
    write(file, str(ALICE.public_key))
    watch = TrustWatch(Trust.load(file))
    with open(file, "w") as stream:
        for number in range(5):
            stream.write(f"{Identity.generate(str(number)).public_key}\n")
            stream.flush()
            assert watch.look() is None
    assert watch.look() is not None


def test_change_in_the_same_instant_and_of_the_same_size_is_seen(file: Path) -> None:
    write(file, str(PADDED[0]))
    os.utime(file, ns=(0, 0))
    loaded = Trust.load(file)
    file.write_text(f"{PADDED[1]}\n")  # before the watch begins
    os.utime(file, ns=(0, 0))
    watch = TrustWatch(loaded)
    watch.look()
    new = watch.look()
    assert new is not None
    assert new.check(PADDED[0]) is None
    file.write_text(f"{PADDED[0]}\n")  # later, with its time set back
    os.utime(file, ns=(0, 0))
    watch.look()
    new = watch.look()
    assert new is not None
    assert new.check(PADDED[1]) is None


PADDED = [Identity.generate("same").public_key for _ in range(2)]


def test_comment_that_changed_is_a_change(file: Path) -> None:
    write(file, str(ALICE.public_key))
    watch = TrustWatch(Trust.load(file))
    write(file, f"{' '.join(str(ALICE.public_key).split()[:2])} alicia")
    watch.look()
    new = watch.look()
    assert new is not None
    grant = new.check(ALICE.public_key)
    assert grant is not None
    assert grant.name == "alicia"


@pytest.mark.parametrize("problem", ["nonsense", "missing", "a folder", "too large", "unreadable link"])
def test_state_that_cannot_be_read_is_said_once_and_the_next_good_one_counts(problem: str, file: Path) -> None:
    write(file, str(ALICE.public_key))
    watch = TrustWatch(Trust.load(file))
    watch.look()
    watch.look()
    file.unlink()
    if problem == "nonsense":
        file.write_text("nonsense")
    elif problem == "a folder":
        file.mkdir()
    elif problem == "too large":
        file.write_text("\n" * (1024 * 1024 + 1))
    elif problem == "unreadable link":
        file.symlink_to(file)
    assert watch.look() is None
    with pytest.raises(TrustFormatError, match="authorized_peers"):
        watch.look()
    assert [watch.look() for _ in range(3)] == [None] * 3
    if problem == "a folder":
        file.rmdir()
    elif problem != "missing":
        file.unlink()
    write(file, str(BOB.public_key))
    watch.look()
    assert watch.look() is not None


# --- a listener ---------------------------------------------------------------------------------


class Service:
    """Answers on a channel; says when it was cancelled."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.errors: list[Exception] = []

    async def __call__(self, requests: Receiver[Any], peer: Peer) -> None:
        try:
            async for reply in requests:
                async with reply:
                    await reply.send(peer.name)
                    await anyio.sleep_forever()  # it does not look at its channel
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(peer.name)
            raise
        except Exception as exc:
            self.errors.append(exc)
            raise


@asynccontextmanager
async def listening(file: Path, services: Any, limits: Limits = QUICK) -> AsyncIterator[Listener]:
    async with chanlink.listen(
        "tcp://127.0.0.1:0", identity=SERVER, trust=Trust.load(file), services=services, limits=limits
    ) as listener:
        yield listener
    assert not listener.sessions


def connect(listener: Listener, identity: Identity = ALICE) -> Any:
    return chanlink.connect(listener.addresses[0], identity=identity, peer=SERVER.public_key)


async def start(session: Session, service: str) -> tuple[Any, Any]:
    """Have the service at work; returns the channel to it and the one that travelled there."""
    requests = await session.open(service)
    reply, replies = chanlink.pipe()
    await requests.send(reply)
    await replies.receive()
    return requests, replies


async def test_key_taken_out_cuts_its_sessions_and_no_others(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    service = Service()
    write(file, str(ALICE.public_key), str(BOB.public_key))
    async with (
        listening(file, {"work": service}) as listener,
        connect(listener) as alice,
        connect(listener) as alice_too,
        connect(listener, BOB) as bob,
    ):
        requests, replies = await start(alice, "work")
        await start(bob, "work")
        write(file, str(BOB.public_key))
        with anyio.fail_after(PATIENCE):
            for session in (alice, alice_too):
                cause = await session.wait_closed()
                assert isinstance(cause, SessionClosed)
                assert cause.code == "revoked"
            with pytest.raises(SessionLost, match="revoked"):
                await replies.receive()
            with pytest.raises(SessionLost, match="revoked"):
                await requests.send(1)
        await until(lambda: service.cancelled)
        assert await bob.ping() > 0
        assert service.cancelled == ["alice@laptop"]
        with pytest.raises(UntrustedPeer):
            async with connect(listener):
                pytest.fail("there is a session")
    messages = [record.getMessage() for record in caplog.records]
    assert f"{file} was read again: it has 1 keys now" in messages
    assert any(re.match(r"session with alice@laptop at .*: the session was closed: revoked", text) for text in messages)
    assert not [record for record in caplog.records if record.levelno > logging.INFO and "refused" not in record.msg]


async def test_key_put_in_may_connect_from_then_on(file: Path) -> None:
    write(file)
    async with listening(file, {}) as listener:
        with anyio.fail_after(PATIENCE):
            with pytest.raises(UntrustedPeer):
                async with connect(listener):
                    pytest.fail("there is a session")
            write(file, str(ALICE.public_key))
            while True:
                try:
                    async with connect(listener) as session:
                        assert await session.ping() > 0
                        break
                except UntrustedPeer:
                    await anyio.sleep(0.01)


async def test_service_taken_away_ends_its_channels_and_no_others(file: Path) -> None:
    kept, lost, streams = Service(), Service(), []

    async def stream(end: Any, peer: Peer) -> None:
        streams.append(end)
        await end.receive()
        await anyio.sleep_forever()

    services = {"kept": kept, "lost": lost, "stream": chanlink.streams(stream)}
    write(file, str(ALICE.public_key))
    async with listening(file, services) as listener, connect(listener) as session:
        keep, _ = await start(session, "kept")
        lose, replies = await start(session, "lost")
        body = await session.open_stream("stream")
        await body.send(b"x")
        await until(lambda: streams)
        write(file, f'services="kept" {ALICE.public_key}')
        with anyio.fail_after(PATIENCE):
            refused = await lose.wait_closed()
            assert isinstance(refused, ChannelRefused)
            assert refused.code == "revoked"
            with pytest.raises(ChannelRefused, match="revoked"):
                await lose.send(1)
            with pytest.raises(ChannelFailed, match="revoked"):
                await body.receive()
            with pytest.raises(ChannelRefused, match="revoked"):
                while True:
                    await body.send(b"x")
                    await anyio.sleep(0.001)
            with pytest.raises(ChannelFailed):  # it travelled to a service that was cancelled
                await replies.receive()
        assert (kept.cancelled, lost.cancelled) == ([], ["alice@laptop"])
        await keep.send(1)
        await start(session, "kept")
        for service in ("lost", "never"):  # forbidden and missing look the same
            refused = await (await session.open(service)).wait_closed()
            assert refused.args == ("no-such-service", f"there is no service {service!r} here that this key may use")
        write(file, str(ALICE.public_key))
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    await start(session, "lost")
                    break
                except ChannelFailed:
                    await anyio.sleep(0.01)


async def test_accepted_ends_of_a_service_taken_away_say_so_on_both_sides(file: Path) -> None:
    write(file, str(ALICE.public_key))
    async with listening(file, None) as listener, connect(listener) as client:
        server = await listener.accept()
        sender = await client.open("lost")
        body = await client.open_stream("lost")
        kept = await client.open("kept")
        receiver, stream, other = [(await server.accept()).end for _ in range(3)]
        ours = await server.open("lost")  # what we open to the peer is none of its rights
        write(file, f'services="kept" {ALICE.public_key}')
        blocked: list[Exception] = []

        async def fill() -> None:
            try:
                while True:
                    await stream.send(bytes(4096))  # nobody reads: it waits for room
            except chanlink.ChannelError as exc:
                blocked.append(exc)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fill)
            with anyio.fail_after(PATIENCE):
                with pytest.raises(ChannelFailed, match="revoked"):
                    await receiver.receive()
                with pytest.raises(ChannelFailed, match="revoked"):
                    await stream.receive()
                await until(lambda: blocked)
        assert isinstance(blocked[0], ChannelRefused)
        assert blocked[0].code == "revoked"
        with anyio.fail_after(PATIENCE):
            assert isinstance(await sender.wait_closed(), ChannelRefused)
            with pytest.raises(ChannelFailed, match="revoked"):
                while True:
                    await body.receive()
            await kept.send(7)
            assert await other.receive() == 7
        await ours.send(7)
        assert await (await client.accept()).end.receive() == 7


async def test_file_that_cannot_be_read_leaves_things_as_they_are(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(file, str(ALICE.public_key))
    async with listening(file, {}) as listener, connect(listener) as session:
        write(file, str(BOB.public_key), "nonsense")
        await until(lambda: caplog.records)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.getMessage() == (
            f"{file}:2: not of the form 'services=\"NAME,NAME\" ssh-ed25519 AAAA... comment'; "
            "what this file said before stays in force"
        )
        assert await session.ping() > 0
        async with connect(listener):
            pass
        with pytest.raises(UntrustedPeer):
            async with connect(listener, BOB):
                pytest.fail("there is a session")
        await anyio.sleep(5 * QUICK.trust_interval)
        assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
        write(file, str(BOB.public_key))
        with anyio.fail_after(PATIENCE):
            cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"


async def test_key_taken_out_during_its_handshake_gets_no_session(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The welcome is on its way when the file changes."""
    write(file, str(ALICE.public_key))
    async with listening(file, {}) as listener:
        authenticate = listener._greeter.authenticate

        async def authenticate_slowly(*args: Any) -> Any:
            authenticated = await authenticate(*args)
            write(file)
            await until(lambda: listener._greeter.authority.trust.check(ALICE.public_key) is None)
            return authenticated

        monkeypatch.setattr(listener._greeter, "authenticate", authenticate_slowly)
        with anyio.fail_after(PATIENCE):
            async with connect(listener) as session:
                cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"


async def test_trust_that_is_no_file_needs_no_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_files, "TrustWatch", pytest.fail)
    options: dict[str, Any] = {"identity": SERVER, "trust": Trust.of(ALICE.public_key), "limits": QUICK}
    async with chanlink.listen("tcp://127.0.0.1:0", **options) as listener, connect(listener) as session:
        await anyio.sleep(3 * QUICK.trust_interval)
        assert await session.ping() > 0


def test_two_thousand_keys_are_little_work_to_read(file: Path) -> None:
    """In a worker thread, but that takes turns with the loop."""
    write(file, *(str(Identity.generate().public_key) for _ in range(2_000)))
    assert len(Trust.load(file).grants) == 2_000
    assert lines_run(lambda: Trust.load(file)) < 200 * 2_000
