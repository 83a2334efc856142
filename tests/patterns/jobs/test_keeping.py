"""How a queue uses its store."""

import logging
from collections.abc import Mapping

import anyio
import pytest

from chanlink import StoreError
from chanlink.patterns.jobs.keeping import Insistence, Room
from chanlink.patterns.jobs.memory import MemoryStore
from chanlink.patterns.jobs.store import NewJob, State

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


class Counting(MemoryStore):
    """Counts how often it is asked."""

    asked = 0

    async def counts(self) -> Mapping[State, int]:
        self.asked += 1
        return await super().counts()


async def test_it_asks_until_there_is_an_answer_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = [StoreError("disk full"), StoreError("disk full")]

    async def verb() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    with caplog.at_level(logging.WARNING):
        insistence = Insistence()
        assert await insistence.insist(verb) == "answer"
        assert await insistence.insist(verb) == "answer"
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_a_store_is_asked_only_when_there_may_be_no_room() -> None:
    store = Counting()
    room = Room(store, 3)
    assert await room.left(1) == 3
    room.more(2)
    assert await room.left(1) == 1
    room.more(1)
    assert store.asked == 1
    for _ in range(3):
        assert await room.left(1) == 0
    await store.add([NewJob("x", b"", False)])
    room.maybe_fewer()
    assert await room.left(1) == 2
    assert store.asked == 2


async def test_those_who_come_while_a_store_is_asked_get_its_answer() -> None:
    class Slow(Counting):
        async def counts(self) -> Mapping[State, int]:
            await anyio.sleep(0.01)
            return await super().counts()

    store = Slow()
    room, found = Room(store, 3), list[int]()

    async def look() -> None:
        found.append(await room.left(1))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(look)
    assert found == [3, 3, 3]
    assert store.asked == 1
