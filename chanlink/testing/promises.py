"""How a promise is checked: what all of them have in common."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import anyio
from anyio.abc import ByteStream as AnyByteStream
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import ByteStream, Receiver, Sender

T = TypeVar("T")
Channel = tuple[Sender[Any], Receiver[Any]]
MakeChannel = Callable[[int | None], AbstractAsyncContextManager[Channel]]
BytePair = tuple[AnyByteStream, AnyByteStream]
MakeBytePair = Callable[[], AbstractAsyncContextManager[BytePair]]

NAP = 0.001
"""Seconds; what a network on one machine may take."""


class Bench:
    """What a promise is tried on: makes what it needs, and closes all of it afterwards."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self._ends: list[Any] = []

    @asynccontextmanager
    async def channel(self, capacity: int | None) -> AsyncGenerator[Channel, None]:
        """A fresh channel of the sort that is checked."""
        async with self._factory(capacity) as (sender, receiver):
            yield sender, receiver
            sender.close()
            receiver.close()

    @asynccontextmanager
    async def byte_streams(self) -> AsyncGenerator[BytePair, None]:
        """A fresh pair of byte streams of the sort that is checked."""
        async with self._factory() as (one, other):
            yield one, other
            await one.aclose()
            await other.aclose()

    def pipe(self, capacity: int | None = None) -> Channel:
        """A channel in memory, whose ends may travel."""
        return self.keep(chanlink.pipe(capacity))

    def byte_pipe(self, *size: int) -> tuple[ByteStream, ByteStream]:
        """A byte pipe in memory, whose ends may travel."""
        return self.keep(chanlink.byte_pipe(*size))

    def keep(self, value: T) -> T:
        """Close all ends in this value later."""
        if isinstance(value, dict):
            for item in value.values():
                self.keep(item)
        elif isinstance(value, list | tuple):
            for item in value:
                self.keep(item)
        elif isinstance(value, Sender | Receiver | ByteStream):
            self._ends.append(value)
        return value

    def forget(self, end: object) -> None:
        """Don't close this end later: nothing here knows it from now on."""
        self._ends = [one for one in self._ends if one is not end]

    def close(self) -> None:
        """Close what was made and kept; where it was moved or closed, that is harmless."""
        for end in self._ends:
            end.close()


Promise = Callable[[Bench], Awaitable[None]]
"""Tries one thing. Its docstring is the promise in words."""
AnyPromise = TypeVar("AnyPromise", bound=Promise)


class Promises(list[Promise]):
    """Promises, in the order in which they are written."""

    def add(self, function: AnyPromise) -> AnyPromise:
        """A decorator: this is one."""
        self.append(function)
        return function


async def check(
    promises: Iterable[Promise], factory: Any, only: Collection[str] | None, patience: float, subject: str
) -> None:
    """Try each promise, and raise an `AssertionError` for the first that is not kept."""
    known = {promise.__name__: promise for promise in promises}
    unknown = set(only or ()) - set(known)
    if unknown:
        raise ValueError(f"no such promise: {', '.join(sorted(unknown))}")
    for name, promise in known.items():
        if only is None or name in only:
            await _check_one(promise, factory, patience, subject)


async def _check_one(promise: Promise, factory: Any, patience: float, subject: str) -> None:
    words = " ".join((promise.__doc__ or "").split()).rstrip(".")
    broken = f"{subject} does not keep the promise {promise.__name__!r} ({words})"
    bench = Bench(factory)
    try:
        with anyio.move_on_after(patience) as scope:
            await promise(bench)
    except Exception as exc:
        first = _first_of(exc)
        what = str(first) if isinstance(first, AssertionError) else f"{type(first).__name__} was raised: {first}"
        raise AssertionError(f"{broken}: {what}") from exc
    finally:
        bench.close()
    if scope.cancelled_caught:
        raise AssertionError(f"{broken}: it was not done after {patience:g} s")


def _first_of(exc: BaseException) -> BaseException:
    """What is inside the groups that task groups made; what a check says rather than what followed from it."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    found = [_first_of(one) for one in exc.exceptions]
    return next((one for one in found if isinstance(one, AssertionError)), found[0])


# --- for those who write promises -----------------------------------------------------------------


def expect(condition: object, what: str) -> None:
    """As ``assert``, and not left out by ``python -O``."""
    if not condition:
        raise AssertionError(what)


class raising:
    """The block has to raise `kind`, and `error` is what it raised."""

    error: Any

    def __init__(self, kind: type[BaseException], when: str) -> None:
        self._kind = kind
        self._when = when

    def __enter__(self) -> "raising":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        if exc is None:
            raise AssertionError(f"{self._when}: nothing was raised, expected was {self._kind.__name__}")
        if isinstance(exc, self._kind):
            self.error = exc
            return True
        if isinstance(exc, Exception) and not isinstance(exc, AssertionError):
            raise AssertionError(f"{self._when}: {exc!r} was raised, expected was {self._kind.__name__}") from exc
        return False

    def carries(self, **attributes: object) -> None:
        """The error has these attributes, as the other side gave them."""
        for name, value in attributes.items():
            actual = getattr(self.error, name)
            expect(actual == value, f"{self._when}: the {name} is {actual!r}, expected was {value!r}")


async def received_though_cancelled(
    receive: Callable[[], Awaitable[T]], send: Callable[[int], Awaitable[object]]
) -> list[T]:
    """What came of 60 numbers, each sent while a task receives, which is cancelled sooner or later."""
    received: list[T] = []

    async def receive_one(scope: anyio.CancelScope) -> None:
        with scope:
            received.append(await receive())

    for n in range(60):
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive_one, scope)
            for _ in range(n % 7):
                await checkpoint()
            await send(n)
            for _ in range(n % 5):
                await checkpoint()
            scope.cancel()
    return received


async def all_are_woken(
    receive: Callable[[], Awaitable[object]], kind: type[BaseException], close: Callable[[], object]
) -> None:
    """Closing wakes three tasks that wait, each with such an error."""

    async def wait() -> None:
        with raising(kind, "receive() in a task that waits"):
            await receive()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
        await a_while()
        close()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until it is so. The time of the promise is the bound."""
    turns = 0
    while not condition():
        turns += 1
        await (checkpoint() if turns % 50 else anyio.sleep(NAP))


async def a_while() -> None:
    """Let everything happen that can happen now, before looking that something has not.

    Over a network that may be too short to see a fault; it never sees one where there is none.
    """
    for turn in range(100):
        await (anyio.sleep(NAP) if turn % 50 == 49 else checkpoint())
