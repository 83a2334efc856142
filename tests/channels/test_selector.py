"""Selectors from inside: what a turn costs, cases that come and go, wake-ups that are passed on."""

from collections import Counter
from functools import partialmethod
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Selector
from chanlink.channels import cases
from chanlink.testing import session_pair

from .pairs import settle
from .test_cancellation import at_each_turn, cancel  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


@pytest.mark.parametrize("idle", [10, 500])
async def test_a_turn_costs_the_same_however_many_ends_are_idle(idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    work: Counter[str] = Counter()
    for kind in (cases.ReceiveCase, cases.CloseCase):
        for name in ("poll", "wait", "leave"):

            def counted(case: Any, *, done: Any, name: str) -> Any:
                work[name] += 1
                return done(case)

            monkeypatch.setattr(kind, name, partialmethod(counted, done=getattr(kind, name), name=name))
    pairs = [chanlink.pipe() for _ in range(idle)]
    busy, receiver = chanlink.pipe()
    async with Selector() as selector, anyio.create_task_group() as tasks:
        for one, other in pairs:
            selector.add(other)
            selector.add(one.closing())
        selector.add(receiver)
        seen: list[Any] = []

        async def choose() -> None:
            async for selected in selector:
                seen.append(selected.value)

        tasks.start_soon(choose)
        await settle()
        work.clear()
        for n in range(100):
            busy.send_nowait(n)
            await settle()
        assert seen == list(range(100))
        assert work["poll"] <= 300
        assert work["wait"] <= 200
        assert work["leave"] == 0
        tasks.cancel_scope.cancel()
    for one, other in pairs:
        assert other.statistics().waiting == 0
        assert len(one._send_core.watchers) == 0
        one.close()
    busy.close()


async def test_cases_are_added_and_removed_while_another_task_iterates() -> None:
    one, one_there = chanlink.pipe()
    two, two_there = chanlink.pipe()
    full, drain = chanlink.pipe(1)
    full.send_nowait("fills it")
    end, _other = chanlink.pipe()
    seen: list[Any] = []

    async with Selector() as selector, anyio.create_task_group() as tasks:

        async def choose() -> None:
            async for selected in selector:
                seen.append((selected.index, selected.value))
            seen.append("the set is empty")

        first = selector.add(one_there)
        tasks.start_soon(choose)
        await settle()
        second = selector.add(two_there)  # while it waits
        third = selector.add(full.sending(end))
        await settle()
        two.send_nowait("two")
        await settle()
        assert seen == [(second, "two")]
        selector.remove(third)
        assert drain.receive_nowait() == "fills it"
        end._lend()  # ours again
        end._keep()
        selector.remove(second)
        two.send_nowait("left alone")
        one.send_nowait("one")
        await settle()
        assert seen[1:] == [(first, "one")]
        selector.remove(first)  # the last one, while it waits
        selector.remove(first)
    assert seen[2:] == ["the set is empty"]
    assert two_there.receive_nowait() == "left alone"


async def test_a_selector_that_is_not_iterated_keeps_no_wake_up_to_itself() -> None:
    sender, receiver = chanlink.pipe()
    other, other_there = chanlink.pipe()
    async with Selector() as selector, anyio.create_task_group() as tasks:
        selector.add(receiver)
        selector.add(other_there)
        other.send_nowait("makes one turn")
        assert (await anext(selector)).value == "makes one turn"
        other.send_nowait("makes another")  # with the first case waiting at its end
        with anyio.move_on_after(0.0):
            await anext(selector)
        received: list[Any] = []

        async def receive() -> None:
            received.append(await receiver.receive())

        tasks.start_soon(receive)
        await settle()
        sender.send_nowait("for the task that waits")
        await settle()
        assert received == ["for the task that waits"]
        sender.send_nowait("for the selector")
        values = [(await anext(selector)).value for _ in range(1 + other_there.statistics().queued)]
        assert "for the selector" in values


async def test_a_selector_that_two_ends_woke_passes_on_what_it_did_not_use() -> None:
    """It handles one message, and the task that waits behind it has the other, though there is no next turn."""
    pairs = [chanlink.pipe() for _ in range(2)]
    async with Selector() as selector, anyio.create_task_group() as tasks:
        for _, receiver in pairs:
            selector.add(receiver)
        received: list[Any] = []

        async def turn() -> None:
            received.append((await anext(selector)).value)

        async def receive(receiver: Any) -> None:
            received.append(await receiver.receive())

        tasks.start_soon(turn)
        await settle()
        for _, receiver in pairs:
            tasks.start_soon(receive, receiver)
        await settle()
        for n, (sender, _) in enumerate(pairs):
            sender.send_nowait(n)
        await settle()
        assert sorted(received) == [0, 1]
        tasks.cancel_scope.cancel()


async def test_a_cancelled_turn_of_a_selector_loses_nothing(cancel: Any) -> None:  # noqa: F811
    async with session_pair() as (client, server):
        remote = await client.open("service", capacity=1)
        receivers = [(await server.accept()).end]
        senders = [remote]
        for capacity in (0, 1, None):
            sender, receiver = chanlink.pipe(capacity)
            senders.append(sender)
            receivers.append(receiver)
        received: list[int] = []
        async with Selector() as selector:
            for receiver in receivers:
                selector.add(receiver)

            async def turn() -> None:
                selected = await anext(selector)
                assert selected.error is None
                received.append(selected.value)

            async def attempt(turns: int) -> bool:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(senders[turns % 4].send, turns)
                    await cancel(turn, turns // 2)
                    done = len(received) > turns
                    if not done:
                        await turn()
                assert received == list(range(turns + 1))
                return done

            await at_each_turn(attempt)
        for receiver in receivers:
            assert receiver.statistics().waiting == 0
