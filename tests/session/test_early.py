"""`connect(early=True)`: a request in the first message, over sockets, and what somebody on the path makes of it."""

import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest

import chanlink
from chanlink import (
    ByteStream,
    ConfigError,
    HandshakeError,
    KnownPeers,
    KnownPrekeys,
    Limits,
    Listener,
    Peer,
    Receiver,
    Session,
    SessionError,
    Trust,
    UntrustedPeer,
    WrongPeer,
    service,
    streams,
)
from chanlink.security.early import known_prekeys as known_prekeys_module
from chanlink.security.early import prekeys as prekeys_module
from chanlink.security.keys.files import edit
from tests.attacker.frames import HELLO, MESSAGE_1
from tests.attacker.man import Connection, Man, attacker
from tests.attacker.rules import Rule, flipping
from tests.patience import PATIENCE, until
from tests.session.endpoints import ALICE, BOB, SERVER

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

EVERYBODY = Trust.of(ALICE.public_key, BOB.public_key)
FIRST_RECORD = 2
"""The number of the first record to the server, behind the hello and message 1."""


class Adder(Protocol):
    async def add(self, a: int, b: int) -> int: ...


ADDER = chanlink.Interface(Adder)


class Shop:
    """A server, and what its services were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.services: dict[str, Any] = {
            "early": service(self.early, early=True),
            "plain": self.plain,
            "bytes": service(streams(self.bytes), early=True),
            "adder": service(ADDER.serving(self), early=True),
        }

    async def early(self, requests: Receiver, peer: Peer) -> None:
        await self.answer("early", requests)

    async def plain(self, requests: Receiver, peer: Peer) -> None:
        await self.answer("plain", requests)

    async def answer(self, name: str, requests: Receiver) -> None:
        async for reply in requests:
            self.asked.append(name)
            with suppress(chanlink.ChannelError):
                await reply.send(name)
                reply.close()

    async def bytes(self, stream: ByteStream, peer: Peer) -> None:
        with suppress(chanlink.ChannelError):
            await stream.send(b"you said " + await stream.receive())

    async def add(self, a: int, b: int) -> int:
        return a + b


class Place:
    """The shop behind a man on the path, and a client of it that keeps its prekeys in memory."""

    def __init__(self, shop: Shop, man: Man, listener: Listener) -> None:
        self.shop = shop
        self.man = man
        self.listener = listener
        self.known = KnownPrekeys()

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Session]:
        defaults: dict[str, Any] = {
            "identity": ALICE,
            "peer": SERVER.public_key,
            "early": True,
            "known_prekeys": self.known,
        }
        async with chanlink.connect(self.man.address, **defaults | options) as session:
            yield session

    async def learn(self) -> None:
        """Get a prekey."""
        async with self.connect() as session:
            assert session.early == "none"


@asynccontextmanager
async def open_place(**limits: Any) -> AsyncIterator[Place]:
    shop = Shop()
    options: dict[str, Any] = {"identity": SERVER, "trust": EVERYBODY, "limits": Limits(**limits)}
    with anyio.fail_after(PATIENCE):
        async with (
            chanlink.listen("tcp://127.0.0.1:0", services=shop.services, **options) as listener,
            attacker(listener.addresses[0]) as man,
        ):
            yield Place(shop, man, listener)


@pytest.fixture
async def place(no_leaks: object) -> AsyncIterator[Place]:
    async with open_place(handshake=3.0, keepalive=1.0) as place:
        await place.learn()
        yield place


async def ask(session: Session, name: str = "early") -> object:
    async with await session.open(name) as requests:
        reply, answers = chanlink.pipe()
        await requests.send(reply)
        return await answers.receive()


# --- one round trip -----------------------------------------------------------------------------------------


async def only_message_1(place: Place) -> None:
    """What comes behind the first message of the next client is held."""

    def prepare(connection: Connection) -> None:
        async def rule(number: int, frame: bytes) -> bytes:
            if number == FIRST_RECORD:
                connection.to_server.hold()
            return frame

        connection.to_server.rule = rule

    place.man.prepare = prepare


@pytest.mark.parametrize("what", ["a message", "a call", "a byte stream"])
async def test_the_answer_needs_nothing_but_the_first_message(place: Place, what: str) -> None:
    await only_message_1(place)
    async with place.connect() as session:
        if what == "a message":
            assert await ask(session) == "early"
        elif what == "a call":
            assert await ADDER.client(session, "adder").add(2, 3) == 5
        else:
            async with await session.open_stream("bytes") as stream:
                await stream.send(b"something")
                assert await stream.receive() == b"you said something"
        await until(lambda: len(place.man.last.to_server.frames) > FIRST_RECORD)
        place.man.last.to_server.release()


async def test_what_is_for_others_waits_until_the_client_has_proved_to_be_there(place: Place) -> None:
    await only_message_1(place)
    async with place.connect() as session, await session.open("plain") as requests:
        reply, answers = chanlink.pipe()
        await requests.send(reply)
        assert await ask(session) == "early"
        await until(lambda: len(place.man.last.to_server.frames) > FIRST_RECORD)
        assert place.shop.asked == ["early"]
        place.man.last.to_server.release()
        assert await answers.receive() == "plain"
    assert place.shop.asked == ["early", "plain"]


async def test_a_service_that_there_is_not_is_refused_when_the_client_is_there(place: Place) -> None:
    async with place.connect() as session:
        with pytest.raises(chanlink.ChannelFailed) as caught:
            await ask(session, "nothing")
    assert caught.value.code == "no-such-service"


async def test_sessions_that_are_accepted_get_their_channels_when_the_client_is_there() -> None:
    known = KnownPrekeys()
    options: dict[str, Any] = {"identity": ALICE, "peer": SERVER.public_key, "early": True, "known_prekeys": known}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=EVERYBODY) as listener:
        for early in ("none", "taken"):
            async with chanlink.connect(listener.addresses[0], **options) as client:
                sender = await client.open("x")
                await sender.send("first")
                session = await listener.accept()
                incoming = await session.accept()
                assert await incoming.end.receive() == "first"
                await client.ping()
                assert client.early == early == session.early


async def test_many_messages_at_once_arrive_in_order(place: Place) -> None:
    """More than fits in the first message, and than the window of a channel."""
    async with place.connect() as session, await session.open_stream("bytes") as stream:
        await stream.send(bytes(7_000))
        assert len(await stream.receive()) > 9
    async with place.connect() as session:
        assert await ask(session, "plain") == "plain"
        assert session.early == "taken"


async def test_a_session_that_sends_nothing_begins_all_the_same(place: Place) -> None:
    async with place.connect() as session:
        await session.ping()
        assert session.early == "taken"
        assert session.id
        assert session.suite


async def test_one_that_is_left_at_once_has_delivered(place: Place) -> None:
    async with place.connect() as session:
        sender = await session.open("plain")
        await sender.send(chanlink.pipe()[0])
    await until(lambda: place.shop.asked == ["plain"])


# --- prekeys --------------------------------------------------------------------------------------------------


async def test_a_file_of_them_is_for_all_processes(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "prekeys"
    for early in ("none", "taken"):
        async with place.connect(known_prekeys=path) as session:
            await ask(session)
            assert session.early == early


async def test_a_file_that_another_process_holds_is_waited_for_no_longer_than_it_is_worth(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "known"
    monkeypatch.setattr(known_prekeys_module, "FILE_PATIENCE", 0.1)
    with edit(file):
        async with place.connect(known_prekeys=file) as session:
            assert session.early == "none"
        assert f"{file}: another process holds it" in caplog.text


async def test_who_is_cancelled_while_a_file_is_held_leaves_no_connection(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "known"
    monkeypatch.setattr(known_prekeys_module, "FILE_PATIENCE", PATIENCE)
    kept = KnownPrekeys(file)
    with edit(file):
        async with anyio.create_task_group() as tasks:

            async def try_it() -> None:
                async with place.connect(known_prekeys=kept):
                    raise AssertionError("the file is held")

            tasks.start_soon(try_it)
            await until(lambda: len(place.listener.sessions) == 1)
            tasks.cancel_scope.cancel()
        gc.disable()
        try:
            await until(lambda: not place.listener.sessions)
        finally:
            gc.enable()


async def test_without_a_word_they_are_in_the_cache_of_the_user(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for early in ("none", "taken"):
        async with place.connect(known_prekeys=None) as session:
            await ask(session)
            assert session.early == early
    assert (tmp_path / ".cache/chanlink/known_prekeys").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    async with place.connect(known_prekeys=None) as session:
        assert session.early == "none"
    assert (tmp_path / "elsewhere/chanlink/known_prekeys").exists()


async def test_a_client_that_has_not_asked_gets_none(place: Place) -> None:
    async with place.connect(early=False, known_prekeys=None) as session:
        assert session.early == "none"
        assert "prekey" not in session._below.welcome  # type: ignore[attr-defined]


async def test_a_key_that_is_not_expected_any_more_is_not_used(place: Place, tmp_path: Path) -> None:
    """The file of known peers says that it is revoked, or another one: nothing is said to it."""
    file = tmp_path / "known_peers"
    file.write_text(f"@revoked * {SERVER.public_key}\n")
    with pytest.raises(UntrustedPeer):
        async with place.connect(peer=None, trust=KnownPeers.load(file)):
            pass
    with pytest.raises(WrongPeer):
        async with place.connect(peer=BOB.public_key):
            pass
    assert all(len(connection.to_server.frames) == 2 for connection in place.man.connections[1:])
    file.write_text(f"[127.0.0.1]:{place.man.address.rpartition(':')[2]} {SERVER.public_key}\n")
    async with place.connect(peer=None, trust=KnownPeers.load(file)) as session:
        await ask(session)
        assert session.early == "taken"


async def test_whoever_is_met_for_the_first_time_is_met_by_the_ordinary_handshake(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "known_peers"
    for early in ("none", "taken"):
        async with place.connect(peer=None, trust=KnownPeers.load(file, first_use=True)) as session:
            await ask(session)
            assert session.early == early


async def test_a_full_memory_costs_a_round_trip_and_nothing_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prekeys_module, "MOST_REMEMBERED", 2)
    old, (packed,) = KnownPrekeys(), place.known._kept.values()
    old._put(place.man.address, packed)
    found = []
    for known in (place.known, place.known, old, old, place.known):
        async with place.connect(known_prekeys=known) as session:
            await ask(session)
            found.append(session.early)
    assert found == ["taken", "taken", "sent again", "taken", "taken"]
    assert place.shop.asked == ["early"] * 5


async def test_there_are_none_where_the_server_has_switched_them_off() -> None:
    async with open_place(prekey=0) as place:
        for _ in range(2):
            async with place.connect() as session:
                await ask(session)
                assert session.early == "none"


async def test_under_load_the_data_is_sent_again() -> None:
    async with open_place(handshake_load=1) as place:
        await place.learn()
        with socket.create_connection(("127.0.0.1", int(place.listener.addresses[0].rpartition(":")[2]))):
            await until(lambda: len(place.listener._greeter.admission) == 1)
            async with place.connect() as session:
                assert await ask(session) == "early"
                assert session.early == "sent again"
    assert place.shop.asked == ["early"]


# --- somebody on the path --------------------------------------------------------------------------------------


def recorded(connection: Connection) -> list[bytes]:
    """The hello and the first message."""
    return connection.to_server.frames[HELLO : MESSAGE_1 + 1]


async def replayed(place: Place, connection: Connection) -> bytes:
    """Deliver what was recorded to the server, and return what it says until it hangs up."""
    return await place.man.play(*recorded(connection))


async def test_a_first_message_that_is_delivered_twice_is_taken_once(place: Place) -> None:
    async with place.connect() as session:
        await ask(session)
    for _ in range(3):
        assert await replayed(place, place.man.last) == b""
    assert place.shop.asked == ["early"]


def spoil(connection: Connection) -> None:
    """A bit of the first message is another one."""
    connection.to_server.rule = flipping(MESSAGE_1, at=400)


async def lose(place: Place, name: str = "early", **options: Any) -> SessionError:
    """Ask for something of which nothing comes: why."""
    async with place.connect(**options) as session:
        with pytest.raises(chanlink.SessionLost):
            await ask(session, name)
        return await session.wait_closed()


@pytest.mark.parametrize("name", ["early", "plain"])
async def test_one_that_is_changed_and_delivered_elsewhere_is_taken_once_and_only_where_it_may(
    place: Place, name: str
) -> None:
    place.man.prepare = spoil
    reason = await lose(place, name)
    assert isinstance(reason, HandshakeError)
    assert reason.code == "no-answer"
    assert not place.shop.asked
    assert len(await replayed(place, place.man.last)) > 100
    assert await replayed(place, place.man.last) == b""
    assert place.shop.asked == (["early"] if name == "early" else [])


async def test_a_recording_that_was_taken_is_no_session_for_long() -> None:
    async with open_place(handshake=1.0, keepalive=0.3) as place:
        await place.learn()
        place.man.prepare = spoil
        await lose(place, "plain")
        assert len(await place.man.play(*recorded(place.man.last))) > 100  # until the server has hung up
        await until(lambda: not place.listener.sessions)
    assert not place.shop.asked


async def test_a_server_that_was_started_again_takes_what_the_one_before_has_taken() -> None:
    """The limit of the promise: no process remembers what another one has taken. Early services run twice, others
    once. The old server gets the first message from elsewhere, and its answer goes nowhere; the client's connection
    leads to the new one."""
    async with open_place() as old, open_place() as new:
        for name in ("early", "plain"):
            await old.learn()
            at_old, old.man._target = old.man._target, new.man._target

            async def steal(number: int, frame: bytes) -> bytes:
                if number == MESSAGE_1:
                    before = set(old.listener.sessions)
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(new.man.play, old.man.last.to_server.frames[HELLO], frame)
                        await until(lambda: not before.issuperset(old.listener.sessions))
                        if name == "early":  # noqa: B023
                            await until(lambda: old.shop.asked)
                        tasks.cancel_scope.cancel()
                return frame

            new.man._target = at_old
            old.man.prepare = lambda connection: setattr(connection.to_server, "rule", steal)
            async with old.connect() as session:
                assert await ask(session, name) == name
                assert session.early == "sent again"
            old.man.prepare = lambda connection: None
            old.known._kept.clear()
            old.man._target, new.man._target = at_old, old.man._target
        assert old.shop.asked == ["early"]
        assert new.shop.asked == ["early", "plain"]


async def test_whoever_hangs_up_makes_the_client_forget_the_prekey(place: Place) -> None:
    place.man.prepare = lambda connection: setattr(connection.to_server, "rule", cutting(connection))
    assert isinstance(await lose(place), HandshakeError)
    place.man.prepare = lambda connection: None
    async with place.connect() as session:
        await ask(session)
        assert session.early == "none"


def cutting(connection: Connection) -> Rule:
    """The connection is cut instead of the first message."""

    async def rule(number: int, frame: bytes) -> bytes:
        if number == MESSAGE_1:
            connection.cut()
        return frame

    return rule


async def test_an_answer_that_was_changed_ends_the_session(place: Place) -> None:
    place.man.prepare = lambda connection: setattr(connection.to_client, "rule", flipping(0))
    assert isinstance(await lose(place), HandshakeError)


async def test_an_answer_that_does_not_come_ends_the_session(place: Place) -> None:
    place.man.prepare = lambda connection: connection.to_client.hold()
    assert isinstance(await lose(place, timeout=0.2), chanlink.HandshakeTimeout)


# --- what can't be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"psk": bytes(32)}, {"resume": 10.0}, {"eager": True}])
async def test_it_goes_with_nothing_else_that_begins_in_another_way(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        async with chanlink.connect("tcp://127.0.0.1:1", identity=ALICE, peer=SERVER.public_key, early=True, **options):
            pass


async def test_known_prekeys_are_for_early_only() -> None:
    with pytest.raises(ConfigError, match="known_prekeys"):
        async with chanlink.connect(
            "tcp://127.0.0.1:1", identity=ALICE, peer=SERVER.public_key, known_prekeys=KnownPrekeys()
        ):
            pass


async def test_over_a_byte_stream_that_is_accepted_the_data_is_sent_again(place: Place) -> None:
    """Nobody has a prekey there. The client knows the server by its key, and has one of it from elsewhere."""
    (packed,) = place.known._kept.values()
    place.known._put(f"key {SERVER.public_key.fingerprint}", packed)
    near, far = chanlink.byte_pipe()

    async def accept() -> None:
        async with chanlink.accept(far, identity=SERVER, trust=EVERYBODY, services=place.shop.services) as session:
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        async with chanlink.connect(
            near, identity=ALICE, peer=SERVER.public_key, early=True, known_prekeys=place.known
        ) as session:
            assert await ask(session) == "early"
            assert session.early == "sent again"


async def test_a_client_whose_turn_it_is_not_is_told_busy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.listener._greeter.admission, "spoke", lambda visitor, now: False)
    reason = await lose(place)
    assert isinstance(reason, chanlink.SessionClosed)
    assert reason.code == "busy"
    assert not place.shop.asked


async def test_a_server_with_a_pre_shared_key_gives_none(place: Place) -> None:
    async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=EVERYBODY, psk=bytes(32)) as listener:
        place.man._target = ("127.0.0.1", int(listener.addresses[0].rpartition(":")[2]))
        assert isinstance(await lose(place), HandshakeError)
