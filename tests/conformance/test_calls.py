"""Calls over every route: what comes of them, and that nothing of a call is left once it is over."""

import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Protocol

import anyio
import pytest
from anyio.lowlevel import checkpoint

from chanlink import (
    CallError,
    CallFailed,
    CallLost,
    CallRefused,
    ChannelRefused,
    EncodeError,
    Limits,
    MessageTooLarge,
    byte_pipe,
    pipe,
)
from chanlink.calls import Interface
from chanlink.testing.sessions import PEER
from tests.calls.calculators import Calculator, OneCalculator, OutOfStock, serving
from tests.patience import PATIENCE, until

from .routes import Places, PlacesApart, Route, every_route, every_session, resumed

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


class LaterCalculator(Calculator, Protocol):
    """What a caller knows that is newer than the service."""

    async def later(self, ends: list[Any]) -> None: ...


LATER: Interface[Any] = Interface(LaterCalculator, raises=(OutOfStock,))


@asynccontextmanager
async def called(route: Route, calculator: object, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A client here of a calculator there, and the places."""
    async with route() as places, anyio.create_task_group() as tasks:
        requests, arriving = await places.channel()
        tasks.start_soon(serving(calculator, **options), arriving, PEER)
        try:
            yield LATER.client(requests), places
        finally:
            requests.close()


@every_route
async def test_results_items_and_failures_arrive(route: Route) -> None:
    async def sell(value: Any) -> None:
        raise OutOfStock("no apples", value)

    async with called(route, OneCalculator(sell=sell)) as (calc, _):
        assert await calc.add(1, b=2) == 3
        assert [number async for number in calc.count(300)] == list(range(300))
        with pytest.raises(OutOfStock) as caught:
            await calc.do("sell", 5)
        assert (caught.value.text, caught.value.detail) == ("no apples", 5)


@every_route
async def test_ends_of_all_kinds_go_both_ways(route: Route) -> None:
    async with called(route, OneCalculator()) as (calc, places):
        ours, theirs = places.keep(byte_pipe())
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                await ours.send(bytes(200_000))
                await ours.send_eof()

            tasks.start_soon(write)
            assert await calc.store("a file", theirs) == 200_000
        to, numbers = places.pipe()
        back = places.keep(await calc.numbers(to))
        assert [number async for number in numbers] == [0, 1, 2]
        assert [number async for number in back] == [0, -1, -2]


@every_route
async def test_a_caller_that_leaves_cancels_the_method_or_the_generator(route: Route) -> None:
    calculator = OneCalculator()
    async with called(route, calculator) as (calc, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calc.wait)
            await until(lambda: calculator.began == 1)
            tasks.cancel_scope.cancel()
        await until(lambda: calculator.ended == 1)
        async with aclosing(calc.count(10**9)) as numbers:
            async for number in numbers:
                if number == 100:
                    break
        await until(lambda: calculator.ended == 2)


@every_route
async def test_a_stream_that_nobody_reads_waits(route: Route) -> None:
    """What is under way is bounded by windows, or by what a channel in memory holds; not by the reader's patience."""
    given = 0

    async def many() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(1_000)

    async with called(route, OneCalculator(many=many)) as (calc, places), aclosing(calc.items("many")) as items:
        await anext(items)
        before = 0
        while given > before:
            before = given
            await places.settle()
        assert given < 1_000
        for _ in range(1_000):
            await anext(items)


@every_route
async def test_ends_of_refused_and_failed_calls_are_refused(route: Route) -> None:
    async def fail(value: Any) -> None:
        raise LookupError

    async with called(route, OneCalculator(fail=fail)) as (calc, places):
        for method, error in (("fail", CallFailed), ("later", CallRefused)):
            ours, end = places.pipe()
            with pytest.raises(error):
                await (calc.do("fail", end) if method == "fail" else calc.later([end]))
            assert isinstance(await ours.wait_closed(), ChannelRefused)


@every_session
async def test_what_is_wrong_with_a_request_is_raised_as_it_is(route: Route) -> None:
    async with called(partial(route, Limits(message_size=4_096)), OneCalculator()) as (calc, places):
        ours, end = places.pipe()
        for value, error in ((object(), EncodeError), (bytes(5_000), MessageTooLarge)):
            with pytest.raises(error):
                await calc.do("x", [end, value])
        await ours.send(1)
        assert await end.receive() == 1
        assert await calc.add(1) == 2


@every_session
async def test_calls_are_lost_with_a_session_on_the_way(route: Route) -> None:
    calculator = OneCalculator()
    async with called(route, calculator) as (calc, places):
        assert isinstance(places, PlacesApart)
        lost: list[CallError] = []

        async def call() -> None:
            with pytest.raises(CallLost) as caught:
                await calc.wait()
            lost.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(call)
            await until(lambda: calculator.began == 10)
            await places.cut()
        assert len(lost) == 10
        await until(lambda: calculator.ended == 10)


@pytest.mark.slow
@every_route
async def test_calls_left_in_every_way_leave_nothing(route: Route) -> None:
    """By a deadline, by a cancellation, by forgetting a stream, by leaving it; before, while and after they run."""
    chance = random.Random(14)
    calculator = OneCalculator()

    async def give_end(value: Any) -> Any:
        sender, receiver = pipe()
        sender.send_nowait(value)
        sender.close()
        return receiver

    calculator.deeds["give_end"] = give_end
    async with called(route, calculator, calls=20) as (calc, places):
        await calc.add(1)
        before = await channels(places)

        async def add() -> None:
            assert await calc.add(1) == 2

        async def wait() -> None:
            sender, receiver = pipe()
            try:
                await calc.wait([sender, {"a": receiver}])
            finally:
                sender.close()
                receiver.close()

        async def read(count: int = 3) -> None:
            async with aclosing(calc.count(100)) as numbers:
                async for number in numbers:
                    if number == count:
                        return

        async def forget() -> None:
            numbers = calc.count(100)
            await anext(numbers)

        async def take() -> None:
            receiver = await calc.do("give_end", 1)
            try:
                assert await receiver.receive() == 1
            finally:
                receiver.close()

        async def leave(call: Any) -> None:
            turns = chance.choice([0, 1, 2, 5, 20, 100])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                for _ in range(turns):
                    await checkpoint()
                tasks.cancel_scope.cancel()

        async def calls() -> None:
            for _ in range(8):
                await leave(chance.choice([add, wait, wait, read, forget, take]))

        with anyio.fail_after(PATIENCE):
            for _ in range(2):
                async with anyio.create_task_group() as tasks:
                    for _ in range(12):
                        tasks.start_soon(calls)
                assert await calc.add(1) == 2
            # The ends of generators that were forgotten are found when somebody waits here.
            while calculator.began > calculator.ended or await channels(places) != before:
                await calc.add(1)


async def channels(places: Places) -> list[int]:
    """How many are open in each session, once nothing is under way."""
    await places.settle()
    hops = places.hops if isinstance(places, PlacesApart) else []
    return [session.statistics().channels for hop in hops for session in (hop.near, hop.far)]


# --- what a caller is told --------------------------------------------------------------------------


@every_session
@pytest.mark.parametrize("seed", range(6))
async def test_what_a_caller_is_told_is_true(route: Route, seed: int) -> None:
    """While callers leave and the service stops, or a session on the way is cut, at any moment: what has a result has
    ended, what was refused has never begun, and nothing has begun twice."""
    chance = random.Random(seed)
    began: list[int] = []
    ended: list[int] = []
    came_to: dict[int, type[CallError] | None] = {}

    async def pause() -> None:
        for _ in range(chance.choice([0, 1, 3, 10, 30])):
            await checkpoint()

    async def work(number: Any) -> int:
        began.append(number)
        await pause()
        ended.append(number)
        return int(number)

    async def call(calc: Any, number: int) -> None:
        await pause()
        try:
            assert await calc.do("work", number) == number
        except CallError as exc:
            came_to[number] = type(exc)
        else:
            came_to[number] = None

    async with route() as places, anyio.create_task_group() as tasks:
        requests, arriving = await places.channel()
        stop = anyio.CancelScope()

        async def serve() -> None:
            with stop:
                await serving(OneCalculator(work=work), calls=chance.choice([1, 3, 100]))(arriving, PEER)
            arriving.refuse("cancelled", "the service was stopped")  # as a session does

        tasks.start_soon(serve)
        calc = LATER.client(requests)
        leaving: list[anyio.CancelScope] = []

        async def leave(number: int) -> None:
            with anyio.CancelScope() as scope:
                leaving.append(scope)
                await call(calc, number)

        async with anyio.create_task_group() as calls:
            for number in range(100):
                if number % 4:
                    calls.start_soon(call, calc, number)
                else:
                    calls.start_soon(leave, number)
            for moment in (chance.randrange(30), chance.randrange(60)):
                while len(ended) < moment:
                    await checkpoint()
                for scope in leaving:
                    scope.cancel()
            if chance.random() < 0.5:
                stop.cancel()
            else:
                await places.cut()
        requests.close()
    assert {number for number in range(100) if number % 4} <= came_to.keys()
    if route is not resumed:  # which may be away all the time, or for no moment
        assert {None} < set(came_to.values())
    assert len(began) == len(set(began))
    for number, error in came_to.items():
        assert error in (None, CallRefused, CallLost)
        if error is None:
            assert number in ended
        if error is CallRefused:
            assert number not in began
