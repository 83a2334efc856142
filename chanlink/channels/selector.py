"""Choosing between channels: `select`, `select_nowait`, `Selector`; which case happens if several are ready."""

import random
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import anyio

from chanlink.arguments import expect
from chanlink.errors import ChannelError

from .cases import BaseCase, Case, ReceiveCase, Selected, Selection, SendCase, make_case
from .waiting import Loop, Steps

# --- once ---


async def select(*cases: Case) -> Selected:
    """Wait until one of the cases can happen, and let exactly that one happen.

    A case is a `Receiver` (a message is taken), ``sender.sending(value)`` (it is accepted as by `Sender.send`), or
    ``end.closing()`` (the end is over). The other cases have no effect: nothing is taken or sent, and ends in their
    messages stay yours. An end that is over is ready, and ``error`` of the outcome says why. Of several that are
    ready one is chosen at random.

    At a rendezvous in memory the receiver may have taken the message in the very turn of the event loop in which this
    task is cancelled. It was sent then, and that is returned; a `Task.cancel` of asyncio is not repeated.

    Raises what `Sender.send` raises for a message that can't be sent (nothing has happened then), `ValueError`
    without a case. Cancelled: nothing happened.
    """
    with _Once(cases) as once:
        return await once.choose()


def select_nowait(*cases: Case) -> Selected:
    """As `select`, but raises `anyio.WouldBlock` when no case can happen now."""
    with _Once(cases) as once:
        selected = once.look()
    if selected is None:
        raise anyio.WouldBlock
    return selected


class _Once(Selection):
    """One call of `select`."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        if not cases:
            raise ValueError("select needs at least one case")
        self._cases: list[BaseCase] = []
        try:
            for index, case in enumerate(cases):
                self._cases.append(make_case(index, case, self))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for case in self._cases:
            case.pass_on()
            case.close()

    def look(self) -> Selected | None:
        """Let one case happen that is ready."""
        begin = random.randrange(len(self._cases))
        for case in self._cases[begin:] + self._cases[:begin]:
            selected = case.look()
            if selected is not None:
                return selected
        return None

    async def choose(self) -> Selected:
        cores = (core for case in self._cases for core in case.end._cores())
        await max(cores, key=lambda core: core.steps).step()  # one may have had a long message
        while (selected := self.look()) is None:
            # Offers first: they must not wake a case of this very select.
            for case in sorted(self._cases, key=lambda case: not isinstance(case, SendCase)):
                case.use()
                case.wait()
            try:
                selected = await self.wait()
            finally:
                for case in self._cases:
                    case.leave()
            if selected is not None:
                break
        return selected


# --- again and again ---


class Selector:
    """A set of cases that is prepared once: the cost of a turn does not grow with the number of idle ends.

    An async context manager, and an async iterator of `Selected`::

        async with Selector() as selector:
            for receiver in receivers:
                selector.add(receiver)
            async for selected in selector:
                ...

    A receiver stays in the set; its end is reported once (as ``error``), and it leaves the set. A
    ``sender.sending(value)`` or ``end.closing()`` leaves it when it has happened. The iteration ends when the set is
    empty. Ready cases are served in turn. One task may iterate; cases may be added and removed meanwhile by any.
    """

    def __init__(self) -> None:
        self._set = _Again()

    def __repr__(self) -> str:
        return f"<Selector with {len(self)} cases>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for index in list(self._set.cases):
            self._set.remove(index)

    def add(self, case: Case) -> int:
        """Add a case; returns its number, the ``index`` of its `Selected`. Raises as `select` for a message."""
        return self._set.add(case)

    def remove(self, index: int) -> None:
        """Remove a case by its number, with no effect on its end. One that has left the set already is ignored."""
        self._set.remove(index)

    def __len__(self) -> int:
        return len(self._set.cases)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Selected:
        """The next case that happened. Cancelled: nothing happened, and the set is as before."""
        selected = await self._set.turn()
        if selected is None:
            raise StopAsyncIteration
        return selected


class _Again(Selection):
    """The cases of a `Selector`: each is ready (it may have something), or waits at its core."""

    def __init__(self) -> None:
        super().__init__()
        self.cases: dict[int, BaseCase] = {}
        self._sends: dict[BaseCase, None] = {}  # at a rendezvous: offered while the selector waits, and no longer
        self._ready: dict[BaseCase, None] = {}
        self._woken: list[BaseCase] = []  # whose wake-ups were not passed on yet
        self._count = 0
        self._steps = Steps(Loop())

    def add(self, case: Case) -> int:
        index = self._count
        made = make_case(index, case, self)
        others = self.cases.values() if isinstance(made, SendCase) else self._sends
        if any(_face_each_other(made, other) for other in others):
            made.close()
            raise ValueError("both ends of a rendezvous in one selector would only wake each other")
        self.cases[index] = made
        self._count += 1
        self._ready[made] = None
        if isinstance(made, SendCase) and made.meets is not None:
            self._sends[made] = None
        super().wake(made)
        return index

    def remove(self, index: int) -> None:
        expect("index", index, int)
        case = self.cases.pop(index, None)
        if case is not None:
            self._ready.pop(case, None)
            self._sends.pop(case, None)
            case.leave()
            case.pass_on()
            case.close()
            super().wake(case)  # the set may be empty now

    def wake(self, case: BaseCase) -> None:
        self._ready[case] = None
        if self._event is None:
            case.pass_on()  # there may be no next turn for long
        else:
            self._woken.append(case)
            self._event.set()

    async def turn(self) -> Selected | None:
        await self._steps.step()
        self._ready.update(self._sends)
        try:
            while self.cases:
                selected = self._look() or await self._wait()
                if selected is not None:
                    return self._happened(selected)
            return None
        finally:
            for case in self._woken:
                case.pass_on()
            self._woken.clear()

    def _look(self) -> Selected | None:
        while self._ready:
            case = next(iter(self._ready))
            del self._ready[case]
            selected = case.look()
            if selected is not None:
                return selected
            case.use()
            if case not in self._sends:
                case.wait()
        return None

    async def _wait(self) -> Selected | None:
        for case in self._sends:
            case.wait()
        try:
            return await self.wait()
        finally:
            for case in self._sends:
                case.leave()
            self._ready.update(self._sends)

    def _happened(self, selected: Selected) -> Selected:
        case = self.cases.get(selected.index)
        if case is not None:
            self._steps.takes_over(case.core)  # it may have been a long message
            case.use()
            if case.once or isinstance(selected.error, ChannelError):
                self.remove(selected.index)
            else:
                self._ready[case] = None  # at the end: the others' turn
        return selected


def _face_each_other(one: BaseCase, other: BaseCase) -> bool:
    return any(
        isinstance(send, SendCase) and isinstance(receive, ReceiveCase) and send.meets is receive.core
        for send, receive in ((one, other), (other, one))
    )
