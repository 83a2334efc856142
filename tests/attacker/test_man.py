"""What the man on the path can do, and what sessions make of it: it ends them, and nothing else comes of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple

import anyio
import pytest

import chanlink
from chanlink import (
    ChanlinkError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    RemoteProtocolError,
    Session,
    SessionError,
)
from chanlink.testing import LocalServer, local_server
from tests.patience import PATIENCE, until

from .frames import HELLO, MESSAGE_1, MESSAGE_2, MESSAGE_3, RECORD, WELCOME, Frames
from .man import Connection, Man, attacker
from .rules import Rule, doubling, dropping, flipping, putting_before, turning_round

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


class Place(NamedTuple):
    server: LocalServer
    man: Man

    @asynccontextmanager
    async def connect(self, name: str = "client") -> AsyncIterator[Session]:
        identity = self.server.identity(name)
        async with chanlink.connect(self.man.address, identity=identity, peer=self.server.public_key) as session:
            yield session

    @asynccontextmanager
    async def both(self, name: str = "client") -> AsyncIterator[tuple[Session, Session]]:
        async with self.connect(name) as client:
            yield client, await self.server.listener.accept()


@pytest.fixture
async def place(no_leaks: object) -> AsyncIterator[Place]:
    with anyio.fail_after(PATIENCE):
        async with local_server() as server, attacker(server.address) as man:
            yield Place(server, man)


async def talk(client: Session, server: Session, count: int = 10) -> None:
    """Messages each way."""
    for opener, acceptor in ((client, server), (server, client)):
        sender, receiver = await opener.open("x"), (await acceptor.accept()).end
        async with sender, receiver:
            for number in range(count):
                await sender.send(number)
                assert await receiver.receive() == number


# --- nothing done -----------------------------------------------------------------------------------------


async def test_he_changes_nothing_by_being_there(place: Place) -> None:
    async with place.both() as (client, server):
        await talk(client, server)
    reason = await server.wait_closed()
    assert isinstance(reason, chanlink.SessionClosed)
    assert not reason.code


async def test_he_sees_each_frame(place: Place) -> None:
    async with place.both() as (client, server):
        await talk(client, server)
        (connection,) = place.man.connections
        assert connection.to_server.frames[HELLO].startswith(b"chanlink\1")
        assert len(connection.to_server.frames[MESSAGE_1]) == 34
        assert len(connection.to_client.frames[MESSAGE_2]) > len(connection.to_client.frames[WELCOME])
        assert len(connection.to_server.frames) > RECORD + 10
        assert sum(map(len, connection.to_server.frames)) == connection.to_server.sent


async def test_a_session_begins_within_four_flights(place: Place) -> None:
    async with place.both():
        assert place.man.flights() == 4


async def test_a_delay_keeps_order_and_adds_up_to_no_more_flights(place: Place) -> None:
    def slow(connection: Connection) -> None:
        connection.to_server.delay = connection.to_client.delay = 0.02

    place.man.prepare = slow
    async with place.both() as (client, server):
        await talk(client, server)


async def test_what_is_held_comes_when_it_is_released(place: Place) -> None:
    async with place.both() as (client, server):
        way = place.man.last.to_server
        way.hold()
        seen = len(way.frames)
        sender = await client.open("x")
        await sender.send("held")
        await way.until(seen + 1)
        with anyio.move_on_after(0.05) as scope:
            await server.accept()
        assert scope.cancelled_caught
        way.release()
        assert await (await server.accept()).end.receive() == "held"


# --- records --------------------------------------------------------------------------------------------


def inserting(frame: Callable[[Connection], bytes]) -> Callable[[Connection, int], Rule]:
    return lambda connection, which: putting_before(which, frame(connection))


RECORD_RULES: dict[str, Callable[[Connection, int], Rule]] = {
    "doubled": lambda connection, which: doubling(which),
    "left out": lambda connection, which: dropping(which),
    "turned round": lambda connection, which: turning_round(which),
    "changed": lambda connection, which: flipping(which),
    "changed in its length": lambda connection, which: flipping(which, at=1),
    "behind one of before": inserting(lambda connection: connection.to_server.frames[RECORD]),
    "behind one of the other way": inserting(lambda connection: connection.to_client.frames[WELCOME + 1]),
    "behind one of his own": inserting(lambda connection: b"\0\x20" + bytes(32)),
    "behind an empty one": inserting(lambda connection: b"\0\0"),
}


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "to the client"])
@pytest.mark.parametrize("name", RECORD_RULES)
async def test_a_record_that_is_not_the_next_one_ends_the_session(place: Place, name: str, to_server: bool) -> None:
    async with AsyncExitStack() as stack:
        client, server = await stack.enter_async_context(place.both())
        await talk(client, server)
        connection = place.man.last
        way = connection.to_server if to_server else connection.to_client
        way.rule = RECORD_RULES[name](connection, len(way.frames))
        with pytest.raises(ChanlinkError):
            while True:
                with anyio.move_on_after(0.1):  # what he has kept back is missed when more comes
                    await talk(client, server)
        reason = await (server if to_server else client).wait_closed()
        assert isinstance(reason, RemoteProtocolError)


@pytest.mark.parametrize("side", ["both", "client", "server"])
async def test_a_cut_at_a_byte_is_a_loss_for_whom_it_reaches(place: Place, side: str) -> None:
    async with place.both() as (client, server):
        await talk(client, server)
        connection = place.man.last
        cut = {"both": connection.cut, "client": connection.leave_client, "server": connection.leave_server}[side]
        last = connection.to_server.sent + 7
        connection.to_server.cut_at(last, cut)
        await (await client.open("x")).send("cut")
        for session, name in ((client, "client"), (server, "server")):
            if side in ("both", name):
                assert isinstance(await session.wait_closed(), ConnectionLost)
        assert connection.to_server.sent == last
        connection.cut()


async def test_an_end_without_a_word_is_a_loss(place: Place) -> None:
    async with place.both() as (client, server):
        place.man.last.end()
        for session in (client, server):
            assert isinstance(await session.wait_closed(), ConnectionLost)


async def test_a_connection_that_only_one_side_has_lost_lives_on_at_the_other(place: Place) -> None:
    async with place.both() as (client, server):
        place.man.last.leave_client()
        assert isinstance(await client.wait_closed(), ConnectionLost)
        with anyio.move_on_after(0.05) as scope:
            await server.wait_closed()
        assert scope.cancelled_caught
        place.man.last.cut()
        await server.wait_closed()


# --- two connections ------------------------------------------------------------------------------------


async def test_records_of_one_session_are_nothing_in_another_one(place: Place) -> None:
    async with place.both("one") as (one, one_there), place.both("other") as (other, other_there):
        await talk(one, one_there)
        await talk(other, other_there)
        first, second = place.man.connections
        first.to_server.sink, second.to_server.sink = second.to_server.sink, first.to_server.sink
        for client, server in ((one, other_there), (other, one_there)):
            with suppress(SessionError):
                await client.ping()
            assert isinstance(await server.wait_closed(), RemoteProtocolError)


# --- the handshake --------------------------------------------------------------------------------------

TO_SERVER, TO_CLIENT = True, False
MESSAGES = [
    (TO_SERVER, HELLO),
    (TO_SERVER, MESSAGE_1),
    (TO_CLIENT, MESSAGE_2),
    (TO_SERVER, MESSAGE_3),
    (TO_CLIENT, WELCOME),
]
HANDSHAKE_RULES: dict[str, Callable[[int], Rule]] = {
    "doubled": doubling,
    "changed": flipping,
    "changed in the middle": lambda which: flipping(which, at=16),
    "behind one of his own": lambda which: putting_before(which, b"\0\x20" + bytes(32)),
}


@pytest.mark.parametrize("message", MESSAGES, ids=["hello", "message 1", "message 2", "message 3", "welcome"])
@pytest.mark.parametrize("name", HANDSHAKE_RULES)
async def test_a_handshake_that_he_touches_gives_no_session(place: Place, name: str, message: tuple[bool, int]) -> None:
    def touch(connection: Connection) -> None:
        to_server, number = message
        way = connection.to_server if to_server else connection.to_client
        way.rule = HANDSHAKE_RULES[name](number)

    place.man.prepare = touch
    with suppress(SessionError):
        async with place.connect() as client:  # what comes double behind message 3, the session finds
            assert (name, message) in [("doubled", last) for last in MESSAGES[-2:]]
            await client.wait_closed()


async def test_a_handshake_that_is_played_again_makes_nobody_a_client(place: Place) -> None:
    async with place.both() as (client, server):
        await talk(client, server)
        answer = await place.man.play(*place.man.last.to_server.frames)
        assert list(Frames(hello=False).add(answer)) == [answer]  # message 2, at most
        assert place.server.listener.sessions == [server]
        await talk(client, server)


async def test_a_server_that_he_keeps_away_is_nobody(place: Place) -> None:
    place.man.reaches = False
    with pytest.raises((HandshakeError, ConnectFailed)):
        async with place.connect():
            pass
    assert not place.man.connections


async def test_a_handshake_that_is_held_goes_on_when_it_is_released(place: Place) -> None:
    place.man.prepare = lambda connection: connection.to_client.hold()
    async with anyio.create_task_group() as tasks:
        sessions: list[Any] = []

        async def client() -> None:
            async with place.both() as both:
                sessions.append(both)
                await talk(*both)

        tasks.start_soon(client)
        connection = await place.man.until_connected(1)
        await connection.to_client.until(MESSAGE_2 + 1)
        assert not sessions
        connection.to_client.release()
        await until(lambda: sessions)
