"""A session over a stream that outlives its connection: what it notices of a break, and what not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from chanlink import ConnectionLost, Limits, Peer, RemoteProtocolError, Session, SessionClosed, pipe
from chanlink.instrument import Instrument, Instruments, SessionInfo
from tests.patience import PATIENCE, until
from tests.security.resuming.pairs import Pair, over_sockets

pytestmark = pytest.mark.anyio


class Both(Pair):
    """Two sessions that can be broken off."""

    def __init__(self, limits: Limits | None = None, instruments: Instruments | None = None, **settings: float) -> None:
        super().__init__(over_sockets(), **settings)  # type: ignore[arg-type]
        self.here = Session(
            self.client, client_side=True, peer=Peer(None, "server", "here"), limits=limits, instruments=instruments
        )
        self.there = Session(self.server, client_side=False, peer=Peer(None, "client", "here"), limits=limits)

    def break_off(self) -> None:
        """Both sides notice it at once."""
        for stream in self.client, self.server:
            assert stream.survives(ConnectionLost("it broke"))


@asynccontextmanager
async def sessions(
    limits: Limits | None = None, instruments: Instruments | None = None, **settings: float
) -> AsyncIterator[Both]:
    both = Both(limits, instruments, **settings)
    with anyio.fail_after(PATIENCE):
        async with both.there, both.here:
            yield both


# --- what goes on ---------------------------------------------------------------------------------------


async def test_messages_pass_in_both_directions_whatever_breaks() -> None:
    async with sessions() as both:
        sender = await both.here.open("letters")
        incoming = await both.there.accept()
        receiver = incoming.end
        answers, answer = pipe()
        await sender.send({"answers": answers})
        back = (await receiver.receive())["answers"]  # type: ignore[union-attr]
        for number in range(40):
            await sender.send({"number": number, "body": bytes(5_000)})
            if number % 4 == 0:
                await both.cut(number % 8 // 4)
            assert (await receiver.receive())["number"] == number  # type: ignore[union-attr]
            await back.send(number)
            assert await answer.receive() == number
        assert both.connections >= 10
        assert both.here.statistics().volume > 40 * 5_000


async def test_a_large_message_passes_over_many_connections() -> None:
    async with sessions(unacknowledged=2**20) as both:
        sender = await both.here.open("letters")
        receiver = (await both.there.accept()).end
        body = bytes(range(256)) * 10_000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.send, body)

            for count in range(1, 20):
                await until(lambda count=count: both.server.received > count * 100_000)  # type: ignore[misc]
                await both.cut(count % 2)
            assert await receiver.receive() == body  # type: ignore[union-attr]


# --- states ---------------------------------------------------------------------------------------------


async def test_its_state_says_that_it_is_away() -> None:
    told: list[str] = []

    class Told(Instrument):
        def session_changed(self, session: SessionInfo, state: str) -> None:
            told.append(state)

    async with sessions(instruments=Instruments([Told()])) as both:
        states = both.here.states()
        assert await anext(states) == "open"
        both.hold()
        both.break_off()
        assert both.here.state == both.there.state == "away"
        assert await anext(states) == "away"
        assert not both.here.closed
        both.may_return.set()
        assert await anext(states) == "open"
        assert told == ["away", "open"]


async def test_draining_wins() -> None:
    async with sessions() as both:
        both.hold()
        both.here.drain()
        both.break_off()
        assert both.here.state == "draining"
        assert both.there.state == "away"
        both.may_return.set()
        await until(lambda: both.there.state == "draining")


# --- ends -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "server"])
async def test_an_end_in_order_survives_a_break(who: str) -> None:
    async with sessions() as both:
        closing, other = (both.here, both.there) if who == "client" else (both.there, both.here)
        sender = await closing.open("letters")
        receiver = (await other.accept()).end
        both.hold()
        both.break_off()
        async with anyio.create_task_group() as tasks:

            async def close() -> None:
                await sender.send("the last one")
                await sender.aclose()
                await closing.aclose()

            tasks.start_soon(close)
            await until(lambda: closing.state == "draining")
            both.may_return.set()
            assert await receiver.receive() == "the last one"  # type: ignore[union-attr]
            with pytest.raises(anyio.EndOfStream):
                await receiver.receive()  # type: ignore[union-attr]
        for session in closing, other:
            cause = await session.wait_closed()
            assert isinstance(cause, SessionClosed)
            assert cause.code == ""
    assert both.ends == [None, None]


async def test_both_sides_may_close_at_the_same_time() -> None:
    async with sessions() as both, anyio.create_task_group() as tasks:
        tasks.start_soon(both.here.aclose)
        tasks.start_soon(both.there.aclose)
        await both.cut()
    assert both.ends == [None, None]


async def test_a_session_that_nobody_comes_back_to_is_lost() -> None:
    async with sessions(patience=0.05) as both:
        both.hold()
        both.break_off()
        assert isinstance(await both.here.wait_closed(), ConnectionLost)
        assert isinstance(await both.there.wait_closed(), ConnectionLost)
        assert all(isinstance(end, ConnectionLost) for end in both.ends)


async def test_closing_does_not_wait_for_a_return_longer_than_it_may() -> None:
    async with sessions(Limits(close=0.05)) as both:
        both.hold()
        both.break_off()
        await both.here.aclose()
        assert both.here.state == "closed"
        await both.here.wait_closed()
        both.there.abort()


async def test_who_is_cancelled_while_it_closes_waits_for_no_return() -> None:
    async with sessions(Limits(close=10 * PATIENCE)) as both:
        both.hold()
        both.break_off()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(both.here.aclose)
            await until(lambda: both.here.state == "draining")
            tasks.cancel_scope.cancel()
        assert isinstance(await both.here.wait_closed(), SessionClosed)
        both.there.abort()


async def test_what_is_wrong_inside_of_records_ends_it_and_the_peer_is_told() -> None:
    async with sessions() as both:
        both.server.send_now([b"no frame of HTTP/2 at all"])
        assert isinstance(await both.here.wait_closed(), RemoteProtocolError)
        cause = await both.there.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "protocol-error"


async def test_one_that_is_aborted_is_over_at_once_though_it_is_away() -> None:
    async with sessions() as both:
        both.hold()
        both.break_off()
        both.here.abort()
        await both.here.wait_closed()
        both.there.abort()


# --- times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["peer_timeout", "progress", "unmentioned", "keepalive"])
async def test_every_time_stands_still_while_it_is_away(name: str) -> None:
    limits = Limits(**{name: 0.2})
    async with sessions(limits) as both:
        sender = await both.here.open("letters")
        receiver = (await both.there.accept()).end
        theirs, ours = pipe()
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                await sender.send({"ours": theirs, "body": bytes(2**20)})  # whose beginning comes before the break

            tasks.start_soon(send)
            both.hold()
            both.break_off()
            await anyio.sleep(3 * 0.2)
            assert both.here.state == both.there.state == "away"
            both.may_return.set()
            message = await receiver.receive()  # type: ignore[union-attr]
        await message["ours"].send("still there")
        assert await ours.receive() == "still there"
        await until(lambda: both.here.state == both.there.state == "open")


async def test_a_write_that_gets_no_further_is_none_of_the_session() -> None:
    """The peer is there and reads nothing for longer than it may."""
    both = Both(Limits(progress=0.1, peer_timeout=1_000), tick=1_000)
    with anyio.fail_after(PATIENCE):
        async with both.here:
            both.hold()
            async with anyio.create_task_group() as tasks:
                for _ in range(8):  # more than is kept, in the windows of all of them
                    tasks.start_soon((await both.here.open("letters")).send, bytes(2**20))
                await until(lambda: both.here.state == "away")
                assert "took nothing for 0.1 s" in str(both.client.away_because)
                tasks.cancel_scope.cancel()
            both.here.abort()
    await anyio.aclose_forcefully(both.server)


# --- doubts ---------------------------------------------------------------------------------------------


async def test_a_check_finds_out_soon_whether_the_connection_works() -> None:
    both = Both()
    with anyio.fail_after(PATIENCE):
        async with both.here:
            both.hold()
            both.here.check()
            both.here.check()
            await until(lambda: both.here.state == "away")
            assert "nothing came from the peer for 3 s" in str(both.client.away_because)
            both.here.abort()
    await anyio.aclose_forcefully(both.server)


async def test_a_check_of_one_that_works_changes_nothing() -> None:
    async with sessions() as both:
        both.here.check()
        await until(lambda: both.client.settled)
        assert both.here.state == "open"
        assert both.connections == 0


async def test_who_is_away_hears_of_a_check() -> None:
    async with sessions() as both:
        both.hold()
        both.break_off()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(both.client.wait_checked)
            await anyio.wait_all_tasks_blocked()
            both.here.check()
        both.may_return.set()
