"""Everybody gets a turn, also beside messages that cost much to decode, and among many who send."""

import functools
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgpack
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import Limits, Receiver
from chanlink.testing import session_pair
from chanlink.testing.promises import eventually
from tests.bench.worst import colliding
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio

LONG = bytes(60_000)
"""It could be as many empty maps, and take thirty milliseconds."""
COUNT = 60
WIDE = Limits(stream_window=8 * 1024 * 1024)


@functools.cache
def slow() -> dict[int, None]:
    return dict.fromkeys(colliding(Limits().message_int_keys))


async def one_by_one(receiver: Receiver[Any]) -> AsyncIterator[list[Any]]:
    for _ in range(COUNT):
        yield [await receiver.receive()]


async def iterated(receiver: Receiver[Any]) -> AsyncIterator[list[Any]]:
    async for message in receiver:
        yield [message]


async def many(receiver: Receiver[Any]) -> AsyncIterator[list[Any]]:
    left = COUNT
    while left:
        messages = await receiver.receive_many()
        left -= len(messages)
        yield messages


async def selected(receiver: Receiver[Any]) -> AsyncIterator[list[Any]]:
    for _ in range(COUNT):
        yield [(await chanlink.select(receiver)).value]


async def selector(receiver: Receiver[Any]) -> AsyncIterator[list[Any]]:
    async with chanlink.Selector() as cases:
        cases.add(receiver)
        for _ in range(COUNT):
            yield [(await anext(cases)).value]


async def most_in_a_turn(receive: Any, message: Any) -> int:
    """How many of `COUNT` alike are taken while others wait."""
    async with session_pair(WIDE) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        for _ in range(COUNT):
            await sender.send(message)
        sender.close()
        await eventually(lambda: receiver.statistics().queued == COUNT * (4 + len(msgpack.packb(message))))
        turn = 0
        taken: dict[int, int] = {}

        async def others() -> None:
            nonlocal turn
            while True:
                turn += 1
                await checkpoint()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(others)
                await checkpoint()
                async for messages in receive(receiver):
                    assert all(len(one) == len(message) for one in messages)
                    taken[turn] = taken.get(turn, 0) + len(messages)
                tasks.cancel_scope.cancel()
        assert sum(taken.values()) == COUNT
    return max(taken.values())


@pytest.mark.parametrize("receive", [one_by_one, iterated, many, selected, selector], ids=lambda f: f.__name__)
async def test_others_run_between_messages_that_are_long(receive: Any) -> None:
    assert await most_in_a_turn(receive, LONG) <= 9  # three at a time, but trio draws lots who goes first


@pytest.mark.slow
@pytest.mark.parametrize("receive", [one_by_one, many], ids=lambda f: f.__name__)
async def test_others_run_between_messages_that_are_slow(receive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty kilobytes, by their length six in a turn, and each of them takes many milliseconds to decode."""
    monkeypatch.setattr("tests.session.test_turns.COUNT", 9)
    assert await most_in_a_turn(receive, slow()) <= 4  # one or two at a time


async def test_short_messages_are_taken_many_at_a_time() -> None:
    async with session_pair(WIDE) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        for n in range(2_000):
            await sender.send(n)
        await eventually(lambda: receiver.statistics().queued >= 2_000 * 5)
        assert len(await receiver.receive_many()) == 1_000


async def test_who_had_to_wait_sends_some_more_and_everybody_gets_his_turn() -> None:
    """A channel that is always full: each task sends in batches, none is left behind."""
    limits = Limits(stream_window=2_048, stream_window_max=2_048)
    sent: list[int] = []

    async def send(sender: chanlink.Sender[Any], number: int) -> None:
        async with sender:
            for n in range(500):
                await sender.send((number, n))
                sent.append(number)

    async with session_pair(limits) as (client, server):
        sender = await client.open("numbers")
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(send, sender.clone(), number)
            sender.close()
            incoming = await server.accept()
            got = [tuple(item) async for item in incoming.end]
    assert sorted(got) == [(number, n) for number in range(10) for n in range(500)]
    for number in range(10):  # in order, each of them
        assert [n for one, n in got if one == number] == list(range(500))
    assert set(sent[: len(sent) // 2]) == set(range(10))  # nobody is left behind
