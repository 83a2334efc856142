"""Cancellation at every turn, seen from inside: nobody is left waiting, and no wake-up is lost.

The conformance suite tries cancellation over every route from outside. Here an operation is cancelled after 0, 1,
2, ... turns of the event loop until it is done before its cancellation, and after each attempt the books are checked.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, EndOfChannel, LimitReached, Limits, Receiver, Sender, SessionClosed, SessionLost
from chanlink.testing import session_pair
from tests.conformance.routes import Route, memory, one_relay, session
from tests.conformance.test_cancellation import cancel_by_asyncio, cancel_by_scope, cancel_by_timeout
from tests.patience import PATIENCE

from .pairs import settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

MOST = 400
"""Turns after which an operation that was not done is stuck."""


def _over(routes: Iterable[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=lambda one: one.__name__)


each_kind = _over([memory, session, one_relay])
each_core = _over([memory, session])
each_capacity = pytest.mark.parametrize("capacity", [None, 0, 1])


@pytest.fixture(params=[cancel_by_scope, cancel_by_asyncio, cancel_by_timeout], ids=lambda one: one.__name__)
def cancel(request: pytest.FixtureRequest, anyio_backend: Any) -> Any:
    if anyio_backend[0] != "asyncio" and request.param is not cancel_by_scope:
        pytest.skip("asyncio's own")
    return request.param


async def at_each_turn(attempt: Callable[[int], Awaitable[bool]]) -> None:
    """`attempt(turns)` says whether the operation was done before its cancellation; until that is so, twice."""
    turns = done = 0
    while done < 2:
        done = done + 1 if await attempt(turns) else 0
        turns += 1
        assert turns < MOST


# --- ways to take, and to put -----------------------------------------------------------------------


async def by_receive(receiver: Receiver[Any]) -> Any:
    return await receiver.receive()


async def by_receive_many(receiver: Receiver[Any]) -> Any:
    (message,) = await receiver.receive_many(3)
    return message


async def by_select(receiver: Receiver[Any]) -> Any:
    quiet, idle = chanlink.pipe()
    try:
        selected = await chanlink.select(idle, receiver, quiet.closing())
        assert selected.error is None
        return selected.value
    finally:
        quiet.close()
        idle.close()


async def by_selector(receiver: Receiver[Any]) -> Any:
    async with chanlink.Selector() as selector:
        selector.add(receiver)
        selected = await anext(selector)
        assert selected.error is None
        return selected.value


async def by_send(sender: Sender[Any], message: Any) -> None:
    await sender.send(message)


async def by_select_send(sender: Sender[Any], message: Any) -> None:
    quiet, idle = chanlink.pipe()
    try:
        selected = await chanlink.select(idle, sender.sending(message))
        assert selected.error is None
    finally:
        quiet.close()
        idle.close()


async def by_selector_send(sender: Sender[Any], message: Any) -> None:
    async with chanlink.Selector() as selector:
        selector.add(sender.sending(message))
        assert (await anext(selector)).error is None


by_name: Any = {"ids": lambda one: one.__name__}
TAKES = [by_receive, by_receive_many, by_select, by_selector]
PUTS = [by_send, by_select_send, by_selector_send]


# --- every turn -------------------------------------------------------------------------------------


@each_kind
@each_capacity
@pytest.mark.parametrize("take", TAKES, **by_name)
async def test_a_message_is_taken_once_whenever_who_takes_it_is_cancelled(
    route: Route, capacity: Any, take: Any, cancel: Any
) -> None:
    async with route() as places:
        sender, receiver = await places.channel(capacity)
        received: list[int] = []

        async def take_one() -> None:
            received.append(await take(receiver))

        async def attempt(turns: int) -> bool:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sender.send, turns)
                await cancel(take_one, turns)
                done = len(received) > turns
                if not done:
                    received.append(await receiver.receive())
            assert received == list(range(turns + 1))
            assert receiver.statistics().waiting == sender.statistics().waiting == 0
            return done

        await at_each_turn(attempt)
        await sender.flush()
        assert sender.taken == receiver.statistics().taken == len(received)


@each_kind
@each_capacity
@pytest.mark.parametrize("put", PUTS, **by_name)
async def test_a_message_is_sent_once_or_not_whenever_who_sends_it_is_cancelled(
    route: Route, capacity: Any, put: Any, cancel: Any
) -> None:
    async with route() as places:
        sender, receiver = await places.channel(capacity)
        accepted: list[int] = []
        received: list[int] = []
        number = 0

        async def read() -> None:
            while True:
                received.append((await receiver.receive())[0])

        def fill() -> None:
            nonlocal number
            with pytest.raises(anyio.WouldBlock):
                while True:
                    number += 1
                    sender.send_nowait([number, bytes(2_000)])
                    accepted.append(number)

        async def attempt(turns: int) -> bool:
            nonlocal number
            fill()
            number += 1
            done = False

            async def put_one() -> None:
                nonlocal done
                await put(sender, [number, bytes(2_000)])
                accepted.append(number)
                done = True

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await cancel(put_one, turns)
                assert sender.statistics().waiting == 0
                tasks.cancel_scope.cancel()
            assert receiver.statistics().waiting == 0
            return done

        await at_each_turn(attempt)
        sender.close()
        received += [n async for n, _ in receiver]
        if capacity == 0 and put is by_send:  # it may be taken already when the cancellation comes
            assert received == sorted(set(received))
            assert set(accepted) <= set(received)
        else:
            assert received == accepted


@each_core
@pytest.mark.parametrize("capacity", [0, 1])
async def test_an_end_in_a_cancelled_select_has_moved_if_and_only_if_that_was_said(
    route: Route, capacity: int, cancel: Any
) -> None:
    async with route() as places:
        sender, receiver = await places.channel(capacity)

        async def attempt(turns: int) -> bool:
            if capacity:
                sender.send_nowait("fills it")
            one, other = places.pipe()
            done = False

            async def put() -> None:
                nonlocal done
                await by_select_send(sender, {"end": one})
                done = True

            async def take() -> None:
                assert not capacity or await receiver.receive() == "fills it"
                places.keep(await receiver.receive())["end"].send_nowait("it works")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take)
                await cancel(put, turns)
                assert one.is_void == done
                if not done:
                    await sender.send({"end": one})
                assert await other.receive() == "it works"
            await places.settle()
            return done

        await at_each_turn(attempt)


@each_core
async def test_a_sized_byte_stream_has_its_size_whenever_who_sends_is_cancelled(route: Route, cancel: Any) -> None:
    pieces, piece = 12, bytes(20_000)
    async with route() as places:
        near, far = places.byte_pipe(pieces * len(piece))
        far = await places.carry(far)
        received = 0

        async def read() -> None:
            nonlocal received
            while True:
                received += len(await far.receive())

        sent = turns = 0

        async def put() -> None:
            nonlocal sent
            await near.send(piece)
            sent += 1

        while sent < pieces:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await cancel(put, turns % 9)
                tasks.cancel_scope.cancel()
            turns += 1
            assert near.statistics().sent == sent * len(piece)
            assert turns < MOST
        await near.send_eof()
        with pytest.raises(EndOfChannel):
            await read()
        assert received == pieces * len(piece)


@each_kind
@pytest.mark.parametrize("how", ["flush", "wait_closed", "closing"])
async def test_who_waits_for_the_far_side_is_told_though_another_was_cancelled(
    route: Route, how: str, cancel: Any
) -> None:
    async with route() as places:

        async def attempt(turns: int) -> bool:
            sender, receiver = await places.channel()
            await sender.send("message")
            told: list[str] = []

            async def wait(name: str) -> None:
                if how == "flush":
                    await sender.flush()
                elif how == "closing":
                    assert isinstance((await chanlink.select(sender.closing())).error, ChannelRefused)
                else:
                    assert isinstance(await sender.wait_closed(), ChannelRefused)
                told.append(name)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, "who stays")
                await settle()
                assert await receiver.receive() == "message"
                if how != "flush":
                    receiver.close()
                await cancel(lambda: wait("who goes"), turns)
            assert "who stays" in told
            assert len(sender._send_core.watchers) <= (route is one_relay)
            return "who goes" in told

        await at_each_turn(attempt)


# --- sessions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["open", "open_stream"])
async def test_a_cancelled_opening_spends_no_channel(kind: str, cancel: Any) -> None:
    async with session_pair(Limits(open_channels=4)) as (client, server):
        opened: list[Any] = []

        async def open_one() -> None:
            opened.append(await getattr(client, kind)("service"))

        async def attempt(turns: int) -> bool:
            before = len(opened)
            await cancel(open_one, turns)
            assert client.statistics().channels == len(opened)
            return len(opened) > before

        await at_each_turn(attempt)
        while len(opened) < 4:
            await open_one()
        with pytest.raises(LimitReached):
            await open_one()
        for one in opened:
            assert (await server.accept()).service == "service"
            one.close()


async def test_a_cancelled_close_of_a_session_ends_it_and_truncates_nothing_in_silence(cancel: Any) -> None:
    async def attempt(turns: int) -> bool:
        async with session_pair() as (client, server):
            sender = await client.open("service")
            receiver = (await server.accept()).end
            for n in range(5):
                await sender.send([n, bytes(2_000)])
            began = closed = False

            async def close() -> None:
                nonlocal began, closed
                began = True
                await client.aclose()
                closed = True

            await cancel(close, turns)
            if not began:
                return False
            assert isinstance(await client.wait_closed(), SessionClosed)
            assert isinstance(await server.wait_closed(), SessionClosed)
            received = []
            with pytest.raises(SessionLost):
                while True:
                    received.append((await receiver.receive())[0])
            assert received == list(range(5) if closed else range(len(received)))
            with pytest.raises(SessionLost):
                await sender.send("too late")
            with pytest.raises(SessionClosed):
                await client.open("service")
            return closed

    with anyio.fail_after(PATIENCE):
        await at_each_turn(attempt)


async def test_a_block_that_is_cancelled_at_any_turn_leaves_no_task_and_no_channel(
    cancel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "chanlink.session.driver.FAREWELL", 0.02
    )  # one side may be cancelled before the other has begun
    with anyio.fail_after(PATIENCE):
        for turns in range(40):
            seen: list[Any] = []

            async def live() -> None:
                async with session_pair() as (client, server):
                    seen[:] = [client, server]  # noqa: B023
                    sender = await client.open("service")
                    receiver = (await server.accept()).end
                    async with sender:
                        for n in range(100):
                            await sender.send(n)
                            assert await receiver.receive() == n

            await cancel(live, turns)
            for one in seen:
                if one.closed:
                    assert one.statistics().channels == 0
