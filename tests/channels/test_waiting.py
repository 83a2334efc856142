"""Wake-ups are passed on: a task that was woken and is cancelled in that turn leaves it to the next."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import chanlink
from chanlink.channels.waiting import EMPTY, YIELD_AFTER, Loop, Steps, Ticket, Waiters, within
from chanlink.testing import session_pair
from chanlink.testing.promises import eventually
from tests.conformance.routes import Route, memory
from tests.patience import PATIENCE
from tests.wire.muxes import Look

from .pairs import settle
from .test_cancellation import (
    by_name,
    by_receive,
    by_select,
    by_select_send,
    by_selector,
    by_selector_send,
    by_send,
    each_core,
)

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


class Victim:
    """A task that can be cancelled in the very turn in which it is woken: by asyncio, which still reaches it then."""

    def __init__(self, operation: Callable[[], Awaitable[Any]], how: str) -> None:
        self._operation = operation
        self._how = how
        self._scope = anyio.CancelScope()
        self._task: Any = None
        self.results: list[Any] = []
        self.cancelled = False

    async def run(self) -> None:
        if self._how == "task":
            self._task = asyncio.current_task()
        with self._scope:
            try:
                self.results.append(await self._operation())
            except asyncio.CancelledError:
                if not (self.cancelled and self._task):
                    raise

    def cancel(self) -> None:
        self.cancelled = True
        if self._task is not None:
            self._task.cancel()
        else:
            self._scope.cancel()


@pytest.fixture(params=["scope", "task"])
def how(request: pytest.FixtureRequest, anyio_backend: Any) -> Any:
    if anyio_backend[0] != "asyncio" and request.param == "task":
        pytest.skip("asyncio's own")
    return request.param


def when_woken(core: Any, victim: Victim) -> None:
    """Over a session: cancel it right after the reader task has woken it."""
    sends = hasattr(core, "outlet")
    half = core.outlet.stream.outgoing if sends else next(iter(core.feeds)).stream.incoming
    look = half.owner.writable if sends else half.owner.readable

    def look_and_cancel() -> None:
        look()
        victim.cancel()

    half.belongs_to(Look(look_and_cancel))


@each_core
@pytest.mark.parametrize("capacity", [None, 0])
@pytest.mark.parametrize("first", [by_receive, by_select, by_selector], **by_name)
@pytest.mark.parametrize("second", [by_receive, by_select, by_selector], **by_name)
async def test_a_message_goes_to_the_next_one_if_who_was_woken_is_cancelled(
    route: Route, capacity: Any, first: Any, second: Any, how: str
) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(capacity)
        victim = Victim(lambda: first(receiver), how)
        other = Victim(lambda: second(receiver), "scope")
        for one in (victim, other):
            tasks.start_soon(one.run)
            await settle()
        assert receiver.statistics().waiting == 2
        if route is memory:
            sender.send_nowait("the only one")
            victim.cancel()
        else:
            when_woken(receiver._receive_core, victim)
            sender.send_nowait("the only one")
        await eventually(lambda: victim.results + other.results)
        if how == "task":
            assert (victim.results, other.results) == ([], ["the only one"])
        await places.settle()
        assert victim.results + other.results == ["the only one"]
        await sender.flush()
        tasks.cancel_scope.cancel()


@each_core
@pytest.mark.parametrize("first", [by_send, by_select_send, by_selector_send], **by_name)
@pytest.mark.parametrize("second", [by_send, by_select_send, by_selector_send], **by_name)
async def test_room_goes_to_the_next_one_if_who_was_woken_is_cancelled(
    route: Route, first: Any, second: Any, how: str
) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await places.channel(1)
        await sender.send("fills it")
        victim = Victim(lambda: first(sender, "by the victim"), how)
        other = Victim(lambda: second(sender, "by the other"), "scope")
        for one in (victim, other):
            tasks.start_soon(one.run)
            await settle()
        assert sender.statistics().waiting == 2
        if route is memory:
            assert receiver.receive_nowait() == "fills it"
            victim.cancel()
        else:
            when_woken(sender._send_core, victim)
            assert await receiver.receive() == "fills it"
        await eventually(lambda: victim.results + other.results)
        await places.settle()
        if how == "task":
            assert (len(victim.results), len(other.results)) == (0, 1)
        assert len(victim.results + other.results) == 1
        assert await receiver.receive() == ("by the other" if other.results else "by the victim")
        tasks.cancel_scope.cancel()


async def test_an_incoming_channel_goes_to_the_next_one_if_who_was_woken_is_cancelled(how: str) -> None:
    async with session_pair() as (client, server), anyio.create_task_group() as tasks:
        victim, other = Victim(server.accept, how), Victim(server.accept, "scope")
        for one in (victim, other):
            tasks.start_soon(one.run)
            await settle()
        opened = server._driver.stream_opened

        def opened_and_cancelled(stream: Any) -> None:
            opened(stream)
            victim.cancel()

        server._driver.stream_opened = opened_and_cancelled  # type: ignore[method-assign]
        await client.open("service")
        await eventually(lambda: victim.results + other.results)
        await settle()
        assert [one.service for one in victim.results + other.results] == ["service"]
        assert not (how == "task" and victim.results)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_send_waits_until_its_own_message_was_taken_and_not_until_another_was_that_was_given_back() -> None:
    sender, receiver = chanlink.pipe(0)
    tasks = [asyncio.ensure_future(receiver.receive()) for _ in range(3)]
    await settle()
    sender.send_nowait("given back twice")
    tasks[0].cancel()
    asyncio.get_running_loop().call_soon(tasks[1].cancel)  # it has been woken by then
    with anyio.fail_after(PATIENCE):
        await asyncio.ensure_future(sender.send("taken"))
        assert await tasks[2] == "taken"
    assert await receiver.receive() == "given back twice"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("turned", [False, True])
async def test_messages_that_cancelled_receivers_gave_back_are_in_order(turned: bool) -> None:
    sender, receiver = chanlink.pipe(0)
    tasks = [asyncio.ensure_future(receiver.receive()) for _ in range(2)]
    await settle()
    sender.send_nowait("first")
    sender.send_nowait("second")
    for task in reversed(tasks) if turned else tasks:
        task.cancel()
    await settle()
    assert [receiver.receive_nowait(), receiver.receive_nowait()] == ["first", "second"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_a_cancelled_receiver_gave_back_comes_before_what_its_sender_sent_after_a_move() -> None:
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        carried = (await server.accept()).end
        sender, receiver = chanlink.pipe(0)
        task = asyncio.ensure_future(receiver.receive())
        await settle()
        sender.send_nowait(1)
        carrier.send_nowait(sender)
        task.cancel()
        there = await carried.receive()
        there.send_nowait(2)
        await settle()
        assert [await receiver.receive(), await receiver.receive()] == [1, 2]
        there.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_end_that_a_cancelled_receiver_gave_back_is_refused_when_the_receiver_was_closed_meanwhile() -> None:
    sender, receiver = chanlink.pipe(0)
    task = asyncio.ensure_future(receiver.receive())
    await settle()
    one, other = chanlink.pipe()
    sender.send_nowait(one)
    receiver.close()
    task.cancel()
    await settle()
    with pytest.raises(chanlink.ChannelFailed, match="not-taken"):
        other.receive_nowait()


@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 3, 4, 6])
async def test_of_tasks_that_share_a_sender_none_is_left_behind(capacity: int, count: int) -> None:
    sender, receiver = chanlink.pipe(capacity)
    sent = [0] * count
    async with anyio.create_task_group() as tasks:

        async def send(number: int) -> None:
            while True:
                await sender.send(number)
                sent[number] += 1

        for number in range(count):
            tasks.start_soon(send, number)
        for _ in range(1_000):
            await receiver.receive()
        tasks.cancel_scope.cancel()
    assert min(sent) >= 1_000 // count // 4
    sender.close()
    receiver.close()


# --- within a time --------------------------------------------------------------------------------------


async def test_what_takes_too_long_is_cancelled_and_the_block_left() -> None:
    async with within(0.05) as countdown:
        await anyio.sleep_forever()
    assert countdown.scope.cancelled_caught


async def test_what_is_in_time_is_not_and_its_errors_leave_as_they_are() -> None:
    async with within(PATIENCE) as countdown:
        await anyio.lowlevel.checkpoint()
    assert not countdown.scope.cancel_called
    with pytest.raises(ZeroDivisionError):
        async with within(PATIENCE):
            raise ZeroDivisionError


async def test_the_time_can_be_shortened_and_never_made_longer() -> None:
    async with within(PATIENCE) as countdown:
        countdown.shorten(0.05)
        countdown.shorten(2 * PATIENCE)
        assert countdown.left == 0.05


# --- alone --------------------------------------------------------------------------------------------


class Waiting:
    """Something that waits, and may take a message of a rendezvous."""

    def __init__(self, *, takes: bool = False) -> None:
        self.count = 0
        self._takes = takes

    def set(self) -> None:
        self.count += 1

    def takes(self) -> bool:
        return self._takes

    def give(self, item: Any, undo: Any) -> None: ...


def test_waiters_are_woken_in_turn_and_one_in_front_first() -> None:
    queue, waiters = Waiters(), [Waiting() for _ in range(3)]
    queue.add(waiters[0])
    queue.add(waiters[1])
    queue.add(waiters[2], first=True)
    queue.add(waiters[0], first=True)  # it keeps its place
    woken = []
    while queue:
        queue.wake()
        woken.append([waiter.count for waiter in waiters])
    assert woken == [[0, 0, 1], [1, 0, 1], [1, 1, 1]]
    queue.wake()
    assert not queue.discard(waiters[0])


def test_all_are_woken_once_and_are_free_to_wait_again() -> None:
    queue = Waiters()

    class Again(Waiting):
        def set(self) -> None:
            super().set()
            queue.add(self)

    one, other = Again(), Waiting()
    queue.add(one)
    queue.add(other)
    queue.wake_all()
    assert (one.count, other.count, list(queue)) == (1, 1, [one])


def test_a_message_is_given_to_the_first_that_takes_one() -> None:
    queue, watcher, taker = Waiters(), Waiting(), Waiting(takes=True)
    queue.add(watcher)
    assert queue.taker() is None
    queue.add(taker)
    assert queue.taker() is taker
    assert list(queue) == [watcher]


async def test_a_task_that_waits_again_with_its_old_place_is_before_those_that_came_later() -> None:
    queue, ticket = Waiters(), Ticket()
    later = Waiting()
    queue.add(later)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.wait, ticket)
        await settle()
        assert list(queue) == [ticket, later]
        queue.wake()
    assert (ticket.given, later.count) == (EMPTY, 0)


async def test_what_was_given_to_a_task_that_is_cancelled_is_had_or_given_back() -> None:
    queue, ticket, given_back, had = Waiters(), Ticket(), [], []

    async def wait() -> None:
        had.append(await queue.wait(ticket))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        assert queue.taker() is ticket
        tasks.cancel_scope.cancel()
        ticket.give("item", lambda: given_back.append("item"))
    assert [had, given_back].count(["item"]) == 1


async def test_steps_yield_now_and_then_only() -> None:
    steps, turns = Steps(Loop()), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        await settle()
        before = turns
        for _ in range(YIELD_AFTER - 1):
            await steps.step()
        assert turns == before
        for _ in range(
            1 + YIELD_AFTER
        ):  # it yields twice: trio may have run the others last before, and run them last now
            await steps.step()
        assert turns > before
        tasks.cancel_scope.cancel()


def test_what_took_long_is_taken_over_once() -> None:
    steps, other = Steps(Loop()), Steps(Loop())
    other.worked(YIELD_AFTER - 1)
    steps.takes_over(other)
    assert (steps.steps, other.steps) == (0, YIELD_AFTER - 1)
    other.worked(1)
    steps.takes_over(other)
    assert (steps.steps, other.steps) == (YIELD_AFTER, 0)


async def test_what_is_to_be_done_before_a_wait_is_done_and_said() -> None:
    said = [True, False]
    loop = Loop(lambda: said.pop(0))
    assert loop.about_to_wait()
    assert not loop.about_to_wait()
    assert not Loop().about_to_wait()


async def test_an_end_that_was_noted_is_forsaken_by_the_next_that_looks() -> None:
    sender, receiver = chanlink.pipe()
    loop = Loop()
    loop.note(sender)
    assert not sender.is_void
    assert loop.watch()
    assert sender.is_void
    assert not loop.settle()
    receiver.close()
