"""A session that drains: the peer opens nothing more, all else goes on, and whoever wants to know is told."""

from contextlib import suppress
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Limits, Session, SessionClosed
from chanlink.testing import session_pair
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


async def echo(requests: Any, peer: object) -> None:
    async for reply in requests:
        async with reply:
            await reply.send("served")


async def ask(sender: Any) -> Any:
    """A reply by an end that travels in the request."""
    reply, replies = chanlink.pipe()
    async with replies:
        await sender.send(reply)
        return await replies.receive()


async def told(session: Session) -> None:
    with anyio.fail_after(PATIENCE):
        await until(lambda: session.state == "draining")


async def test_what_is_open_goes_on_with_all_that_travels_in_it_and_nothing_new_begins() -> None:
    async with session_pair(services={"echo": echo}) as (client, server), await client.open("echo") as requests:
        assert await ask(requests) == "served"
        server.drain()
        assert server.state == "draining"
        await told(client)
        assert await ask(requests) == "served"
        for opening in (client.open, client.open_stream):
            with pytest.raises(ChannelRefused) as caught:
                await opening("echo")
            assert caught.value.code == "draining"
        assert not client.closed
        assert await ask(requests) == "served"
        await client.ping()
        await server.ping()


async def test_only_the_other_side_is_refused() -> None:
    async with session_pair(client_services={"echo": echo}, services={"echo": echo}) as (client, server):
        server.drain()
        await told(client)
        async with await server.open("echo") as requests:
            assert await ask(requests) == "served"
        client.drain()
        await until(lambda: server._mux._peer_drains)
        with pytest.raises(ChannelRefused, match="draining"):
            await server.open("echo")


async def test_a_channel_that_was_under_way_is_refused() -> None:
    async with session_pair(services={"echo": echo}) as (client, server):
        server.drain()
        crossing = await client.open("echo")  # it has not heard of it
        with anyio.fail_after(PATIENCE):
            reason = await crossing.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "draining"
        crossing.close()


async def test_a_request_on_a_channel_that_was_under_way_is_answered_by_the_same_word() -> None:
    async with session_pair(services={"echo": echo}) as (client, server):
        server.drain()
        async with await client.open("echo") as requests:
            with pytest.raises(chanlink.ChannelFailed) as caught:
                await ask(requests)
        assert caught.value.code == "draining"


async def test_a_peer_that_does_not_know_it_is_refused_and_sees_a_session_that_is_open() -> None:
    pair = session_pair(services={"echo": echo}, features=())
    async with pair as (client, server), await client.open("echo") as requests:
        assert await ask(requests) == "served"
        server.drain()
        assert server.state == "draining"
        assert await ask(requests) == "served"
        late = await client.open("echo")
        with anyio.fail_after(PATIENCE):
            reason = await late.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "draining"
        late.close()
        assert client.state == "open"
        assert await ask(requests) == "served"


async def test_accept_gives_what_has_come_before_and_then_says_so() -> None:
    async with session_pair() as (client, server):
        async with await client.open("first"), await client.open("second"):
            await until(lambda: server.statistics().unaccepted == 2)
            server.drain()
            assert [incoming.service async for incoming in server] == ["first", "second"]
            with pytest.raises(SessionClosed, match="draining"):
                await server.accept()
        assert not server.closed


async def test_a_task_that_waits_to_accept_is_told() -> None:
    async with session_pair() as (_, server), anyio.create_task_group() as tasks:

        async def accept() -> None:
            with pytest.raises(SessionClosed, match="draining"):
                await server.accept()

        tasks.start_soon(accept)
        await until(lambda: server._reception._accepting)
        server.drain()


async def test_a_task_that_waits_to_accept_waits_on_when_the_peer_drains() -> None:
    async with session_pair(client_services={"echo": echo}) as (client, server), anyio.create_task_group() as tasks:
        services = []

        async def accept() -> None:
            services.append((await server.accept()).service)

        tasks.start_soon(accept)
        client.drain()
        await told(server)
        async with await client.open("still"):
            await until(lambda: services)


# --- states ---------------------------------------------------------------------------------------


async def follow(session: Session, found: list[str]) -> None:
    async for state in session.states():
        found.append(state)


async def test_both_sides_can_follow_the_states_to_the_end() -> None:
    ours: list[str] = []
    theirs: list[str] = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, session_pair() as (client, server):
            tasks.start_soon(follow, client, ours)
            tasks.start_soon(follow, server, theirs)
            await until(lambda: ours == theirs == ["open"])
            server.drain()
            await until(lambda: ours == theirs == ["open", "draining"])
    assert ours == theirs == ["open", "draining", "closed"]
    assert client.state == server.state == "closed"


