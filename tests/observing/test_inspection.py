"""Of which sessions `Inspection` tells, to whom, and for how long."""

import gc
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Inspection, Session
from chanlink.observing.inspection import REPORT, SERVICE
from chanlink.observing.report import LONGEST_NAME
from chanlink.testing import local_server
from tests.channels.pairs import session_pair, settle
from tests.observing.waiting import background
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


async def ask(session: Session) -> list[dict[str, Any]]:
    sender, receiver = chanlink.pipe()
    async with await session.open(Inspection.SERVICE) as requests:
        await requests.send(sender)
        return [state async for state in receiver]


async def test_the_service_tells_of_every_session_of_a_listener() -> None:
    inspection = Inspection()
    async with local_server({Inspection.SERVICE: inspection}) as server:
        inspection.watch(server.listener)
        async with server.connect("alice") as first:
            async with server.connect("bob") as second:
                states = await ask(first)
                assert [state["peer"] for state in states] == ["alice", "bob"]
                keys = [server.identity(name).public_key.fingerprint for name in ("alice", "bob")]
                assert [state["key"] for state in states] == keys
                assert states[0]["suite"] == first.suite in ("aegis256", "chachapoly")
                assert states[0]["volume"] > 200
                assert {one["service"] for one in states[0]["channels"]} == {Inspection.SERVICE, None}
                assert len(server.listener.sessions) == 2
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


async def test_a_session_that_drains_is_told_of_no_more(no_leaks: object) -> None:
    inspection = Inspection()
    async with session_pair(services={Inspection.SERVICE: inspection}) as (client, server):
        inspection.watch(server)
        requests = await client.open(Inspection.SERVICE)
        sender, receiver = chanlink.pipe()
        await requests.send(sender)
        with anyio.fail_after(PATIENCE):
            assert len([state async for state in receiver]) == 1
            server.drain()
            reason = await requests.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "draining"
        requests.close()


async def test_what_is_watched_is_not_kept_alive() -> None:
    inspection = Inspection()
    async with session_pair() as (client, _):
        inspection.watch(client)
        assert [one.peer for one in inspection.snapshot()] == ["the other side"]
    assert inspection.snapshot() == []  # it is over
    del client
    gc.collect()
    assert inspection.sessions() == []


async def test_names_that_are_no_text_are_told_all_the_same() -> None:
    inspection = Inspection()
    sender, receiver = chanlink.pipe(contract=REPORT)
    async with session_pair(services={Inspection.SERVICE: inspection}) as (client, server):
        inspection.watch(server)
        _, waits = chanlink.pipe()
        async with background(waits.receive, name="\udcff" + 1_000 * "x"), await client.open(SERVICE) as requests:
            await requests.send(sender)
            head = (await receiver.receive())["tasks"]
            assert max((task["name"] for task in head), key=len).startswith("\\udcffx")
            assert max(len(task["name"]) for task in head) == LONGEST_NAME
            receiver.close()
