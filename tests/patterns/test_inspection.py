"""Of which sessions `Inspection` tells, to whom, and for how long."""

import gc
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Identity, Inspection, Session, Trust
from tests.channels.pairs import session_pair, settle
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


async def ask(session: Session) -> list[dict[str, Any]]:
    sender, receiver = chanlink.pipe()
    async with await session.open(Inspection.SERVICE) as requests:
        await requests.send(sender)
        return [state async for state in receiver]


async def test_the_service_tells_of_every_session_of_a_listener() -> None:
    server, alice, bob = (Identity.generate(name) for name in ("server", "alice", "bob"))
    inspection = Inspection()
    trust = Trust.of(alice.public_key, bob.public_key)
    services = {Inspection.SERVICE: inspection}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=server, trust=trust, services=services) as listener:
        inspection.watch(listener)
        address, key = listener.addresses[0], server.public_key
        async with chanlink.connect(address, identity=alice, peer=key) as first:
            async with chanlink.connect(address, identity=bob, peer=key) as second:
                states = await ask(first)
                assert [state["peer"] for state in states] == ["alice", "bob"]
                assert [state["key"] for state in states] == [alice.public_key.fingerprint, bob.public_key.fingerprint]
                assert states[0]["suite"] == first.suite in ("aegis256", "chachapoly")
                assert states[0]["volume"] > 200
                assert {one["service"] for one in states[0]["channels"]} == {Inspection.SERVICE, None}
                assert len(listener.sessions) == 2
                assert first.statistics().volume > 200
                assert not second.closed
            with anyio.fail_after(PATIENCE):
                while len(await ask(first)) > 1:
                    await anyio.sleep(0.01)


async def test_the_service_refuses_what_is_no_sender_and_outlives_who_went_away() -> None:
    inspection = Inspection()
    async with session_pair(services={Inspection.SERVICE: inspection}) as (client, server):
        inspection.watch(server)
        async with await client.open(Inspection.SERVICE) as requests:
            sender, receiver = chanlink.pipe()
            receiver.close()
            await requests.send(sender)
            await settle()
            assert len(await ask(client)) == 1
            await requests.send("what?")
            reason = await requests.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert reason.code == "bad-request"


async def test_what_is_watched_is_not_kept_alive() -> None:
    inspection = Inspection()
    async with session_pair() as (client, _):
        inspection.watch(client)
        assert [one.peer for one in inspection.snapshot()] == ["the other side"]
    assert inspection.snapshot() == []  # it is over
    del client
    gc.collect()
    assert inspection.sessions() == []
