"""`broadcast` over every route: what a reader gets and what it is told that it misses are all that was sent."""

import random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from chanlink import ChannelBroken, ChannelFailed, EndOfChannel, Lagged
from chanlink.patterns import Broadcast, Subscription, broadcast, cut, drop_oldest, wait
from tests.leaks import Leaks
from tests.patience import PATIENCE, until

from .routes import Route, every_route, every_session

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def subscribed(places: Any, b: Broadcast[Any], capacity: int | None = None) -> Subscription[Any]:
    """From far, over the whole route."""
    return Subscription(await places.carry(b.subscribe(capacity).receiver))


async def accounted(news: Subscription[Any], draw: random.Random) -> list[int]:
    """The numbers that came, until the end, with those that were missed as -1; the reader pauses and is cancelled."""
    got: list[int] = []
    while True:
        with anyio.CancelScope() as scope:
            if draw.random() < 0.2:
                scope.cancel()
            try:
                got.append(await news.receive())
            except Lagged as exc:
                got += [-1] * exc.count
            except EndOfChannel:
                return got
        for _ in range(draw.choice([0, 0, 0, 5, 50])):
            await checkpoint()


@every_route
@pytest.mark.parametrize("capacity", [None, 1, 3])
async def test_drop_oldest_leaves_no_gap_untold(route: Route, capacity: int | None) -> None:
    draw = random.Random(7)
    async with route() as places, anyio.create_task_group() as tasks:
        got: list[list[int]] = []

        async def read(news: Subscription[Any]) -> None:
            async with news:
                got.append(await accounted(news, draw))

        async with broadcast(drop_oldest(4)) as b:
            for _ in range(4):
                tasks.start_soon(read, await subscribed(places, b, capacity))
            for n in range(120):
                await b.send(n)
                for _ in range(draw.choice([0, 0, 3])):
                    await checkpoint()
        await until(lambda: len(got) == 4)
    for numbers in got:
        assert len(numbers) == 120
        assert all(number in (n, -1) for n, number in enumerate(numbers))
        assert numbers[-1] == 119


@every_route
async def test_wait_loses_nothing_whoever_is_slow(route: Route) -> None:
    draw = random.Random(8)
    async with route() as places, anyio.create_task_group() as tasks:
        got: list[list[int]] = []

        async def read(news: Subscription[Any]) -> None:
            async with news:
                got.append(await accounted(news, draw))

        async with broadcast(wait(10 * PATIENCE, 2)) as b:
            for capacity in (None, 1, 2):
                tasks.start_soon(read, await subscribed(places, b, capacity))
            for n in range(80):
                await b.send(n)
        await until(lambda: len(got) == 3)
    assert got == [list(range(80))] * 3


@every_route
async def test_cut_ends_who_is_slow_with_a_reason(route: Route) -> None:
    async with (
        route() as places,
        broadcast(cut(2)) as b,
        await subscribed(places, b, 1) as slow,
        await subscribed(places, b) as quick,
    ):
        for n in range(10):
            await b.send(n)
            assert await quick.receive() == n
        await until(lambda: b.subscribers == 1)
        assert await slow.receive() == 0
        with pytest.raises(ChannelFailed) as caught:
            await slow.receive()
        assert caught.value.code == "lagged"


@every_route
async def test_who_goes_in_any_way_leaves_nothing(route: Route, no_leaks: Leaks) -> None:
    async with route() as places, broadcast(drop_oldest(3)) as b:
        no_leaks.watch("subscribers", lambda: b.subscribers)
        no_leaks.watch("kept", lambda: len(b._log._messages))
        for turn in range(12):
            news = await subscribed(places, b, 1 + turn % 2)
            for n in range(turn):
                await b.send(n)
            if turn % 3:
                await places.settle()
            if turn % 4 and turn:
                await news.receive()
            news.close()
        await places.settle()
        await until(lambda: b.subscribers == 0)


@every_session
async def test_a_session_that_is_lost_on_the_way_ends_its_readers_and_no_others(route: Route) -> None:
    async with route() as places, broadcast(wait(10 * PATIENCE, 1)) as b, b.subscribe() as near:
        far = [await subscribed(places, b, 1) for _ in range(3)]
        await b.send(0)
        await b.send(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(b.send, 2)  # it waits for those who are far
            await places.settle()
            await places.cut()
        for news in far:
            assert await news.receive() == 0
            with pytest.raises(ChannelBroken):
                while True:
                    await news.receive()
            news.close()
        assert [await near.receive() for _ in range(3)] == [0, 1, 2]
        await until(lambda: b.subscribers == 1)
