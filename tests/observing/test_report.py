"""What the map of a program says of sessions, relays and pipes."""

from typing import Any

import pytest

import chanlink
from chanlink import Identity, Receiver, Trust
from chanlink.observing import state
from chanlink.observing.report import Report, numbers
from tests.channels.pairs import session_pair, settle
from tests.observing.waiting import background

pytestmark = pytest.mark.anyio


async def test_both_sides_of_a_session_name_it_alike_and_say_who_holds_what() -> None:
    server, alice = Identity.generate("server"), Identity.generate("alice")

    async def work(requests: Receiver[Any], peer: chanlink.Peer) -> None:
        async with requests:
            async for _ in requests:
                pass

    services: chanlink.Services = {"work": work}
    trust = Trust.of(alice.public_key)
    async with (
        chanlink.listen("tcp://127.0.0.1:0", identity=server, trust=trust, services=services) as listener,
        chanlink.connect(listener.addresses[0], identity=alice, peer=server.public_key) as session,
        await session.open("work", capacity=4) as sender,
    ):
        await sender.send(1)
        await sender.flush()
        await settle()
        found = state()
        sides = {one["side"]: one for one in found["sessions"]}
        assert sides["client"]["id"] == sides["server"]["id"] == session.id != ""
        (ours,), (theirs,) = (sides[side]["channels"] for side in ("client", "server"))
        tasks = {one["id"]: one for one in found["tasks"]}
        (holder,) = theirs["held_by"]
        assert (tasks[holder]["service"], tasks[holder]["peer"], theirs["others"]) == ("work", "alice", False)
        assert tasks[holder]["waits"] == [{"to": "receive", "on": [[session.id, "server", ours["id"]]]}]
        assert tasks[ours["held_by"][0]]["place"].startswith("observing/test_report.py:")
        assert [one["side"] for one in state(session)["sessions"]] == ["client"]


async def test_a_relay_says_where_a_channel_goes_on() -> None:
    async with (
        session_pair() as (client, server),
        session_pair() as (onward, beyond),
        await client.open("carrier") as carrier,
        (await server.accept()).end as carried,
        await onward.open("further") as further,
        (await beyond.accept()).end as arrived,
    ):
        sender, receiver = chanlink.pipe()
        await carrier.send(receiver)
        await further.send(await carried.receive())
        async with await arrived.receive() as last, sender:
            await sender.send(1)
            assert await last.receive() == 1
            report = Report([client, server, onward, beyond], numbers())
            maps = [report.session(one) for one in report.sessions]
            names = [[one["id"], one["side"], one["channels"][1]["id"]] for one in maps]
            sides = [one["channels"][1] for one in maps]
            assert [side["onward"] for side in sides] == [[], [names[2]], [names[1]], []]
            assert [bool(side["held_by"]) for side in sides] == [True, False, False, True]
            assert not sides[1]["others"]


async def test_a_pipe_has_two_sides() -> None:
    sender, receiver = chanlink.pipe(2)
    await sender.send(1)
    async with background(sender.flush):
        found = state()
        (pipe,) = found["pipes"]
        assert (pipe["capacity"], pipe["sent"], pipe["taken"], pipe["queued"]) == (2, 1, 0, 1)
        (task,) = [one for one in found["tasks"] if one["name"] == "it"]
        assert task["waits"] == [{"to": "send", "on": [["", "sender", pipe["id"]]]}]
        assert task["id"] in pipe["sender"]["held_by"]
        assert task["id"] not in pipe["receiver"]["held_by"]
        assert found["left_out"] == 0
    receiver.close()


async def test_contents_are_not_told() -> None:
    async with session_pair() as (client, server), await client.open("work") as sender:
        await sender.send({"password": "hunter2"})
        await settle()
        end = (await server.accept()).end
        near, far = chanlink.byte_pipe()
        await near.send(b"hunter3")
        assert "hunter" not in repr(state())
        for one in (end, near, far):
            one.close()
