"""Breaks that are longer than each time of `Limits`: these stand still while the session is away."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Limits, SessionClosed, SessionLost
from tests.attacker.frames import RECORD
from tests.attacker.man import Connection
from tests.patience import PATIENCE, until

from .places import LIMITS, Place, place, talk

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.usefixtures("no_leaks")]

SHORT = 0.25
BREAK = 4 * SHORT
"""Seconds."""
FAREWELL = 280
"""Bytes: more than each side says of its end, so that the last cuts come too late."""


async def idle(at: Place) -> None:
    await at.be_apart(BREAK)


async def half_a_message(at: Place) -> None:
    """Part of a message has come, and with it the opening of a stream that nobody has mentioned yet."""
    connection, sender = at.man.last, await at.near.open("parts")
    receiver = (await at.far.accept()).end
    connection.to_server.cut_at(connection.to_server.sent + 30_000)
    at.man.prepare = lambda connection: connection.to_server.hold()
    reply, answers = chanlink.pipe()
    await sender.send([reply, bytes(100_000)])
    await connection.wait_over()

    def keep_the_rest_back(connection: Connection) -> None:
        async def rule(number: int, frame: bytes) -> bytes:
            await anyio.sleep(SHORT if number == RECORD + 1 else 0.0)
            return frame

        connection.to_server.rule = rule

    at.man.prepare = keep_the_rest_back  # so that each look at the clock comes before it
    await at.be_apart(BREAK)
    (reply, data) = await receiver.receive()
    assert data == bytes(100_000)
    await reply.send("mentioned")
    assert await answers.receive() == "mentioned"


async def more_to_write_than_is_kept(at: Place) -> None:
    stream = await at.near.open_stream("bytes")
    far = (await at.far.accept()).end
    await at.part()
    got: list[bytes] = []

    async def read() -> None:
        async for piece in far:
            got.append(piece)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(at.be_apart, BREAK)
        for number in range(100):
            await stream.send(bytes([number]) * 10_000)
        await stream.send_eof()
    assert b"".join(got) == b"".join(bytes([number]) * 10_000 for number in range(100))


async def a_ping(at: Place) -> None:
    await at.part()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(at.near.ping)
        tasks.start_soon(at.far.ping)
        await anyio.sleep(BREAK)
        await at.join()


TIMES: dict[str, Any] = dict.fromkeys(["keepalive", "peer_timeout", "client_stopped", "unmentioned", "progress"], SHORT)
KEPT = 65_536


@pytest.mark.parametrize("what", [idle, half_a_message, more_to_write_than_is_kept, a_ping], ids=lambda f: f.__name__)
async def test_nothing_that_is_under_way_is_overdue_after_a_break(what: Callable[[Place], Awaitable[None]]) -> None:
    async with place(replace(LIMITS, unacknowledged=KEPT, **TIMES)) as at:
        await talk(at.near, at.far)
        await what(at)
        await talk(at.near, at.far)


async def test_these_are_all_times_that_stand_still() -> None:
    """Those of closing and of being away go on, as tests below say; two are none of a session."""
    times = {name for name in Limits.__slots__ if isinstance(getattr(Limits(), name), float)}
    assert times == {*TIMES, "close", "resume", "handshake", "trust_interval"}


async def test_closing_takes_no_longer_for_a_break() -> None:
    async with place(replace(LIMITS, close=SHORT)) as at:
        await at.part()
        sender = await at.near.open("never arrives")
        await sender.send("x")
        await at.near.aclose()
        assert isinstance(await at.near.wait_closed(), SessionClosed)
        assert isinstance(await sender.wait_closed(), SessionLost)
        at.far.abort()


async def test_a_break_that_is_longer_than_what_was_granted_is_a_loss() -> None:
    async with place(replace(LIMITS, resume=SHORT)) as at:
        await at.part()
        reason = await at.near.wait_closed()
        assert isinstance(reason, chanlink.ConnectionLost)
        at.far.abort()  # it would wait 15 s longer


async def test_a_session_that_was_closed_during_a_break_has_ended_in_order_for_both() -> None:
    async with place(replace(LIMITS, close=PATIENCE)) as at:
        await at.part()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(at.far.aclose)
            await until(lambda: at.far.state == "draining")
            at.man.reaches = True
            at.near.check()
        for session in (at.near, at.far):
            reason = await session.wait_closed()
            assert isinstance(reason, SessionClosed)
            assert not reason.code


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "to the client"])
@pytest.mark.parametrize("side", ["near", "far"])
async def test_an_end_in_order_stays_one_wherever_it_is_cut(side: str, to_server: bool) -> None:
    """Who only misses the last acknowledgement waits for it in vain, and has ended in order, too."""
    places, whole = range(0, FAREWELL, 20), 0
    for place_of_cut in places:
        async with place(replace(LIMITS, close=2.0)) as at:
            await talk(at.near, at.far)
            way = at.man.last.to_server if to_server else at.man.last.to_client
            way.cut_at(way.sent + place_of_cut)
            await (at.near if side == "near" else at.far).aclose()
            for session in (at.near, at.far):
                reason = await session.wait_closed()
                assert isinstance(reason, SessionClosed)
                assert not reason.code
            whole += len(at.man.connections) == 1
    assert 0 < whole < len(places)
