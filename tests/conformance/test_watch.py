"""`watch` over every route: whoever reads sees each change or a later one, and the last one before the end."""

import random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from chanlink import ChannelBroken
from chanlink.patterns import watch
from tests.leaks import Leaks
from tests.patience import until

from .routes import Route, every_route, every_session

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@every_route
async def test_a_reader_that_waits_sees_each_change(route: Route) -> None:
    async with route() as places, watch(0) as w, await places.carry(w.subscribe()) as receiver:
        for n in range(20):
            assert await receiver.receive() == n
            w.set(n + 1)


@every_route
async def test_a_slow_reader_has_one_old_value_at_most(route: Route) -> None:
    async with route() as places, watch(0) as w, await places.carry(w.subscribe()) as receiver:
        for newest in range(100, 1_000, 100):
            await places.settle()
            for n in range(newest - 99, newest + 1):
                w.set(n)
            await places.settle()
            assert await receiver.receive() < newest
            await places.settle()
            assert await receiver.receive() == newest


@every_route
async def test_readers_at_any_speed_see_values_that_only_grow_and_the_last_one(route: Route) -> None:
    draw = random.Random(5)
    async with route() as places, anyio.create_task_group() as tasks:
        seen: dict[int, list[int]] = {}

        async def read(reader: int, receiver: Any) -> None:
            seen[reader] = []
            async with receiver:
                async for n in receiver:
                    seen[reader].append(n)
                    for _ in range(draw.choice([0, 0, 1, reader * reader])):
                        await checkpoint()

        async with watch(0) as w:
            for reader in range(6):
                tasks.start_soon(read, reader, await places.carry(w.subscribe()))
            for n in range(1, 300):
                w.set(n)
                if draw.random() < 0.5:
                    await checkpoint()
        await until(lambda: w.subscribers == 0)
    assert len(seen) == 6
    for values in seen.values():
        assert values == sorted(set(values))
        assert values[-1] == 299


@every_route
async def test_a_reader_that_is_cancelled_again_and_again_loses_no_last_value(route: Route) -> None:
    draw = random.Random(6)
    async with route() as places, watch(0) as w, await places.carry(w.subscribe()) as receiver:
        seen, n = -1, 0
        while n < 100:
            if draw.random() < 0.7:
                w.set(n := n + 1)
            with anyio.CancelScope() as scope:
                if draw.random() < 0.5:
                    scope.cancel()
                else:
                    scope.deadline = anyio.current_time() + draw.choice([0, 0.001])
                value = await receiver.receive()
                assert value > seen
                seen = value
        while seen != 100:
            seen = await receiver.receive()


@every_route
async def test_who_goes_in_any_way_leaves_nothing(route: Route, no_leaks: Leaks) -> None:
    async with route() as places, watch(0) as w:
        no_leaks.watch("subscribers", lambda: w.subscribers)
        for turn in range(12):
            receiver = await places.carry(w.subscribe())
            if turn % 2:
                await receiver.receive()
            if turn % 3:
                w.set(turn)
            if turn % 4:
                receiver.close()
            else:
                receiver.refuse("enough")
        await places.settle()
        await until(lambda: w.subscribers == 0)


@every_session
async def test_a_session_that_is_lost_on_the_way_ends_its_readers_and_no_others(route: Route) -> None:
    async with route() as places, watch(0) as w, w.subscribe() as near:
        far = [await places.carry(w.subscribe()) for _ in range(3)]
        w.set(1)
        await places.settle()
        await places.cut()
        for receiver in far:
            assert await receiver.receive() == 0
            with pytest.raises(ChannelBroken):
                await receiver.receive()
        w.set(2)
        await until(lambda: w.subscribers == 1)
        assert [await near.receive(), await near.receive()] == [0, 2]
