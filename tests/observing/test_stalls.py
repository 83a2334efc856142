"""Which channels stand still, and which do not."""

import logging
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Receiver
from chanlink.instrument import told
from chanlink.observing import Instrument, StallInfo, watch_stalls
from chanlink.observing.report import Report
from chanlink.observing.stalls import LOOKS, Watcher
from chanlink.session.session import Session
from tests.channels.pairs import session_pair, settle
from tests.observing.waiting import background
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


class Kept(Instrument):
    def __init__(self) -> None:
        self.stalls: list[StallInfo] = []

    def channel_stalled(self, stall: StallInfo) -> None:
        self.stalls.append(stall)


def watcher(kept: Kept, *sessions: Session) -> Watcher:
    return Watcher(sessions, 30.0, told([kept]))


async def look(watching: Watcher, times: int = LOOKS + 1) -> None:
    for _ in range(times):
        await watching.look()


async def test_what_nobody_takes_is_told_once_until_it_goes_on() -> None:
    kept = Kept()
    async with session_pair() as (client, server), await client.open("work") as sender:
        receiver = (await server.accept()).end
        watching = watcher(kept, client, server)
        await look(watching)
        assert kept.stalls == []  # it is idle
        await sender.send(1)
        await sender.send(2)
        await settle()
        await look(watching, LOOKS)
        assert kept.stalls == []
        await look(watching, 3 * LOOKS)
        (stall,) = kept.stalls
        assert (stall.service, stall.channel, stall.peer, stall.waits, stall.seconds) == (
            "work",
            1,
            "the other side",
            "take",
            30.0,
        )
        assert "observing/test_stalls.py" in stall.held_by[0]
        assert await receiver.receive() == 1
        await settle()
        await look(watching)
        assert len(kept.stalls) == 2  # another time: the second one is not taken
        assert await receiver.receive() == 2
        await settle()
        await look(watching)
        assert len(kept.stalls) == 2
        receiver.close()


async def test_a_sender_that_the_peer_lets_wait() -> None:
    async def fill(sender: chanlink.Sender[Any]) -> None:
        while True:
            await sender.send(b"x" * 1000)

    kept = Kept()
    async with session_pair() as (client, server), await client.open("work") as sender, background(fill, sender):
        receiver = (await server.accept()).end
        await look(watcher(kept, client))
        (stall,) = kept.stalls
        assert stall.waits == "peer"
        assert any("fill" in holder for holder in stall.held_by)
        assert "service 'work' with the other side at memory stands still for 30 s: the peer takes nothing" in str(
            stall
        )
        receiver.close()


async def test_a_rendezvous_that_nobody_comes_to() -> None:
    kept = Kept()
    async with session_pair() as (client, server), await client.open("work", capacity=0) as sender:
        async with background(sender.send, 1):
            await look(watcher(kept, client))
            assert [stall.waits for stall in kept.stalls] == ["peer"]
        (await server.accept()).end.close()


@pytest.mark.parametrize("kind", ["messages", "bytes"])
async def test_who_is_slow_is_not_told_of(kind: str) -> None:
    kept = Kept()
    async with session_pair() as (client, server):
        sender: Any = await (client.open("work") if kind == "messages" else client.open_stream("work"))
        receiver: Any = (await server.accept()).end
        for _ in range(2 * LOOKS):
            await sender.send(b"some bytes")
        await settle()
        watching = watcher(kept, client, server)
        for _ in range(2 * LOOKS):
            await look(watching, LOOKS - 1)
            await (receiver.receive() if kind == "messages" else receiver.receive(10))
        assert kept.stalls == []
        sender.close()
        receiver.close()


async def test_a_task_that_waits_to_receive_is_idle() -> None:
    async def work(receiver: Receiver[Any], peer: chanlink.Peer) -> None:
        async for _ in receiver:
            pass

    kept = Kept()
    async with session_pair(services={"work": work}) as (client, server), await client.open("work"):
        await settle()
        await look(watcher(kept, client, server))
        assert kept.stalls == []


async def test_who_waits_for_the_rest_of_a_message_is_not_told_to_take_it() -> None:
    kept = Kept()
    async with session_pair() as (client, server), await client.open("work"):
        receiver = (await server.accept()).end
        (stream,) = client._mux.streams.values()
        async with background(receiver.receive):
            stream.outgoing.write(bytes([0, 0, 1, 0]) + b"a part")  # as a peer that dies in the middle
            await settle()
            (here,) = server._mux.streams.values()
            assert here.incoming.size
            await look(watcher(kept, server))
            assert kept.stalls == []
        await look(watcher(kept, server))
        assert [stall.waits for stall in kept.stalls] == ["take"]
        receiver.close()


async def test_one_look_at_the_tasks_is_enough_for_all_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Report] = []

    class Counted(Report):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("chanlink.observing.stalls.Report", Counted)
    kept = Kept()
    async with AsyncExitStack() as stack:
        sessions, senders = [], []
        for _ in range(3):
            client, server = await stack.enter_async_context(session_pair())
            senders.append(await client.open("work"))
            await senders[-1].send(1)
            sessions.append(server)
        await settle()
        await look(watcher(kept, *sessions))
        assert (len(kept.stalls), len(made)) == (3, 1)
        for sender in senders:
            sender.close()


async def test_it_watches_as_long_as_the_block_lasts(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    async with session_pair() as (client, server), await client.open("work") as sender:
        receiver = (await server.accept()).end
        await sender.send("secret")
        with anyio.fail_after(PATIENCE), caplog.at_level(logging.WARNING, "chanlink"):
            async with watch_stalls(server, after=0.04, instruments=[kept]):
                while not kept.stalls:
                    await anyio.sleep(0.01)
        assert "nobody here takes what has arrived; held by" in caplog.text
        assert "secret" not in caplog.text
        receiver.close()


async def test_wrong_arguments() -> None:
    async with session_pair() as (client, _):
        with pytest.raises(ValueError, match="above 0"):
            async with watch_stalls(client, after=0):
                pass
        with pytest.raises(TypeError, match="source must be"):
            async with watch_stalls("a session"):  # type: ignore[arg-type]
                pass
