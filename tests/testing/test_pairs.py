"""Two sessions with keys, and faults between them."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Limits, SessionError
from chanlink.testing import session_pair_with_keys
from chanlink.testing.pairs import Over
from tests.echo import ask, echo

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@pytest.mark.parametrize("over", ["memory", "sockets"])
async def test_both_sides_have_proved_their_keys_and_may_serve(over: Over) -> None:
    async with session_pair_with_keys(services={"echo": echo}, client_services={"echo": echo}, over=over) as pair:
        client, server = pair
        assert (client, server) == (pair.client, pair.server)
        for session in pair:
            assert await ask(session) == "hello"
        assert (server.peer.name, client.peer.name) == ("client", "server")
        assert client.peer.key is not None
        assert client.exporter("both", 32) == server.exporter("both", 32)


async def test_the_client_may_use_what_it_was_allowed() -> None:
    async with session_pair_with_keys(services={"echo": echo, "more": echo}, may_use=["echo"]) as (client, _):
        assert await ask(client) == "hello"
        sender = await client.open("more")
        assert isinstance(await sender.wait_closed(), ChannelRefused)
        sender.close()


async def test_each_side_has_its_own_limits() -> None:
    async with session_pair_with_keys(Limits(message_size=10), Limits(message_size=1_000)) as (client, server):
        async with await client.open("service") as sender:
            await sender.send(bytes(900))
        (await server.accept()).end.close()
        async with await server.open("service") as sender:
            with pytest.raises(chanlink.MessageTooLarge):
                await sender.send(bytes(11))
        (await client.accept()).end.close()


async def test_an_exception_leaves_the_block_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with session_pair_with_keys():
            raise LookupError("mine")


@pytest.mark.parametrize("wire", ["client_wire", "server_wire"])
async def test_a_cut_on_either_side_is_the_end_of_both_sessions(wire: str) -> None:
    async with session_pair_with_keys() as pair:
        await getattr(pair, wire).cut()
        for session in pair:
            assert isinstance(await session.wait_closed(), SessionError)


@pytest.mark.parametrize("wire", ["client_wire", "server_wire"])
async def test_what_is_corrupted_on_either_side_is_noticed_and_never_delivered(wire: str) -> None:
    got: list[Any] = []

    async def note(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        async for request in requests:
            got.append(request)

    async with session_pair_with_keys(services={"note": note}) as pair:
        sender = await pair.client.open("note")
        getattr(pair, wire).corrupt()
        with pytest.raises((SessionError, chanlink.ChannelError)):
            while True:  # what is changed may be a length, and then it is the next record that is wrong
                await sender.send("a message")
        for session in pair:
            assert isinstance(await session.wait_closed(), SessionError)
        sender.close()
    assert not got


async def test_a_stalled_wire_keeps_things_back_until_it_flows_again() -> None:
    async with session_pair_with_keys(services={"echo": echo}) as pair, anyio.create_task_group() as tasks:
        answers: list[Any] = []
        pair.client_wire.stall()

        async def call() -> None:
            answers.append(await ask(pair.client))

        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert not answers
        pair.client_wire.resume()
    assert answers == ["hello"]


async def test_a_block_that_is_left_does_not_wait_for_a_stalled_wire() -> None:
    async with session_pair_with_keys() as pair:
        pair.server_wire.stall()


@pytest.mark.parametrize("side", ["client_faults", "server_faults"])
async def test_wherever_a_connection_is_cut_there_is_an_error_or_an_answer(side: str) -> None:
    """Also in each message of the handshake: nothing hangs, and nothing else comes out than was sent."""
    failed = 0
    for place in range(0, 1_500, 97):
        faults: dict[str, Any] = {side: {"cut_after": place}}
        try:
            async with session_pair_with_keys(services={"echo": echo}, **faults) as pair:
                assert await ask(pair.client) == "hello"
        except (SessionError, chanlink.ChannelError):
            failed += 1
    assert failed > 3


async def test_what_is_wrong_with_an_argument_is_said_before_anything_is_made() -> None:
    with pytest.raises(ValueError, match="'memory' or 'sockets'"):
        async with session_pair_with_keys(over="air"):  # type: ignore[arg-type]
            pass
    with pytest.raises(ValueError, match="piece"):
        async with session_pair_with_keys(over="sockets", server_faults={"piece": 0}):
            pass
