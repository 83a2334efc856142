"""What is asked of a server, and what an older one answers."""

from typing import Any

import pytest

import chanlink
from chanlink import Inspection, Receiver, Sender
from chanlink.command.actions import asking
from chanlink.command.actions.asking import REPORT, ask
from chanlink.command.problems import Problem
from chanlink.observing import inspection
from tests.channels.pairs import session_pair

pytestmark = pytest.mark.anyio


def test_both_sides_call_it_the_same() -> None:
    assert (asking.SERVICE, asking.REPORT) == (Inspection.SERVICE, inspection.REPORT)


async def test_tasks_are_told_to_who_asks_for_them() -> None:
    told = Inspection()
    async with session_pair(services={Inspection.SERVICE: told}) as (client, server):
        told.watch(server)
        async with await client.open(Inspection.SERVICE) as requests:
            head, session = await ask(client, requests, tasks=True)
            again = await ask(client, requests, tasks=True)
            assert head["process"] == again[0]["process"] > 0
            ids = [
                {task["id"] for task in one["tasks"] if task["service"] == Inspection.SERVICE}
                for one in (head, again[0])
            ]
            assert ids[0] == ids[1] != set()
            assert "held_by" in session["channels"][0]
            (plain,) = await ask(client, requests, tasks=False)
            assert plain["side"] == "server"
            assert "held_by" not in plain["channels"][0]


async def test_an_older_server_tells_of_its_sessions_only() -> None:
    async def top(requests: Receiver[Sender[Any]], peer: chanlink.Peer) -> None:
        async for reply in requests:
            async with reply:
                await reply.send({"peer": "bob", "channels": []})

    async with (
        session_pair(services={"chanlink.top": top}) as (client, _),
        await client.open("chanlink.top") as requests,
    ):
        assert await ask(client, requests, tasks=True) == [{"peer": "bob", "channels": []}]


async def test_there_is_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.01)

    async def top(requests: Receiver[Any], peer: chanlink.Peer) -> None:
        kept = [reply async for reply in requests]
        for reply in kept:
            reply.close()

    async with (
        session_pair(services={"chanlink.top": top}) as (client, _),
        await client.open("chanlink.top") as requests,
    ):
        with pytest.raises(Problem, match="did not answer"):
            await ask(client, requests, tasks=True)


def test_a_report_has_its_contract() -> None:
    assert len(REPORT) < 64
