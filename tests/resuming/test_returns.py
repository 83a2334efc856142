"""What the man on the path can do to a client that comes back: keep it waiting."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Identity, Limits, Trust
from tests.attacker.frames import HELLO, MESSAGE_1, MESSAGE_2, MESSAGE_3, RECORD, WELCOME
from tests.attacker.man import Connection, attacker
from tests.attacker.rules import Rule, doubling, dropping, flipping, putting_before
from tests.patience import PATIENCE, until

from .places import LIMITS, Place, place, talk

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

TO_SERVER, TO_CLIENT = True, False
FRAMES = {
    "hello": (TO_SERVER, HELLO),
    "message 1": (TO_SERVER, MESSAGE_1),
    "message 2": (TO_CLIENT, MESSAGE_2),
    "message 3": (TO_SERVER, MESSAGE_3),
    "record 5": (TO_SERVER, RECORD),
    "welcome": (TO_CLIENT, WELCOME),
}
RULES: dict[str, Callable[[int], Rule]] = {
    "doubled": doubling,
    "left out": dropping,
    "changed": flipping,
    "changed in the middle": lambda which: flipping(which, at=16),
    "behind one of his own": lambda which: putting_before(which, b"\0\x30" + bytes(48)),
}


def only_the_next(at: Place, act: Callable[[Connection], None]) -> None:
    """Do this to the next connection, and let those behind it alone."""

    def prepare(connection: Connection) -> None:
        at.man.prepare = lambda connection: None
        act(connection)

    at.man.prepare = prepare


async def come_back(at: Place) -> None:
    """Until both sides have the same connection, whatever becomes of others."""
    await talk(at.near, at.far)
    assert at.server.listener.sessions == [at.far]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("rule", RULES)
async def test_an_attempt_that_he_touches_is_followed_by_one_that_succeeds(rule: str, frame: str) -> None:
    to_server, number = FRAMES[frame]

    def touch(connection: Connection) -> None:
        way = connection.to_server if to_server else connection.to_client
        way.rule = RULES[rule](number)

    async with place(Limits(resume=PATIENCE, handshake=1.0)) as at:
        await talk(at.near, at.far)
        only_the_next(at, touch)
        at.man.last.cut()
        await come_back(at)


@pytest.mark.parametrize("frame", FRAMES)
async def test_an_attempt_that_is_cut_within_any_frame_is_followed_by_one_that_succeeds(frame: str) -> None:
    to_server, number = FRAMES[frame]
    async with place() as at:
        for inside in (0, 1, 2, 20):

            def touch(connection: Connection, inside: int = inside) -> None:
                way = connection.to_server if to_server else connection.to_client

                async def rule(which: int, data: bytes) -> bytes:
                    if which == number:
                        way.cut_at(way.sent + inside)
                    return data

                way.rule = rule

            only_the_next(at, touch)
            at.man.last.cut()
            await come_back(at)
        assert len(at.man.connections) > 4


async def test_a_return_that_is_held_until_another_one_has_succeeded_is_nothing_any_more() -> None:
    """Its proof is good, and its attempt is not the highest one. The server does not know that the client has gone."""
    async with place(Limits(handshake=1.0), LIMITS) as at:
        await talk(at.near, at.far)
        held: list[Connection] = []

        def hold(connection: Connection) -> None:
            connection.passes_ends = False

            async def rule(number: int, frame: bytes) -> bytes:
                if number == MESSAGE_3:
                    connection.to_server.hold()
                    held.append(connection)
                return frame

            connection.to_server.rule = rule

        only_the_next(at, hold)
        at.man.last.cut()
        await until(lambda: held)
        await come_back(at)  # by another attempt, when the time of the first one is over
        count, frames = len(at.man.connections), len(held[0].to_server.frames)
        assert frames == RECORD + 1
        held[0].to_server.release()
        await held[0].wait_over()
        assert held[0].to_server.sent == sum(map(len, held[0].to_server.frames)), "the server has read all of it"
        await come_back(at)
        assert len(at.man.connections) == count


async def test_a_return_that_is_played_again_is_nothing() -> None:
    async with place() as at:
        at.man.last.cut()
        await come_back(at)
        count = len(at.man.connections)
        for connection in at.man.connections:
            await at.man.play(*connection.to_server.frames)
        await come_back(at)
        assert len(at.man.connections) == count


async def test_an_old_connection_that_lives_on_at_one_side_is_closed_there_by_the_return() -> None:
    async with place() as at:
        await talk(at.near, at.far)
        old = at.man.last
        old.leave_client()
        await come_back(at)
        await old.wait_over()
        old = at.man.last
        frames = list(old.to_server.frames)
        old.leave_client()
        await come_back(at)
        await at.man.last.to_server.inject(frames[-1])  # of the connection before: it does not open
        await come_back(at)


async def test_two_clients_whose_returns_are_exchanged_come_back_to_their_own_sessions() -> None:
    limits = Limits(resume=PATIENCE, handshake=1.0)
    async with place(limits) as one, place(limits) as other:
        met: list[Connection] = []

        def meet(connection: Connection) -> None:
            connection.to_server.hold()
            met.append(connection)

        for at in (one, other):
            await talk(at.near, at.far)
            only_the_next(at, meet)
            at.man.last.cut()
        await until(lambda: len(met) == 2)
        first, second = (connection.to_server for connection in met)
        first.sink, second.sink = second.sink, first.sink
        for connection in met:
            connection.to_server.release()
        for at in (one, other):
            await come_back(at)
            assert len(at.man.connections) > 2


@pytest.mark.slow
async def test_the_first_message_after_a_break_needs_four_round_trips_at_most() -> None:
    """Over a way of 200 ms there and back: one of TCP, and what passes the man in turns of both sides."""

    def far_away(connection: Connection) -> None:
        connection.to_server.delay = connection.to_client.delay = 0.1

    async with place() as at:
        sender = await at.near.open("x")
        receiver: Any = (await at.far.accept()).end
        await at.near.ping()
        at.man.prepare = far_away
        at.man.last.cut()
        await until(lambda: at.near.state == "away")
        began = len(at.man.log)
        await sender.send("first")
        assert await receiver.receive() == "first"
        assert 2 + at.man.flights(began) <= 2 * 4


async def test_data_waits_for_nobody_who_only_pretends_to_be_the_server() -> None:
    """A client that is away gives nothing of what it keeps to who is no server of ours."""
    async with place() as at:
        await at.part()
        sender = await at.near.open("x")
        await sender.send("secret" * 100)
        only_the_next(at, lambda connection: setattr(connection.to_client, "rule", flipping(MESSAGE_2)))
        await at.join()
        refused = at.man.connections[1]
        await refused.wait_over()
        assert len(refused.to_server.frames) == MESSAGE_1 + 1
        with anyio.fail_after(PATIENCE):
            assert await (await at.far.accept()).end.receive() == "secret" * 100


async def test_with_a_shared_key_too_a_session_goes_on_and_no_recording_does() -> None:
    here, there, psk = Identity.generate("client"), Identity.generate("server"), bytes(range(32))
    async with (
        chanlink.listen("tcp://127.0.0.1:0", identity=there, trust=Trust.of(here.public_key), psk=psk) as server,
        attacker(server.addresses[0]) as man,
        chanlink.connect(man.address, identity=here, peer=there.public_key, psk=psk, resume=PATIENCE) as near,
    ):
        far = await server.accept()
        for _ in range(3):
            man.last.cut()
            await talk(near, far)
        for connection in list(man.connections):
            assert await man.play(*connection.to_server.frames) == b"", "message 1 is one that was seen before"
        await talk(near, far)
        assert server.sessions == [far]


@pytest.mark.slow
@pytest.mark.waits
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_that_only_went_silent_is_given_up_by_itself_when_an_answer_is_due() -> None:
    async with place() as at:
        await talk(at.near, at.far)
        for way in (at.man.last.to_server, at.man.last.to_client):
            way.hold()
        await talk(at.near, at.far)
        assert len(at.man.connections) == 2
