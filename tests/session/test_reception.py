"""What a peer opens: who gets it, in which order, how much may wait, and what becomes of it when nobody may have it."""

from collections.abc import Callable

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Limits, Peer, Session, byte_pipe, service
from chanlink.security.keys.trust import Grant
from chanlink.security.stream import PlainStream
from chanlink.testing import session_over, session_pair
from tests.channels.pairs import settle
from tests.echo import ask, echo
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


async def code_of(sender: chanlink.Sender) -> str:
    with anyio.fail_after(PATIENCE):
        reason = await sender.wait_closed()
    assert isinstance(reason, ChannelRefused)
    return reason.code


async def test_what_waits_is_accepted_in_the_order_in_which_it_was_opened() -> None:
    async with session_pair() as (client, server):
        senders = [await client.open(name) for name in ("a", "b", "c")]
        await settle()
        assert server.statistics().unaccepted == 3
        accepted = [await server.accept() for _ in senders]
        assert [incoming.service for incoming in accepted] == ["a", "b", "c"]
        for end in (*senders, *(incoming.end for incoming in accepted)):
            end.close()


async def test_each_of_those_who_accept_gets_one() -> None:
    async with session_pair() as (client, server):
        got: list[str] = []

        async def accept() -> None:
            incoming = await server.accept()
            got.append(incoming.service)
            incoming.end.close()

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(accept)
            await until(lambda: len(server._reception._accepting) == 3)
            for name in ("a", "b", "c"):
                (await client.open(name)).close()
        assert sorted(got) == ["a", "b", "c"]


async def test_no_more_wait_than_the_limit_says() -> None:
    async with session_pair(server_limits=Limits(unaccepted=2)) as (client, server):
        senders = [await client.open("service") for _ in range(3)]
        assert await code_of(senders[2]) == "busy"
        (await server.accept()).end.close()
        again = await client.open("service")
        await until(lambda: server.statistics().unaccepted == 2)
        for sender in (*senders, again):
            sender.close()


async def test_what_the_peer_may_use_no_more_is_withdrawn_and_the_rest_waits_on() -> None:
    async with session_pair(allows=lambda name: True) as (client, server):
        kept, gone = await client.open("kept"), await client.open("gone")
        await until(lambda: server.statistics().unaccepted == 2)
        server._regrant(Grant("alice", frozenset(["kept"])))
        assert await code_of(gone) == "revoked"
        assert await code_of(await client.open("gone")) == "no-such-service"
        incoming = await server.accept()
        assert (incoming.service, incoming.peer.name) == ("kept", "alice")
        incoming.end.close()
        kept.close()


async def test_a_service_that_works_for_a_peer_who_may_use_it_no_more_is_cancelled() -> None:
    async with session_pair(services={"echo": echo}, allows=lambda name: True) as (client, server):
        sender = await client.open("echo")
        await settle()
        server._regrant(Grant("alice", frozenset()))
        assert await code_of(sender) == "revoked"
        with anyio.fail_after(PATIENCE):
            await server._served()


# --- who may be a recording -----------------------------------------------------------------------------


class Recording(PlainStream):
    """As of a client that has sent its first message, and nothing else yet."""

    is_live = False  # type: ignore[assignment]

    def on_live(self, went_live: Callable[[], None]) -> None:
        self.go_live = went_live


async def test_only_services_that_take_early_data_get_any_before_the_peer_has_proved_to_be_there() -> None:
    services = {"echo": service(echo, early=True), "plain": echo}
    one, two = byte_pipe()
    below = Recording(two)
    peer = Peer(None, "client", "memory")
    server = Session(below, client_side=False, peer=peer, services=services)
    with anyio.fail_after(PATIENCE):
        async with session_over(one, client_side=True) as client, server:
            assert await ask(client, 1) == 1
            plain, nothing = await client.open("plain"), await client.open("nothing")
            reply, answers = chanlink.pipe()
            await plain.send({"value": 2, "reply": reply})
            assert await ask(client, 3) == 3
            assert len(server._reception._held) == 2
            below.go_live()
            assert await answers.receive() == 2
            assert await code_of(nothing) == "no-such-service"
            for end in (plain, nothing, answers):
                end.close()


async def test_whoever_accepts_gets_what_was_opened_when_the_peer_has_proved_to_be_there() -> None:
    one, two = byte_pipe()
    below = Recording(two)
    server = Session(below, client_side=False, peer=Peer(None, "client", "memory"))
    with anyio.fail_after(PATIENCE):
        async with session_over(one, client_side=True) as client, server:
            sender = await client.open("x")
            await until(lambda: bool(server._reception._held))
            assert server.statistics().unaccepted == 0
            below.go_live()
            incoming = await server.accept()
            assert incoming.service == "x"
            incoming.end.close()
            sender.close()
