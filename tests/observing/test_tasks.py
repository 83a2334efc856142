"""What a task waits for, where it is, whom it serves, and what ends its waiting."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Receiver, Selector, Sender, select
from chanlink.observing.tasks import Task, Verb, look
from tests.channels.pairs import session_pair, settle
from tests.observing.waiting import ELSEWHERE, background, the_task

pytestmark = pytest.mark.anyio


def waits(task: Task) -> list[tuple[Verb, Any]]:
    return [(wait.verb, wait.end) for wait in task.waits]


async def test_a_task_that_receives() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, background(receiver.receive):
        assert waits(the_task()) == [("receive", receiver)]
        assert the_task().at == "ReceiveHandle._get"


async def test_a_task_that_iterates() -> None:
    async def work(receiver: Receiver[Any]) -> None:
        async for _ in receiver:
            pass

    sender, receiver = chanlink.pipe()
    async with sender, background(work, receiver):
        task = the_task()
        assert waits(task) == [("receive", receiver)]
        assert task.place.startswith("observing/test_tasks.py:")
        assert task.place.endswith("in test_a_task_that_iterates.<locals>.work")


@pytest.mark.parametrize("capacity", [0, 1])
async def test_a_task_that_sends(capacity: int) -> None:
    async def work(sender: Sender[Any]) -> None:
        while True:
            await sender.send(1)

    sender, receiver = chanlink.pipe(capacity)
    async with receiver, background(work, sender):
        assert waits(the_task()) == [("send", sender)]


async def test_tasks_that_wait_for_what_the_other_side_does() -> None:
    async with session_pair() as (client, server), await client.open("work") as sender:
        receiver = (await server.accept()).end
        await sender.send(1)
        async with background(sender.flush, name="flush"), background(sender.wait_closed, name="closed"):
            assert waits(the_task("flush")) == [("send", sender)]
            assert waits(the_task("closed")) == [("end", sender)]
        receiver.close()


async def test_a_task_that_selects() -> None:
    first, second = chanlink.pipe(), chanlink.pipe(1)
    await second[0].send(1)
    async with background(select, first[1], second[0].sending(2), second[0].closing()):
        assert waits(the_task()) == [("receive", first[1]), ("send", second[0]), ("end", second[0])]


async def test_a_task_with_a_selector() -> None:
    async def work(receiver: Receiver[Any]) -> None:
        async with Selector() as selector:
            selector.add(receiver)
            async for _ in selector:
                pass

    sender, receiver = chanlink.pipe()
    async with sender, background(work, receiver):
        assert waits(the_task()) == [("receive", receiver)]


async def test_the_same_wait_has_the_same_turn() -> None:
    async def work(receiver: Receiver[Any]) -> None:
        async for _ in receiver:
            pass

    sender, receiver = chanlink.pipe()
    async with sender, background(work, receiver):
        before = the_task().turn
        assert before == the_task().turn > 0
        await sender.send(1)
        await settle()
        assert the_task().turn != before


async def test_a_task_that_waits_for_those_it_has_started() -> None:
    async def start() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever, name="first")
            tasks.start_soon(anyio.sleep_forever, name="second")

    async with background(start):
        task = the_task()
        assert sorted(task.group) == sorted(the_task(name).id for name in ("first", "second"))
        assert not task.waits
        assert the_task("first").group == ()


async def test_a_time_limit_is_seen_also_that_of_who_has_started_a_task() -> None:
    async def start(seconds: float | None) -> None:
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever, name="inner")

    async with background(start, 1000.0):
        assert (the_task().limited, the_task("inner").limited) == (True, True)
    async with background(start, None):
        assert (the_task().limited, the_task("inner").limited) == (False, False)


async def test_a_service_says_whom_it_serves() -> None:
    async def work(receiver: Receiver[Any], peer: chanlink.Peer) -> None:
        async with receiver:
            await receiver.receive()

    async with session_pair(services={"work": work}) as (client, _), await client.open("work"):
        await settle()
        (task,) = [task for task in look().tasks if task.service is not None]
        assert (task.service, task.peer) == ("work", "the other side")
        assert "work" in task.place


async def test_the_task_that_asks_is_told_of_too() -> None:
    sender, receiver = chanlink.pipe(3)
    found = look()
    (task,) = [one for one in found.tasks if found.handles[sender].tasks == {one.id} == found.handles[receiver].tasks]
    assert task.place.endswith("in test_the_task_that_asks_is_told_of_too")
    assert task.waits == ()


async def test_who_else_could_send() -> None:
    """A sender that nobody was seen to hold may be used by others, and so what waits for it may go on."""
    sender, receiver = chanlink.pipe(3)
    core = sender._send_core
    async with background(receiver.receive):
        assert look().holders(core).tasks
        ELSEWHERE.append(sender.clone())
        assert look().holders(core).others
        sender.close()
        found = look().holders(core)
        assert (found.tasks, found.others) == (frozenset(), True)
    ELSEWHERE.pop().close()


async def test_so_many_tasks_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chanlink.observing.tasks.MOST_TASKS", 1)
    async with background(anyio.sleep_forever):
        found = look()
        assert (len(found.tasks), found.left_out > 0) == (1, True)


def test_there_are_none_without_an_event_loop() -> None:
    with pytest.raises(RuntimeError):
        look()
