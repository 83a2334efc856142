"""Select from inside: many at once with cancellation at random, what is left behind, what a turn costs.

The long run is ``CHANLINK_SELECT_ROUNDS=100000 pytest tests/channels/test_select.py -k conserve -s``.
"""

import asyncio
import os
import random
from collections import Counter
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import (
    ChannelClosed,
    ChannelFailed,
    ChannelRefused,
    EncodeError,
    EndOfChannel,
    Selector,
    select,
    select_nowait,
)
from chanlink.testing import session_pair
from tests.patience import PATIENCE

from .pairs import settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

ROUNDS = int(os.environ.get("CHANLINK_SELECT_ROUNDS", "2000"))


# --- conservation -----------------------------------------------------------------------------------


class Crowd:
    """Tasks that select over sends and receives on all channels, and are cancelled at random."""

    def __init__(self, channels: list[Any], native: bool, chance: random.Random) -> None:
        self.channels = channels
        self.chance = chance
        self.native = native
        self.sent: Counter[Any] = Counter()
        self.received: Counter[Any] = Counter()
        self.rounds = self.cancelled = 0
        self._count = 0
        self._cancels: dict[int, list[Any]] = {}
        self._killed: set[int] = set()  # by asyncio's own `Task.cancel`

    async def work(self, name: int) -> None:
        task = asyncio.current_task() if self.native else None
        while self.rounds < ROUNDS:
            self.rounds += 1
            with anyio.CancelScope() as scope:
                self._cancels[name] = [scope.cancel, *([task.cancel] if task is not None else [])]
                try:
                    await self._select()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    if name not in self._killed:
                        raise
            self.cancelled += scope.cancelled_caught
            if name in self._killed and task is not None:
                self._killed.discard(name)
                task.uncancel()
        del self._cancels[name]

    async def _select(self) -> None:
        self._count += 1
        number = self._count
        some = self.chance.sample(self.channels, self.chance.randint(1, len(self.channels)))
        cases = [
            sender.sending([number, n]) if self.chance.random() < 0.5 else receiver
            for n, (sender, receiver) in enumerate(some)
        ]
        selected = await select(*cases)
        assert selected.error is None
        if isinstance(cases[selected.index], chanlink.Receiver):
            self.received[tuple(selected.value)] += 1
        else:
            self.sent[number, selected.index] += 1

    async def disturb(self) -> None:
        """Cancel now and then, and whoever waits once the rounds are over."""
        await checkpoint()
        while self._cancels:
            for name, ways in list(self._cancels.items()):
                if self.rounds >= ROUNDS or self.chance.random() < 0.1:
                    way = self.chance.randrange(len(ways))
                    if way and name not in self._killed:
                        self._killed.add(name)
                        ways[1]()
                    elif not way:
                        ways[0]()
            await checkpoint()


