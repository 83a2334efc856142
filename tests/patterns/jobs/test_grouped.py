"""Group commit: who goes together, who gets which answer, and what becomes of it when a transaction fails."""

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import anyio
import pytest
from anyio import CancelScope, create_task_group, wait_all_tasks_blocked

from chanlink import StoreError
from chanlink.patterns.jobs import grouped
from chanlink.patterns.jobs.grouped import Grouped
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


class Sums:
    """Transactions over a list, in which -1 is poison. While it is `held`, they do not end."""

    def __init__(self) -> None:
        self.held = threading.Event()
        self.held.set()
        self.transactions: list[list[tuple[str, list[int]]]] = []
        """Those that were committed: which function was called with what."""
        self.threads = 0
        self.fails = 0
        """So many transactions will fail."""
        self._under_way: list[tuple[str, list[int]]] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        assert not self._under_way
        assert threading.current_thread() is not threading.main_thread()
        self.threads += 1
        assert self.threads == 1, "two threads at the same time"
        try:
            yield
            assert self.held.wait(PATIENCE)
            if self.fails:
                self.fails -= 1
                raise StoreError("the disk is full") from OSError(28, "no space")
            self.transactions.append(self._under_way)
        finally:
            self.threads -= 1
            self._under_way = []

    def double(self, items: Sequence[int]) -> list[int]:
        return self._did("double", items, 2)

    def treble(self, items: Sequence[int]) -> list[int]:
        return self._did("treble", items, 3)

    def _did(self, what: str, items: Sequence[int], by: int) -> list[int]:
        self._under_way.append((what, [*items]))
        if -1 in items:
            raise ValueError("poison")
        return [item * by for item in items]


@asynccontextmanager
async def running(sums: Sums) -> AsyncIterator[Grouped]:
    with anyio.fail_after(PATIENCE):
        group = Grouped(sums.transaction)
        async with group.running():
            yield group


@asynccontextmanager
async def one_under_way(sums: Sums) -> AsyncIterator[Grouped]:
    """The block is left when the transaction may end, whose item is 0."""
    async with running(sums) as group, create_task_group() as tasks:
        sums.held.clear()
        tasks.start_soon(group.call, sums.double, [0])
        await wait_all_tasks_blocked()
        yield group
        sums.held.set()


async def test_what_comes_while_a_transaction_is_under_way_goes_together_into_the_next_one() -> None:
    sums, answers = Sums(), {}

    async def call(function: object, items: list[int]) -> None:
        answers[tuple(items)] = await group.call(function, items)  # type: ignore[arg-type]

    async with create_task_group() as tasks, one_under_way(sums) as group:
        for n in range(1, 5):
            tasks.start_soon(call, sums.double, [n, 10 * n])
        tasks.start_soon(call, sums.treble, [7])
        await wait_all_tasks_blocked()
        assert not sums.transactions
        sums.held.set()
        with anyio.fail_after(PATIENCE):
            while len(answers) < 5:
                await anyio.sleep(0)
    assert answers == {(1, 10): [2, 20], (2, 20): [4, 40], (3, 30): [6, 60], (4, 40): [8, 80], (7,): [21]}
    first, second = sums.transactions
    assert first == [("double", [0])]
    assert {what: sorted(items) for what, items in second} == {"double": [1, 2, 3, 4, 10, 20, 30, 40], "treble": [7]}


async def test_who_comes_alone_does_not_wait_for_others() -> None:
    sums = Sums()
    async with running(sums) as group:
        assert await group.call(sums.double, [1]) == [2]
        assert await group.call(sums.double, [2]) == [4]
        assert await group.call(sums.double, []) == []
    assert sums.transactions == [[("double", [1])], [("double", [2])]]


async def test_a_transaction_has_a_bounded_number_of_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "MOST_ITEMS", 3)
    sums = Sums()
    async with create_task_group() as tasks, one_under_way(sums) as group:
        for items in ([1, 2], [3, 4], [5], [6, 7, 8, 9], [10]):
            tasks.start_soon(group.call, sums.double, items)
            await wait_all_tasks_blocked()
        sums.held.set()
        assert await group.call(sums.double, [11]) == [22]
    together = [items for [(_, items)] in sums.transactions]
    assert together == [[0], [1, 2], [3, 4, 5], [6, 7, 8, 9], [10, 11]]


