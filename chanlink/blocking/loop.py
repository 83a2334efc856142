"""`loop`: an event loop for a ``with`` block, and what threads can have done there."""

from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack, overload

import chanlink
from chanlink.arguments import expect, expect_function

from .ends import ByteStream, Receiver, Sender, drop, received_here, to_send, within, wrap
from .held import Held
from .iteration import Iteration
from .portal import Portal
from .selecting import Case, Selecting

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Loop:
    """An event loop, and what threads can have done there. Made by `loop`; `Session` is one, too.

    Everything here waits, and raises what comes of it. Besides: `RuntimeError` in a thread that runs an event loop (but
    for a notebook's) and when the block was left; `ConfigError` in a process that was forked since then.
    """

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def __repr__(self) -> str:
        return f"<blocking Loop on {self._portal.backend}>"

    def call(
        self,
        function: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: *Ts,
        timeout: float | None = None,
    ) -> T:
        """Await ``function(*args)`` in the event loop, and return what it returns.

        Ends of this module among the arguments, and in plain data there, are handed over as their async ends; ends in
        what it returns come as those of this module. For keyword arguments use `functools.partial`. Raises what the
        function raises, and `TimeoutError` after ``timeout`` seconds, when it has been cancelled. When an exception of
        a signal handler comes, what the function returns nevertheless is dropped, and ends in that are closed.
        """
        _expect_uncalled(function)

        async def call() -> T:
            value = await within(timeout, lambda: _awaitable(function(*to_send(args, self._portal))))
            result: T = received_here(value, self._portal)
            return result

        outcome: T = self._portal.run(call, drop)
        return outcome

    def iterate(self, function: Callable[[Unpack[Ts]], AsyncIterable[T]], *args: *Ts) -> Iteration[T]:
        """Go through what ``function(*args)`` yields: ``for number in loop.iterate(calc.count, 3)``."""
        _expect_uncalled(function)
        return Iteration(self._portal, lambda: _iterable(function(*to_send(args, self._portal))))

    def enter(self, block: AbstractAsyncContextManager[T, bool | None]) -> AbstractContextManager[T, bool | None]:
        """A ``with`` block for an ``async with`` block, such as that of `chanlink.listen`.

        It is left, by a cancellation, when nobody holds what this returns any more: a signal handler may have raised
        before the ``with`` block could leave it.
        """
        expect("block", block, AbstractAsyncContextManager)
        return Held(self._portal, block)

    @overload
    def pipe(
        self, capacity: int | None = None, *, contract: str | None = None
    ) -> tuple[Sender[Any], Receiver[Any]]: ...

    @overload
    def pipe(
        self, capacity: int | None = None, *, item_type: type[T], check: bool = False, contract: str | None = None
    ) -> tuple[Sender[T], Receiver[T]]: ...

    @overload
    def pipe(
        self, capacity: int | None = None, *, item_type: "TypeForm[T]", check: bool = False, contract: str | None = None
    ) -> tuple[Sender[T], Receiver[T]]: ...

    def pipe(
        self, capacity: int | None = None, *, item_type: Any = Any, check: bool = False, contract: str | None = None
    ) -> tuple[Sender[Any], Receiver[Any]]:
        """Make a channel, as `chanlink.pipe`."""

        def pipe() -> tuple[Sender[Any], Receiver[Any]]:
            sender, receiver = chanlink.pipe(capacity, item_type=item_type, check=check, contract=contract)
            return Sender(self._portal, sender), Receiver(self._portal, receiver)

        return self._portal.run_sync(pipe)

    def byte_pipe(self, size: int | None = None) -> tuple[ByteStream, ByteStream]:
        """Make two byte streams, joined, as `chanlink.byte_pipe`."""

        def byte_pipe() -> tuple[ByteStream, ByteStream]:
            left, right = chanlink.byte_pipe(size)
            return ByteStream(self._portal, left), ByteStream(self._portal, right)

        return self._portal.run_sync(byte_pipe)

    def select(self, *cases: Case, timeout: float | None = None) -> chanlink.Selected:
        """Wait until one of the cases can happen, and let exactly that one happen, as `chanlink.select`.

        A case is a `Receiver`, ``sender.sending(value)``, ``end.closing()``. Raises `TimeoutError` after ``timeout``
        seconds; with 0 it does not wait. Nothing has happened then. A message that was taken when an exception of a
        signal handler came is what the next `receive` or `select` of that end gets.
        """
        selecting = Selecting(self._portal, cases, timeout)
        return self._portal.run(selecting.select, selecting.keep)

    def wrap(self, end: Any) -> Any:
        """The end of this module for an async one of this event loop, such as one in a field of a typed message."""
        return self._portal.run_sync(lambda: wrap(end, self._portal))


def _expect_uncalled(function: object) -> None:
    """Raise `TypeError` unless it is a function; the usual slip is to call it, as one does to await what it gives."""
    if isinstance(function, Coroutine):
        function.close()  # what is wrong is said here, not by a warning that it was never awaited
        raise TypeError("function must be a function, not what it gives when it is called: call(calc.add, 1, 2)")
    expect_function("function", function)


def _awaitable(value: Awaitable[T]) -> Awaitable[T]:
    if isinstance(value, AsyncIterable) and not isinstance(value, Awaitable):
        raise TypeError("function gives a stream of items, not one result: it is for iterate, not for call")
    return value


def _iterable(value: AsyncIterable[T]) -> AsyncIterable[T]:
    if isinstance(value, Coroutine):
        value.close()
        raise TypeError("function gives one result, not a stream of items: it is for call, not for iterate")
    return value


class loop(AbstractContextManager[Loop]):
    """An event loop in a thread of its own, as long as the ``with`` block lasts. What runs there then is cancelled.

    ``backend`` is ``"asyncio"`` or ``"trio"``, and ``backend_options`` are as of `anyio.run`. Raises `ConfigError` if
    there is none such.
    """

    def __init__(self, *, backend: str = "asyncio", backend_options: Mapping[str, Any] | None = None) -> None:
        self._portal = Portal(backend, backend_options)

    def __enter__(self) -> Loop:
        self._portal.start()
        return Loop(self._portal)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._portal.stop()
