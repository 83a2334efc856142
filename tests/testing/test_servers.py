"""A server with throw-away keys, and its clients."""

from pathlib import Path

import pytest

import chanlink
from chanlink import ChannelRefused, SessionError, UntrustedPeer
from chanlink.testing import local_server
from tests.echo import ask, echo

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["tcp", "tcp6", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    places = {"tcp": "tcp://127.0.0.1:0", "tcp6": "tcp://[::1]:0", "unix": f"unix:{tmp_path}/s"}
    return places[request.param]


async def test_clients_have_names_of_their_own_and_connect_with_and_without_faults(address: str) -> None:
    names: list[str] = []

    async def greet(requests: chanlink.Receiver[object], peer: chanlink.Peer) -> None:
        names.append(peer.name)
        await echo(requests, peer)

    async with (
        local_server({"echo": greet}, address=address) as server,
        server.connect("alice") as alice,
        server.connect("bob", faults={"piece": 100}) as bob,
    ):
        assert await ask(alice) == "hello"
        assert await ask(bob) == "hello"
        assert names == ["alice", "bob"]
        assert list(server.wires) == ["bob"]
        assert server.wires["bob"].sent


async def test_a_client_may_use_what_it_was_allowed_and_nobody_else_gets_in() -> None:
    async with local_server({"echo": echo, "more": echo}) as server:
        async with server.connect("alice", may_use=["echo"]) as session:
            assert await ask(session) == "hello"
            sender = await session.open("more")
            assert isinstance(await sender.wait_closed(), ChannelRefused)
            sender.close()
        stranger = chanlink.Identity.generate("alice")
        with pytest.raises(UntrustedPeer):
            async with chanlink.connect(server.address, identity=stranger, peer=server.public_key):
                pass


async def test_faults_at_a_moment_end_the_session_of_one_client() -> None:
    async with local_server() as server:
        async with server.connect("alice", faults={}) as alice, server.connect("bob", faults={}) as bob:
            await server.wires["alice"].cut()
            assert isinstance(await alice.wait_closed(), SessionError)
            server.wires["bob"].stall()
            assert not bob.closed
        assert [session.peer.name for session in server.listener.sessions if session.peer.name == "alice"] == []


async def test_an_identity_is_for_a_connection_of_ones_own() -> None:
    async with (
        local_server({"echo": echo}) as server,
        chanlink.reconnecting(server.address, identity=server.identity("alice"), peer=server.public_key) as link,
        await link.open("echo") as requests,
    ):
        reply, replies = chanlink.pipe()
        await requests.send({"value": 1, "reply": reply})
        async with replies:
            assert await replies.receive() == 1
