"""The entries of a store in memory, and all who follow them."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest

from chanlink import StoreError
from chanlink.directory import board as module
from chanlink.directory.board import Board
from chanlink.directory.memory import MemoryStore
from chanlink.directory.problems import Overtaken
from chanlink.directory.store import Gone, News, Stored
from tests.patience import PATIENCE, until

from .made import KEY, OTHER, new

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@asynccontextmanager
async def board_of(store: MemoryStore) -> AsyncIterator[Board]:
    board = Board(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(board.run)
        yield board
        tasks.cancel_scope.cancel()


def brief(change: News) -> object:
    return (change.name, change.serial) if isinstance(change, Stored) else change


async def read(news: AsyncIterator[News], count: int) -> list[object]:
    with anyio.fail_after(PATIENCE):
        return [brief(await anext(news)) for _ in range(count)]


async def test_names_come_in_their_order_then_the_marker_then_changes() -> None:
    store = MemoryStore()
    for name in ("b", "a", "c"):
        await store.put(new(name))
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 4) == [("a", 1), ("b", 1), ("c", 1), None]
        await store.put(new("b", serial=2))
        await store.withdraw("c", KEY)
        assert await read(news, 2) == [("b", 2), Gone("c", KEY)]
        assert len(board) == 2


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["a", "web", "web1", "web10", "web2", "x"]),
        ("web", ["web", "web1", "web10", "web2"]),
        ("web1", ["web1", "web10"]),
        ("web10", ["web10"]),
        ("web3", []),
        ("y", []),
        ("x", ["x"]),
    ],
)
async def test_a_prefix_chooses_names(prefix: str, names: list[str]) -> None:
    store = MemoryStore()
    for name in ("web2", "web10", "x", "a", "web1", "web"):
        await store.put(new(name))
    async with board_of(store) as board, aclosing(board.follow(prefix)) as news:
        assert await read(news, len(names) + 1) == [*((name, 1) for name in names), None]
        for name in ("web1", "zzz", f"{prefix}new"):
            await store.put(new(name, serial=2))
        wanted = [(name, 2) for name in ("web1", "zzz", f"{prefix}new") if name.startswith(prefix)]
        assert await read(news, len(wanted)) == wanted


async def test_who_is_on_the_way_sees_what_is_ahead_as_it_is_then_and_is_told_what_is_behind() -> None:
    store = MemoryStore()
    for name in ("a", "b", "c", "d"):
        await store.put(new(name))
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 2) == [("a", 1), ("b", 1)]
        await store.put(new("a", serial=2))
        await store.put(new("c", serial=2))
        await store.withdraw("d", KEY)
        await store.put(new("bb"))
        await until(lambda: len(board) == 4 and "bb" in board._entries)
        assert await read(news, 4) == [("bb", 1), ("c", 2), None, ("a", 2)]


async def test_entries_under_one_name_come_together() -> None:
    store = MemoryStore()
    await store.put(new("a", listed=True))
    await store.put(new("a", OTHER, listed=True))
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 3) == [("a", 1), ("a", 1), None]
        await store.withdraw("a", KEY)
        assert await read(news, 1) == [Gone("a", KEY)]
        assert len(board) == 1


@pytest.mark.slow
async def test_what_ends_is_gone() -> None:
    store = MemoryStore()
    await store.put(new("long"))
    await store.put(new("short", life=3))
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 4) == [("long", 1), ("short", 1), None, Gone("short", KEY)]
        assert len(board) == 1


@pytest.mark.slow
async def test_what_is_renewed_does_not_end_when_it_would_have() -> None:
    store = MemoryStore()
    await store.put(new("a", life=3))
    await store.put(new("b", life=4))
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 3) == [("a", 1), ("b", 1), None]
        await store.put(new("a", serial=2, life=60))
        assert await read(news, 2) == [("a", 2), Gone("b", KEY)]


async def test_ends_that_are_none_any_more_are_forgotten() -> None:
    store = MemoryStore()
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 1) == [None]
        for serial in range(1, 300):
            await store.put(new("a", serial=serial))
            assert await read(news, 1) == [("a", serial)]
        assert len(board._ends) <= 103


async def test_a_follower_who_is_too_slow_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PENDING", 3)
    store = MemoryStore()
    await store.put(new("a"))
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 2) == [("a", 1), None]
        for number in range(6):
            await store.put(new(f"b{number}"))
        await until(lambda: len(board) == 7)
        with pytest.raises(Overtaken):
            await read(news, 1)
        async with aclosing(board.follow("b5")) as again:
            assert await read(again, 2) == [("b5", 1), None]


class Dropping(MemoryStore):
    """Its first changes end, by an error, when it is told so; and it forgets what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = anyio.Event()
        self.begun = 0

    async def changes(self) -> AsyncIterator[News]:
        self.begun += 1
        for name in list(self._entries):
            for one in self._current(name):
                yield one
        yield None
        if self.begun == 1:
            await self.fails.wait()
            raise StoreError("no connection")
        await anyio.sleep_forever()


async def test_a_store_that_fails_is_read_again_and_what_it_has_no_more_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    store = Dropping()
    await store.put(new("a"))
    await store.put(new("b"))
    async with board_of(store) as board, aclosing(board.follow("")) as news:
        assert await read(news, 3) == [("a", 1), ("b", 1), None]
        await store.withdraw("a", KEY)
        await store.put(new("b", serial=2))
        await store.put(new("c"))
        store.fails.set()
        assert await read(news, 3) == [("b", 2), ("c", 1), Gone("a", KEY)]
        assert "no connection" in caplog.text
        assert store.begun == 2


async def test_nobody_is_told_that_there_is_nothing_before_the_store_was_read() -> None:
    class Slow(MemoryStore):
        read = anyio.Event()

        async def changes(self) -> AsyncIterator[News]:
            await self.read.wait()
            yield Stored("a", KEY, 1, 60.0, b"", b"", b"")
            yield None
            await anyio.sleep_forever()

    store = Slow()
    store.read = anyio.Event()
    async with board_of(store) as board, aclosing(board.follow("")) as news, anyio.create_task_group() as tasks:
        found: list[object] = []

        async def follow() -> None:
            found.extend(await read(news, 2))

        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        assert not found
        store.read.set()
        await until(lambda: found == [("a", 1), None])
