"""Counts: what was opened has ended or is open, and messages are those that were sent and taken, whatever happens."""

import logging
import random
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import CallError, ChannelError, Peer, Receiver, Sender, Session
from chanlink.observing.counting import BUCKETS, FAMILIES, MOST_SERVICES, Counts
from chanlink.testing import session_pair
from tests.calls.calculators import CALC, OneCalculator
from tests.echo import ask, echo
from tests.observing.recorder import HOOKS
from tests.patience import until

pytestmark = pytest.mark.anyio


def count(counts: Counts, name: str, *labels: str) -> int:
    """The sum of all that has these labels."""
    (family,) = (family for family in FAMILIES if family.name == name)
    return sum(value for found, value in counts.samples(family).items() if set(labels) <= set(found))


def assert_balanced(counts: Counts) -> None:
    for what in "sessions", "channels":
        opened, ended = count(counts, f"chanlink.{what}.opened"), count(counts, f"chanlink.{what}.ended")
        assert opened == ended + count(counts, f"chanlink.{what}")


class Program:
    """Sends and receives as it happens, and counts by itself."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sent: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()

    async def send(self, sender: Sender[Any], session: Session, where: str) -> None:
        """A few messages, perhaps cancelled at any of them, and one of several ends."""
        with anyio.CancelScope() as scope:
            try:
                for number in range(self.chance.randrange(40)):
                    if self.chance.random() < 0.05:
                        scope.cancel()
                    await sender.send(number)
                    self.sent[where] += 1
            except ChannelError:
                pass
        if self.chance.random() < 0.3:
            sender.fail("no-paper")
        sender.close()

    async def take(self, receiver: Receiver[Any], where: str) -> None:
        stop_after = self.chance.choice([0, 5, 100, 100, 100])
        try:
            async with receiver:
                for _ in range(stop_after):
                    with anyio.CancelScope() as scope:
                        if self.chance.random() < 0.1:
                            scope.cancel()
                        await receiver.receive()
                        self.taken[where] += 1
        except ChannelError:
            pass

    def service(self, where: str) -> Any:
        async def serve(receiver: Receiver[Any], peer: Peer) -> None:
            await self.take(receiver, where)
            if self.chance.random() < 0.2:
                raise LookupError("a defect")

        return serve


@pytest.mark.parametrize("seed", range(3))
async def test_counts_are_what_a_program_has_sent_and_taken_under_cancellation_failure_and_draining(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "chanlink")
    here, there, program = Counts(), Counts(), Program(seed)
    services = {"work": program.service("there")}
    async with session_pair(services=services, instruments=[here], server_instruments=[there]) as (client, server):
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                if number == 30:
                    server.drain()
                try:
                    sender = await client.open("work", capacity=program.chance.choice([None, 1, 3]))
                except chanlink.ChannelRefused:
                    break
                tasks.start_soon(program.send, sender, client, "here")
                assert_balanced(here)
                assert_balanced(there)
        await until(lambda: not client.statistics().channels and not server.statistics().channels)
        for counts in here, there:
            assert_balanced(counts)
            assert count(counts, "chanlink.channels") == 0
            assert count(counts, "chanlink.channels.opened") >= 30
    assert program.sent["here"] > 100
    assert count(here, "chanlink.messages.sent") == program.sent["here"]
    assert count(there, "chanlink.messages.taken") == program.taken["there"]
    assert count(here, "chanlink.data.sent") >= count(there, "chanlink.data.received")
    assert count(here, "chanlink.channels.ended") == count(here, "chanlink.channels.opened")
    for counts in here, there:
        assert_balanced(counts)
        assert count(counts, "chanlink.sessions.ended", "session-closed") == 1


async def test_counts_are_right_through_a_relay_and_when_what_carried_it_is_revoked() -> None:
    first, middle, last = Counts(), Counts(), Counts()
    taken = 0

    async def receive_one(receiver: Receiver[Any], peer: Peer) -> None:
        nonlocal taken
        async with await receiver.receive() as carried:
            async for _ in carried:
                taken += 1

    async def pass_on(receiver: Receiver[Any], peer: Peer) -> None:
        async with await onward.open("receive") as requests:
            await requests.send(await receiver.receive())
            await requests.wait_closed()

    there = session_pair(services={"receive": receive_one}, instruments=[middle], server_instruments=[last])
    here = session_pair(services={"pass": pass_on}, instruments=[first], server_instruments=[middle])
    async with there as (onward, server), here as (client, _):
        for wanted, revoked in (20, False), (40, True):
            sender, receiver = chanlink.pipe()
            async with await client.open("pass") as requests:
                await requests.send(receiver)
                for number in range(20):
                    await sender.send(number)
                await until(lambda wanted=wanted: taken == wanted)  # type: ignore[misc]
                if revoked:
                    server._ends.arrivals.revoke(lambda service: False)
                    await sender.wait_closed()
                sender.close()
                await requests.wait_closed()
        await until(lambda: not any(count(one, "chanlink.channels") for one in (first, middle, last)))
    assert taken == 40
    assert count(first, "chanlink.messages.sent") == 40 + 2  # and what carried the two ends
    assert count(last, "chanlink.messages.taken") == 40 + 2
    assert count(middle, "chanlink.messages.taken") == count(middle, "chanlink.messages.sent") == 40 + 2
    for counts in first, middle, last:
        assert_balanced(counts)


async def test_what_is_open_is_counted_as_it_is_now_and_a_session_that_is_lost_ends_all() -> None:
    here, there = Counts(), Counts()
    async with session_pair(instruments=[here], server_instruments=[there]) as (client, server):
        sender = await client.open("work")
        receiver = (await server.accept()).end
        for number in range(3):
            await sender.send(number)
        assert await receiver.receive() == 0
        assert count(here, "chanlink.messages.sent", "work", "here") == 3
        assert count(there, "chanlink.messages.taken", "other", "peer") == 1
        assert count(here, "chanlink.channels") == count(here, "chanlink.sessions") == 1
        client.abort()
        await until(lambda: not count(there, "chanlink.sessions"))
        for counts, outcome in (here, "lost"), (there, "lost"):
            assert_balanced(counts)
            assert count(counts, "chanlink.channels.ended", outcome) == 1
        assert count(here, "chanlink.messages.sent") == 3
        sender.close()
        receiver.close()


async def test_calls_are_counted_with_what_became_of_them_and_with_their_time() -> None:
    here, there = Counts(), Counts()
    services = {"calc": CALC.serving(OneCalculator())}
    async with session_pair(services=services, instruments=[here], server_instruments=[there]) as (client, _):
        calc = CALC.client(client, "calc")
        for number in range(5):
            await calc.add(number, 1)
        with pytest.raises(CallError):
            await calc.add("x", 1)
        await until(lambda: count(there, "chanlink.calls.ended") == 6)
        assert count(here, "chanlink.calls") == count(there, "chanlink.calls") == 0
    for counts, side in (here, "client"), (there, "server"):
        assert count(counts, "chanlink.calls.ended", "add", side, "ok") == 5
        assert count(counts, "chanlink.calls.ended", "add", side, "refused") == 1
        times = counts.times()["Calculator", "add", side]
        assert len(times.counts) == len(BUCKETS) + 1
        assert sum(times.counts) == 6
        assert times.seconds > 0


async def test_services_that_peers_make_up_are_one_label_and_so_are_more_than_there_may_be() -> None:
    here, there = Counts(), Counts()
    names = [f"service {number}" for number in range(MOST_SERVICES + 20)]
    services = dict.fromkeys(names, echo)
    async with session_pair(services={"echo": echo}, instruments=[here], server_instruments=[there]) as (client, _):
        for name in names:
            (await client.open(name)).close()
        assert await ask(client) == "hello"
        await until(lambda: not count(there, "chanlink.channels"))
    assert count(there, "chanlink.channels.ended", "other", "refused") == len(names)
    labels = {labels[0] for family in FAMILIES if family.labels[0] == "service" for labels in here.samples(family)}
    assert len(labels) == MOST_SERVICES + 1
    assert "other" in labels
    assert {labels[0] for labels in there.samples(FAMILIES[8])} == {"echo", "other"}
    assert services


def test_a_count_never_falls_and_may_be_asked_in_any_thread() -> None:
    """What has ended is read before what is open: what changes its place in between is missing, once."""
    counts = Counts()
    seen: list[Mapping[Any, int]] = []
    sent = next(family for family in FAMILIES if family.name == "chanlink.messages.sent")
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            seen.append(counts.samples(sent))

    async def main() -> None:
        async with session_pair(services={"echo": echo}, instruments=[counts]) as (client, _):
            for number in range(60):
                assert await ask_echo(client, number) == number

    ask_echo = globals()["ask"]
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        anyio.run(main)
    finally:
        done.set()
        thread.join()
    values = [sum(one.values()) for one in seen] + [sum(counts.samples(sent).values())]
    assert values == sorted(values)
    assert values[-1] == 60


def test_each_family_is_of_something_that_is_told() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert {name for name in vars(Counts) if name in HOOKS} >= {"session_ended", "channel_ended", "call_ended"}