async def test_a_connection_that_dies_is_the_last_state_too() -> None:
    found: list[str] = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, session_pair() as (client, server):
            tasks.start_soon(follow, client, found)
            await until(lambda: found == ["open"])
            server.abort()
            await client.wait_closed()
    assert found[-1] == "closed"
    client.drain()
    assert client.state == "closed"


# --- work that stops ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["drain", "aclose"])
async def test_a_block_is_cancelled_once_this_side_takes_nothing_new(how: str) -> None:
    async with session_pair() as (client, server):
        async with anyio.create_task_group() as tasks:
            left: list[bool] = []

            async def work() -> None:
                with server.cancel_when_draining() as scope:
                    await anyio.sleep_forever()
                left.append(scope.cancelled_caught)

            tasks.start_soon(work)
            await until(lambda: server._followers._until_draining)
            client.drain()  # that does not concern it
            await told(server)
            assert not left
            if how == "drain":
                server.drain()
            else:
                tasks.start_soon(server.aclose)
            with anyio.fail_after(PATIENCE):
                await until(lambda: left)
        assert left == [True]
        with server.cancel_when_draining() as scope:  # and one that comes later at once
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert not server._followers._until_draining


async def test_a_block_that_is_left_before_is_not_cancelled() -> None:
    async with session_pair() as (_, server):
        with server.cancel_when_draining() as scope:
            await anyio.lowlevel.checkpoint()
        server.drain()
        await anyio.lowlevel.checkpoint()
        assert not scope.cancel_called
        assert not server._followers._until_draining


@pytest.mark.parametrize("how", ["aclose", "abort"])
async def test_when_the_peer_ends_the_session_what_has_come_is_taken_first(how: str) -> None:
    """The block is not cancelled: that would drop what was accepted from a client that closes in order."""
    taken: list[int] = []
    over = anyio.Event()

    async def count(numbers: Any, peer: object) -> None:
        with chanlink.current_session().cancel_when_draining() as scope:
            with suppress(chanlink.SessionLost):
                async for number in numbers:
                    taken.append(number)
            assert not scope.cancel_called
        over.set()

    with anyio.fail_after(PATIENCE):
        async with session_pair(services={"count": count}) as (client, _):
            numbers = await client.open("count")
            await numbers.send(0)
            await numbers.flush()
            for number in range(1, 100):
                numbers.send_nowait(number)
            if how == "aclose":
                await client.aclose()
            else:
                client.abort()
            await over.wait()
            numbers.close()
    assert taken == list(range(100 if how == "aclose" else len(taken)))


async def test_a_service_finishes_its_work_and_is_done() -> None:
    """As it is meant to be used: the client's end is over in order, though it has not ended anything itself."""
    taken: list[int] = []

    async def count(numbers: Any, peer: object) -> None:
        with chanlink.current_session().cancel_when_draining():
            async for number in numbers:
                taken.append(number)

    with anyio.fail_after(PATIENCE):
        async with session_pair(services={"count": count}) as (client, server):
            numbers = await client.open("count")
            await numbers.send(1)
            await numbers.flush()
            server.drain()
            reason = await numbers.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert (reason.code, taken) == ("done", [1])
            numbers.close()


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["the one that drains", "the other one", "both"])
async def test_a_session_that_drains_is_closed_without_waiting_for_anybodys_time(who: str) -> None:
    """The side that closes waits for the second DRAIN of one that drains, which has to answer."""
    found: list[tuple[str, str]] = []

    async def close(session: Session) -> None:
        await session.aclose()
        found.append((session.state, str(await session.wait_closed())))

    with anyio.fail_after(PATIENCE):
        async with session_pair(Limits(close=10 * PATIENCE)) as (client, server):
            server.drain()
            await told(client)
            async with anyio.create_task_group() as tasks:
                if who != "the other one":
                    tasks.start_soon(close, server)
                if who != "the one that drains":
                    tasks.start_soon(close, client)
    assert set(found) == {("closed", "the session was closed")}


async def test_what_a_side_that_drains_has_accepted_arrives_before_the_other_one_closes() -> None:
    async with session_pair() as (client, server):
        sender = await server.open("news")
        receiver = (await client.accept()).end
        server.drain()
        await told(client)
        for number in range(300):
            sender.send_nowait([number, bytes(40)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.aclose)
            async with sender:
                pass
            got = [number async for number, _ in receiver]
        assert got == list(range(300))