async def test_a_transaction_that_fails_fails_for_all_who_are_in_it_and_for_nobody_else() -> None:
    sums, errors = Sums(), []

    async def call(n: int) -> None:
        with pytest.raises(StoreError, match="the disk is full") as caught:
            await group.call(sums.double, [n])
        errors.append(caught.value)

    async with running(sums) as group:
        sums.fails = 1
        async with create_task_group() as tasks:
            sums.held.clear()
            tasks.start_soon(call, 0)
            await wait_all_tasks_blocked()
            sums.fails = 2
            for n in (1, 2, 3):
                tasks.start_soon(call, n)
            await wait_all_tasks_blocked()
            sums.held.set()
        assert sums.transactions == []
        assert await group.call(sums.double, [4]) == [8]
    assert len({id(error) for error in errors}) == 4
    assert all(isinstance(error.__cause__, OSError) for error in errors)


async def test_what_only_one_of_them_has_done_wrong_is_only_told_to_that_one() -> None:
    sums, answers = Sums(), []

    async def call(n: int) -> None:
        answers.extend(await group.call(sums.double, [n]))

    async def poison() -> None:
        with pytest.raises(ValueError, match="poison"):
            await group.call(sums.treble, [-1])
        answers.append(-1)

    async with one_under_way(sums) as group, create_task_group() as tasks:
        for n in (1, 2):
            tasks.start_soon(call, n)
        tasks.start_soon(poison)
        await wait_all_tasks_blocked()
        sums.held.set()
    assert sorted(answers) == [-1, 2, 4]
    assert sorted(sums.transactions) == [[("double", [0])], [("double", [1])], [("double", [2])]]


async def test_a_cancelled_call_gets_its_answer_or_has_not_begun() -> None:
    sums = Sums()
    async with one_under_way(sums) as group:
        with CancelScope() as scope:
            scope.cancel()
            await group.call(sums.double, [1])
        assert scope.cancelled_caught
        async with create_task_group() as tasks:
            answers = []

            async def call() -> None:
                answers.extend(await group.call(sums.double, [2]))

            tasks.start_soon(call)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            sums.held.set()
        assert answers == [4]
    assert sums.transactions == [[("double", [0])], [("double", [2])]]


async def test_what_is_queued_when_the_block_is_left_fails_and_what_is_under_way_is_told() -> None:
    sums, outcomes = Sums(), {}

    async def call(n: int) -> None:
        try:
            outcomes[n] = await group.call(sums.double, [n])
        except StoreError as exc:
            outcomes[n] = str(exc)

    async with create_task_group() as tasks, running(sums) as group:
        sums.held.clear()
        for n in (1, 2):
            tasks.start_soon(call, n)
            await wait_all_tasks_blocked()
        threading.Timer(0.05, sums.held.set).start()
    assert outcomes == {1: [2], 2: "the store was closed meanwhile"}
    with pytest.raises(StoreError, match="closed"):
        await group.call(sums.double, [1])


async def test_without_a_thread_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_thread(*args: object, **options: object) -> None:
        raise RuntimeError("can't start new thread")

    said: list[str] = []

    async def call() -> None:
        with pytest.raises(StoreError) as caught:
            await group.call(sums.double, [1])
        said.append(str(caught.value))

    sums = Sums()
    async with create_task_group() as tasks:
        with pytest.raises(ExceptionGroup) as caught:
            async with running(sums) as group:
                monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)
                tasks.start_soon(call)
                await anyio.sleep_forever()
        assert caught.group_contains(RuntimeError, match="thread")
    assert said == ["the store was closed meanwhile"]


async def test_an_exception_of_the_block_leaves_it_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with running(Sums()):
            raise KeyError


async def test_who_waits_in_a_block_that_is_cancelled_is_answered_and_the_block_is_left() -> None:
    sums, answers = Sums(), list[list[int]]()
    group = Grouped(sums.transaction)

    async def call(number: int) -> None:
        answers.append(await group.call(sums.double, [number]))

    sums.held.clear()
    with anyio.fail_after(PATIENCE), CancelScope() as scope:
        async with group.running(), create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(call, number)
                await wait_all_tasks_blocked()  # the first one is under way, the others are queued
            scope.cancel()
            tasks.start_soon(release, sums)
    assert sorted(answers) == [[0], [2], [4]]


async def release(sums: Sums) -> None:
    sums.held.set()
