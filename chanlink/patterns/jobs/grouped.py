"""Group commit: what is called while a transaction is under way goes together into the next one.

A commit that is on the disk costs the same for one job and for a thousand, so nobody commits alone:

    1. `Grouped.call` queues a function and what it shall do, and waits.
    2. The task of the group takes all that is queued, and has it done in a thread, in one transaction. Calls of one
       function become one call, with the items of all of them.
    3. When that is committed, everybody gets the answers to their own items.

A store that blocks needs but functions from a list to a list, and a transaction; they run in one thread at a time.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled

from chanlink.errors import StoreError
from chanlink.tasks import tasks_beside

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_Function: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]

MOST_ITEMS = 1_000
"""In one transaction, unless one call alone has more: the first of them wait for the last, and so do those behind."""


class Grouped:
    """Has functions called in transactions, in one thread.

    `transaction` is called there for each of them. Its context manager raises `StoreError`, when it is entered or left,
    if the transaction is not done; and then everybody who was in it gets that.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[object]]) -> None:
        self._transaction = transaction
        self._queued: list[_Call] = []
        self._news = anyio.Event()
        self._open = False
        self._thread = anyio.CapacityLimiter(1)  # its own: those of the process may all be busy

    async def call(self, function: Callable[[Sequence[Item]], Sequence[Answer]], items: Sequence[Item]) -> list[Answer]:
        """What the function has for these items, once that is committed.

        The function gets items of others, too, has one answer for each, and runs in the thread. Raises what it raises:
        `StoreError` if the transaction fails. Cancelled: nothing has happened, or it waits for the answers and returns.
        """
        await checkpoint_if_cancelled()
        if not self._open:
            raise StoreError("the store is closed")
        call = _Call(function, items)
        if items:
            self._queued.append(call)
            self._news.set()
            with CancelScope(shield=True):  # what has begun must not be forgotten: its answer is a job, perhaps
                await call.over.wait()
        if call.error is not None:
            raise call.error
        return call.answers

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """It can be called in this block. What is still queued when that is left fails with `StoreError`."""
        self._news, self._thread = anyio.Event(), anyio.CapacityLimiter(1)  # those of an earlier event loop are no use
        # It works until the block is left, also when that is cancelled: those in the block wait for their answers.
        works = CancelScope(shield=True)
        try:
            async with tasks_beside() as tasks:
                self._open = True
                tasks.start_soon(self._run, works)
                try:
                    yield
                finally:
                    self._open = False
                    works.cancel()
        finally:
            for call in self._queued:
                call.fail(StoreError("the store was closed meanwhile"))
                call.over.set()
            self._queued.clear()

    async def apart(self, function: Callable[[], Answer]) -> Answer:
        """Call a function in the thread, without a transaction. Cancelled: it was not called, or it returns."""
        return await anyio.to_thread.run_sync(function, limiter=self._thread)

    async def _run(self, works: CancelScope) -> None:
        with works:
            while True:
                await self._news.wait()
                self._news = anyio.Event()
                while calls := self._take():
                    await self._do_apart(calls)

    async def _do_apart(self, calls: "list[_Call]") -> None:
        try:
            await self.apart(partial(self._do, calls))
        except BaseException:  # it has not begun: cancelled, or there is no thread to be had
            self._queued = calls + self._queued
            raise
        for call in calls:
            call.over.set()

    def _take(self) -> "list[_Call]":
        """The calls of the next transaction."""
        count = 0
        for number, call in enumerate(self._queued):
            count += len(call.items)
            if count > MOST_ITEMS and number:
                break
        else:
            number = len(self._queued)
        calls, self._queued = self._queued[:number], self._queued[number:]
        return calls

    # --- in the thread ---

    def _do(self, calls: "Sequence[_Call]") -> None:
        try:
            self._do_together(calls)
        except StoreError as exc:
            for call in calls:
                call.fail(exc)
        except Exception as exc:
            if len(calls) == 1:
                calls[0].fail(exc)
                return
            for call in calls:  # whose fault it is, is found out; the others have not asked for it
                self._do([call])

    def _do_together(self, calls: "Sequence[_Call]") -> None:
        functions: dict[_Function, list[_Call]] = {}
        for call in calls:
            functions.setdefault(call.function, []).append(call)
        found: list[tuple[_Call, list[Any]]] = []
        with self._transaction():
            for function, same in functions.items():
                answers = iter(function([item for call in same for item in call.items]))
                found += [(call, list(islice(answers, len(call.items)))) for call in same]
        for call, own in found:
            call.answer(own)


class _Call:
    """What somebody waits for. The outcome comes from the thread, and `over` is set in the event loop."""

    def __init__(self, function: _Function, items: Sequence[Any]) -> None:
        self.function = function
        self.items = items
        self.answers: list[Any] = []
        self.error: Exception | None = None
        self.over = anyio.Event()

    def answer(self, answers: list[Any]) -> None:
        self.answers = answers

    def fail(self, error: Exception) -> None:
        """A `StoreError` is copied: one that several raise would carry the tracebacks of all of them."""
        if isinstance(error, StoreError):
            copy = StoreError(*error.args)
            copy.__cause__ = error.__cause__
            error = copy
        self.error = error