@pytest.mark.timeout(max(60, ROUNDS // 100))
@pytest.mark.parametrize("seed", range(2))
async def test_many_selects_conserve_every_message(anyio_backend: Any, seed: int) -> None:
    """Sends and receives on channels in memory and remote ones, both ways; every select may be cancelled."""
    chance = random.Random(seed)
    async with session_pair() as (client, server):
        channels: list[Any] = [chanlink.pipe(capacity) for capacity in (0, 0, 1, None)]
        for capacity in (0, 1, None):
            for one, other in ((client, server), (server, client)):
                sender = await one.open("service", capacity=capacity)
                channels.append((sender, (await other.accept()).end))
        crowd = Crowd(channels, anyio_backend[0] == "asyncio", chance)
        async with anyio.create_task_group() as tasks:
            for name in range(6):
                tasks.start_soon(crowd.work, name)
            tasks.start_soon(crowd.disturb)
        for sender, receiver in channels:
            assert sender.statistics().waiting == receiver.statistics().waiting == 0
            sender.close()
            async for message in receiver:
                crowd.received[tuple(message)] += 1
        print(f"{crowd.rounds} selects: {crowd.sent.total()} sent, {crowd.cancelled} cancelled")
        assert crowd.sent == crowd.received
        assert set(crowd.sent.values()) == {1}
        assert crowd.cancelled > ROUNDS // 50
        assert crowd.sent.total() > ROUNDS // 50


async def test_crowds_that_face_each_other_at_a_rendezvous_make_exactly_as_many_pairs() -> None:
    for turn in range(20):
        channels = [chanlink.pipe(0) for _ in range(3)]
        sent: list[int] = []
        received: list[int] = []

        async def put(n: int) -> None:
            if n % 3:
                await select(*(sender.sending(n) for sender, _ in channels))  # noqa: B023
            else:
                await channels[n % 2][0].send(n)  # noqa: B023
            sent.append(n)  # noqa: B023

        async def take() -> None:
            received.append((await select(*(receiver for _, receiver in channels))).value)  # noqa: B023

        async with anyio.create_task_group() as tasks:
            for n in range(1, 13):
                tasks.start_soon(put, n)
                if turn % 2:
                    await checkpoint()
                tasks.start_soon(take)
        assert sorted(sent) == sorted(received) == list(range(1, 13))
        for sender, receiver in channels:
            assert sender.statistics().waiting == receiver.statistics().waiting == 0
            sender.close()
            with pytest.raises(EndOfChannel):
                receiver.receive_nowait()


# --- fairness ---------------------------------------------------------------------------------------


async def test_no_case_that_is_ready_starves_whatever_its_kind() -> None:
    room, drain = chanlink.pipe()
    full, source = chanlink.pipe()
    closed, over = chanlink.pipe()
    closed.close()
    counts: Counter[int] = Counter()
    for _ in range(300):
        full.send_nowait("message")
        counts[(await select(room.sending("x"), source, over.closing())).index] += 1
        for receiver in (drain, source):
            with pytest.raises(anyio.WouldBlock):
                while True:
                    receiver.receive_nowait()
    assert min(counts[n] for n in range(3)) >= 50
    room.close()
    full.close()


async def test_a_selector_serves_cases_that_are_always_ready_in_turn() -> None:
    pairs = [chanlink.pipe() for _ in range(4)]
    counts: Counter[int] = Counter()
    async with Selector() as selector:
        for sender, receiver in pairs:
            selector.add(receiver)
            for n in range(60):
                sender.send_nowait(n)
        for turn in range(1, 201):
            counts[(await anext(selector)).index] += 1
            assert sum(counts.values()) == turn
            assert max(counts.values()) - min(counts[n] for n in range(4)) <= 1
    for sender, _ in pairs:
        sender.close()


# --- both ends of one channel -----------------------------------------------------------------------


async def test_a_select_with_both_ends_of_a_rendezvous_does_not_meet_itself() -> None:
    sender, receiver = chanlink.pipe(0)
    results: list[Any] = []

    async def choose(name: str) -> None:
        results.append((name, await select(sender.sending(f"from {name}"), receiver)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(choose, "one")
        await settle()
        assert results == []
        assert receiver.receive_nowait() == "from one"
        tasks.start_soon(choose, "two")
        await settle()
        sender.send_nowait("to two")
        await settle()
        assert [(name, one.index, one.value) for name, one in results] == [("one", 0, None), ("two", 1, "to two")]
        results.clear()
        tasks.start_soon(choose, "three")
        tasks.start_soon(choose, "four")
    assert sorted(one.index for _, one in results) == [0, 1]
    (taken,) = (one.value for _, one in results if one.index == 1)
    assert taken == next(f"from {name}" for name, one in results if one.index == 0)
    with pytest.raises(anyio.WouldBlock):
        receiver.receive_nowait()


async def test_a_select_with_both_ends_of_a_channel_with_room_alternates_without_loss() -> None:
    sender, receiver = chanlink.pipe(1)
    sent = [n for n in range(20) if (await select(receiver, sender.sending(n))).index == 1]
    assert len(sent) == 10
    assert sent[0] == 0


async def test_a_selector_refuses_both_ends_of_a_rendezvous_and_gives_the_message_back() -> None:
    sender, receiver = chanlink.pipe(0)
    one, other = chanlink.pipe()
    async with Selector() as selector:
        selector.add(receiver)
        with pytest.raises(ValueError, match="both ends"):
            selector.add(sender.sending(one))
        assert len(selector) == 1
        one._lend()  # nobody else has it
        one._keep()
    other.close()


# --- what is left behind ----------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, 1])
async def test_select_nowait_without_a_ready_case_leaves_nothing_behind(capacity: int) -> None:
    sender, receiver = chanlink.pipe(capacity)
    if capacity:
        sender.send_nowait("fills it")
    quiet, idle = chanlink.pipe()
    one, other = chanlink.pipe()
    with pytest.raises(anyio.WouldBlock):
        select_nowait(idle, sender.sending({"end": one}), quiet.closing(), idle.closing())
    assert sender.statistics().waiting == idle.statistics().waiting == 0
    assert len(quiet._send_core.watchers) == len(idle._receive_core.watchers) == 0
    one.send_nowait("still ours")
    assert other.receive_nowait() == "still ours"
    if capacity:
        assert receiver.receive_nowait() == "fills it"
    with pytest.raises(anyio.WouldBlock):
        receiver.receive_nowait()


async def test_a_message_that_cannot_be_sent_raises_and_no_case_has_happened() -> None:
    async with session_pair() as (client, server):
        remote = await client.open("service")
        there = (await server.accept()).end
        source, ready = chanlink.pipe()
        source.send_nowait("still there")
        one, other = chanlink.pipe()
        with pytest.raises(EncodeError):
            await select(ready, remote.sending({"end": one, "bad": object()}))
        with pytest.raises(anyio.BusyResourceError):
            await select(remote.sending(one), remote.sending(one))
        other.close()
        with pytest.raises(ChannelClosed):
            await select(remote.sending("fine"), remote.sending(other))
        with pytest.raises(ValueError, match="at least one"):
            await select()
        with pytest.raises(TypeError, match="must be a receiver"):
            await select(remote)  # type: ignore[arg-type]
        assert ready.receive_nowait() == "still there"
        await settle()
        with pytest.raises(anyio.WouldBlock):
            there.receive_nowait()
        one._lend()
        one._keep()
        one.close()


@pytest.mark.parametrize("after", ["close", "move", "remove"])
async def test_a_case_that_the_other_side_committed_has_happened_whatever_comes_after(after: str) -> None:
    sender, receiver = chanlink.pipe(0)
    carrier, carried = chanlink.pipe()
    results: list[Any] = []

    async def choose(selector: Selector) -> None:
        results.append(await anext(selector))

    async with Selector() as selector, anyio.create_task_group() as tasks:
        index = selector.add(sender.sending("message"))
        tasks.start_soon(choose, selector)
        await settle()
        assert receiver.receive_nowait() == "message"
        if after == "close":
            sender.close()
        elif after == "move":
            carrier.send_nowait(sender)
        else:
            selector.remove(index)
    assert [(one.index, one.error) for one in results] == [(index, None)]
    carried.close()


async def test_a_select_that_the_other_side_committed_has_sent_though_its_sender_is_closed() -> None:
    sender, receiver = chanlink.pipe(0)
    results: list[Any] = []

    async def choose() -> None:
        results.append(await select(sender.sending("message")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(choose)
        await settle()
        assert receiver.receive_nowait() == "message"
        sender.fail("too late to matter")
    assert results[0].error is None


# --- closing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("how", ["by another task", "by a select", "at once"])
async def test_closing_of_a_receiver_is_ready_when_the_last_message_was_taken(how: str, remote: bool) -> None:
    async with session_pair() as (client, server), anyio.create_task_group() as tasks:
        sender, receiver = chanlink.pipe()
        if remote:
            sender = await client.open("service")
            receiver = (await server.accept()).end
        sender.send_nowait("the last one")
        sender.fail("code")
        results: list[Any] = []

        async def choose() -> None:
            results.append(await select(receiver.closing()))

        if how != "at once":
            tasks.start_soon(choose)
        await settle()
        assert results == []
        taken = receiver.receive_nowait() if how != "by a select" else (await select(receiver)).value
        assert taken == "the last one"
        if how == "at once":
            tasks.start_soon(choose)
        with anyio.fail_after(PATIENCE):
            while not results:
                await checkpoint()
        assert isinstance(results[0].error, ChannelFailed)


async def test_closing_of_a_byte_stream_waits_for_what_it_looks_at() -> None:
    """As `ByteStream.wait_closed`: the other side reads no more."""
    near, far = chanlink.byte_pipe()
    results: list[Any] = []

    async def choose() -> None:
        results.append(await select(near.closing()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(choose)
        await settle()
        await far.send_eof()
        await settle()
        with pytest.raises(anyio.WouldBlock):
            results.append(select_nowait(near.closing()))
        assert results == []
        far.refuse("enough")
    assert isinstance(results[0].error, ChannelRefused)
    near.close()
    far.close()
