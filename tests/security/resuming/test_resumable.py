"""One stream over one connection after the other: what is sent, what comes, and that a break changes nothing."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio
import pytest

from chanlink import ConnectionLost, RemoteProtocolError, SessionClosed
from chanlink.errors import LocalProtocolError
from chanlink.security.resuming.resumable import ResumableStream
from chanlink.security.resuming.silence import ANSWER, ASKED
from tests.patience import until

from .pairs import MOST, joined, over_sockets, over_wires

pytestmark = pytest.mark.anyio


async def received(stream: ResumableStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive(size - len(data))
    return data


class Collected:
    """What one side is handed, and how its receiving ends."""

    def __init__(self, stream: ResumableStream) -> None:
        self.stream = stream
        self.data = bytearray()
        self.end: BaseException | None = None

    def take(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            assert piece
            self.data += piece

    async def run(self) -> None:
        try:
            await self.stream.receive_all(self.take)
        except Exception as exc:
            self.end = exc


@asynccontextmanager
async def reading(stream: ResumableStream) -> AsyncIterator[Collected]:
    """A task takes what comes, as a session does."""
    collected = Collected(stream)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collected.run)
        yield collected
        tasks.cancel_scope.cancel()


# --- over one connection --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [over_sockets(), over_wires(), over_wires(piece=1_000)])
async def test_parts_arrive_in_their_order_and_the_close_behind_them(make: object) -> None:
    async with joined(make) as pair, reading(pair.client):  # type: ignore[arg-type]
        parts = [os.urandom(size) for size in (1, 10, 70_000, 3, 200_000)]
        collected = Collected(pair.server)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collected.run)
            await pair.client.send_parts([parts[0], bytearray(parts[1]), memoryview(parts[2])])
            await pair.client.send_parts([])
            await pair.client.send_parts(parts[3:])
            await pair.client.send(b"the last of it")
            await pair.client.send_close("done", "it is over")
        assert collected.data == b"".join(parts) + b"the last of it"
        assert isinstance(collected.end, anyio.EndOfStream)
        assert pair.server.peer_close == ("done", "it is over")
        with pytest.raises(ConnectionLost, match="closed on this side"):
            await pair.client.send(b"more")


async def test_what_can_leave_at_once_leaves_without_a_turn_of_another_task() -> None:
    async with joined() as pair:
        assert pair.client.can_send_now
        assert pair.client.send_now([b"first"])
        assert await pair.server.receive() == b"first"


async def test_what_does_not_leave_now_leaves_by_and_by() -> None:
    async with joined(unacknowledged=2**20) as pair, reading(pair.client):
        data = os.urandom(500_000)
        assert not pair.client.send_now([data])
        assert not pair.client.can_send_now
        assert pair.client.has_output()
        assert await received(pair.server, len(data)) == data
        await pair.client.send_parts([])
        assert not pair.client.has_output()


async def test_what_a_cancelled_sender_was_given_leaves_all_the_same() -> None:
    async with joined() as pair, reading(pair.client), reading(pair.server) as collected:
        data = os.urandom(MOST * 10)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await pair.client.send(data)
        await pair.client.send_close("done")
        await until(lambda: collected.end is not None)
        assert collected.data == data


async def test_who_sends_waits_while_as_much_is_kept_as_may_be() -> None:
    async with joined(over_wires(), tick=1_000) as pair, reading(pair.client):
        await pair.client.send(bytes(MOST // 4 - 1))  # of which the server need not say that it has come
        assert len(await pair.server.receive()) == MOST // 4 - 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pair.client.send, bytes(MOST))
            await anyio.wait_all_tasks_blocked()
            assert not pair.client.can_send_now
            assert len(await received(pair.server, MOST)) == MOST
        assert pair.client.sent == pair.server.received == MOST + MOST // 4 - 1


async def test_what_has_come_is_acknowledged_after_a_tick_though_it_is_little() -> None:
    async with joined() as pair, reading(pair.client):
        await pair.client.send(b"little")
        assert await pair.server.receive() == b"little"
        assert not pair.client.settled
        await until(lambda: pair.client.settled)


# --- breaks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1])
async def test_a_break_is_noticed_by_nothing_but_time(side: int) -> None:
    async with joined() as pair:
        near, far = Collected(pair.client), Collected(pair.server)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(near.run)
            tasks.start_soon(far.run)
            said = b""
            for number in range(10):
                data = os.urandom(30_000)
                await pair.client.send(data)
                await pair.server.send(data[::-1])
                said += data
                await pair.cut(side)
                await until(lambda number=number: pair.connections == number + 1)  # type: ignore[misc]
            await pair.client.send_close("done")
            await pair.server.send_close("done, too")
        assert far.data == said
        assert pair.client.peer_close == ("done, too", "")


async def test_an_orderly_end_survives_a_break_and_both_sides_know_of_it() -> None:
    async with joined() as pair:
        pair.hold()
        pair.client.freeze()
        pair.server.freeze()
        await pair.client.send_close("done", "it is over")
        assert not pair.client.settled
        async with anyio.create_task_group() as tasks:

            async def answer() -> None:
                with pytest.raises(anyio.EndOfStream):
                    await pair.server.receive()
                await pair.server.send_close("done, too")
                await pair.server.finish()

            tasks.start_soon(answer)
            tasks.start_soon(pair.client.finish)
            pair.may_return.set()
        assert pair.client.settled
        assert pair.server.settled
        assert pair.server.peer_close == ("done", "it is over")
        await pair.client.aclose()
        await pair.server.aclose()
        assert pair.ends == [None, None]


async def test_who_is_away_for_too_long_is_lost() -> None:
    async with joined(patience=0.05) as pair:
        pair.hold()
        await pair.cut()
        for stream in pair.client, pair.server:
            with pytest.raises(ConnectionLost, match=r"^the connection was away for more than 0\.05 s$"):
                await stream.receive()
            with pytest.raises(ConnectionLost):
                await stream.send(b"something")
        assert [type(end) for end in pair.ends] == [ConnectionLost, ConnectionLost]


async def test_a_client_of_which_nothing_was_heard_is_not_waited_for_so_long() -> None:
    async with joined(unheard=0.05) as pair:
        pair.hold()
        await pair.server.send(b"nobody may know of it")
        await pair.cut()
        with pytest.raises(ConnectionLost, match=r"^the connection was away for more than 0\.05 s$"):
            await pair.server.receive()
        assert not pair.client._lost


@pytest.mark.parametrize("by", ["data", "a return"])
async def test_a_client_that_was_heard_is_waited_for(by: str) -> None:
    async with joined(unheard=0.05) as pair:
        if by == "data":
            await pair.client.send(b"x")
            assert await pair.server.receive() == b"x"
        else:
            pair.client.freeze()
            await until(lambda: pair.connections == 1)
        pair.hold()
        pair.client.freeze()
        pair.server.freeze()
        await anyio.sleep(0.2)
        pair.may_return.set()
        await pair.client.send(b"back")
        assert await pair.server.receive() == b"back"


async def test_who_comes_back_to_a_verdict_is_lost_by_it() -> None:
    async with joined() as pair:

        async def come_back() -> None:
            raise SessionClosed("revoked")

        pair.client._come_back = come_back
        await pair.cut()
        with pytest.raises(SessionClosed, match="revoked"):
            await pair.client.receive()


async def test_a_count_that_can_not_be_ends_the_session() -> None:
    async with joined() as pair:
        pair.hold()
        await pair.client.send(b"four")
        assert await pair.server.receive() == b"four"
        pair.client.freeze()
        one, two = pair.make()
        assert pair.client.fits(4)
        assert not pair.client.fits(5)
        with pytest.raises(RemoteProtocolError):
            pair.client.attach(one, 5)
        with pytest.raises(RemoteProtocolError):
            await pair.client.receive()
        for end in one, two:
            await anyio.aclose_forcefully(end)


async def test_what_was_frozen_takes_nothing_more_from_its_connection() -> None:
    async with joined() as pair:
        await pair.server.send(b"before")
        assert await pair.client.receive() == b"before"
        await pair.server.send(b"behind it")
        assert pair.client.freeze() == 6
        assert pair.client.freeze() == 6
        assert await pair.client.receive() == b"behind it"  # by the next one
        assert pair.client.received == 15
        assert pair.server.sent_again == 9


async def test_the_clock_stands_still_while_it_is_away() -> None:
    async with joined() as pair:
        pair.hold()
        assert pair.client.survives(ConnectionLost("it is slow"))
        then = pair.client.clock()
        await anyio.sleep(0.02)
        assert pair.client.clock() == then
        pair.may_return.set()
        await until(lambda: not pair.client.is_away)
        assert then <= pair.client.clock()


async def test_states_are_told() -> None:
    async with joined() as pair:
        told: list[bool] = []
        pair.client.on_state(lambda: told.append(pair.client.is_away))
        assert pair.client.survives(ConnectionLost("it is slow"))
        await until(lambda: len(told) == 2)
        assert told == [True, False]
        assert str(pair.client.away_because) == "it is slow"


# --- whose fault it is ----------------------------------------------------------------------------------


async def test_a_count_of_what_was_never_sent_ends_it_and_is_no_break() -> None:
    async with joined() as pair, reading(pair.client) as collected:
        pair.near[1].acknowledge(1_000_000)
        await pair.server.send(b"something")
        await until(lambda: collected.end is not None)
        assert isinstance(collected.end, RemoteProtocolError)
        assert not pair.client.is_away


@pytest.mark.parametrize("who", ["client", "server"])
async def test_only_a_client_may_be_stopped_for_long(who: str) -> None:
    """Its machine is there, which is known of a Unix socket; of a server that hangs nobody waits for the end."""
    async with joined(tick=1_000) as pair:
        pair.hold()
        asks = pair.server if who == "client" else pair.client
        await asks.send(b"a question")
        for _ in range(ANSWER + 1):
            asks._look()
        assert asks.is_away is (who == "server")
        if who == "client":
            await anyio.aclose_forcefully(pair.near[1])  # as a machine that is gone
            asks._look()
            assert asks.is_away


async def test_a_check_leaves_little_time() -> None:
    async with joined(tick=1_000) as pair:
        pair.hold()
        await pair.client.send(b"a question")
        pair.client.check()
        for _ in range(ASKED):
            pair.client._look()
        assert not pair.client.is_away
        pair.client._look()
        assert pair.client.is_away


async def test_the_keys_of_a_connection_that_was_given_up_are_forgotten_at_once() -> None:
    async with joined() as pair:
        pair.hold()
        pair.client.freeze()
        assert pair.near[0]._keys.forgotten
        assert not pair.near[1]._keys.forgotten
        pair.may_return.set()
        await pair.client.send(b"by other keys")
        assert await pair.server.receive() == b"by other keys"


async def test_figures_are_of_all_connections() -> None:
    async with joined() as pair:
        assert (pair.client.epoch, pair.client.suite) == (0, "chachapoly")
        secret = pair.client.export("label", 32)
        volumes = [pair.client.volume]
        for number in range(1, 4):
            await pair.client.send(bytes(1_000))
            assert await received(pair.server, 1_000) == bytes(1_000)
            volumes.append(pair.client.volume)
            pair.client.freeze()
            await until(lambda number=number: pair.connections == number)  # type: ignore[misc]
            assert pair.client.epoch == number
        assert volumes == sorted(volumes)
        assert volumes[-1] > 3_000
        assert pair.client.export("label", 32) == secret, "that of the first one"


async def test_a_child_that_was_forked_can_do_nothing_with_it() -> None:
    async with joined() as pair:
        stream = pair.client
        stream.forget()
        with pytest.raises(ConnectionLost, match="forked"):
            await stream.send(b"something")
        with pytest.raises(ConnectionLost, match="forked"):
            await stream.receive()
        with pytest.raises(LocalProtocolError):
            stream.export("label", 32)
        await anyio.aclose_forcefully(pair.near[0])
