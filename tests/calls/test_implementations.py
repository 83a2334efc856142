"""Whether an object can be called as an interface says."""

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest

from chanlink.calls.implementations import check_implementation, is_factory
from chanlink.calls.interface import Interface
from chanlink.calls.marks import finishes, idempotent
from chanlink.errors import InterfaceError


class Calculator(Protocol):
    async def add(self, a: int, b: int = 0, *, c: int = 0) -> int: ...
    def count(self, to: int, /) -> AsyncGenerator[int, None]: ...
    @finishes(longest=3)
    async def store(self) -> None:
        pass


METHODS = Interface(Calculator).methods.values()


def logged(method: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Awaitable[int]:
        return method(*args, **kwargs)

    return call


class Good:
    async def add(self, a: int, b: int = 0, *, c: int = 0) -> int:
        return a + b + c

    async def count(self, to: int) -> AsyncGenerator[int, None]:
        yield to

    async def store(self) -> None:
        pass


class TakesMore(Good):
    async def add(self, a: int, b: int = 1, c: int = 2, d: int = 3) -> int:
        return a + b + c + d


class TakesAll(Good):
    async def add(self, *args: int, **kwargs: int) -> int:
        return sum(args) + sum(kwargs.values())


class Logged(Good):
    add = logged(Good.add)  # type: ignore[assignment]


class Delegates(Good):
    def count(self, to: int) -> AsyncIterator[int]:  # type: ignore[override]
        return Good().count(to)


class Inherits(Calculator):
    """What is not written here is what the protocol says, with its marks."""

    async def add(self, a: int, b: int = 0, *, c: int = 0) -> int:
        return a

    async def count(self, to: int, /) -> AsyncGenerator[int, None]:
        yield to


class OtherNameBeforeTheSlash(Good):
    async def count(self, up_to: int) -> AsyncGenerator[int, None]:
        yield up_to


class Callables:
    def __init__(self) -> None:
        self.add = functools.partial(Good().add)
        self.count = Good().count
        self.store = Good().store


@pytest.mark.parametrize(
    "made", [Good, TakesMore, TakesAll, Logged, Delegates, Inherits, OtherNameBeforeTheSlash, Callables]
)
def test_what_takes_every_call_of_the_interface_need_not_inherit_from_it(made: Callable[[], object]) -> None:
    check_implementation("Calculator", METHODS, made())


class Missing:
    add = Good.add
    store = Good.store


class NotCallable(Good):
    count = 3  # type: ignore[assignment]


class Sync(Good):
    def add(self, a: int, b: int = 0, *, c: int = 0) -> int:  # type: ignore[override]
        return 0


class GeneratorForCall(Good):
    async def add(self, a: int, b: int = 0, *, c: int = 0) -> AsyncGenerator[int, None]:  # type: ignore[override]
        yield 0


class CallForStream(Good):
    async def count(self, to: int) -> int:  # type: ignore[override]
        return 0


class OtherName(Good):
    async def add(self, x: int, b: int = 0, *, c: int = 0) -> int:  # type: ignore[override]
        return 0


class WantsMore(Good):
    async def add(self, a: int, b: int = 0, *, c: int = 0, d: int) -> int:  # type: ignore[override]
        return 0


class WantsWhatMayBeLeftOut(Good):
    async def add(self, a: int, b: int, *, c: int = 0) -> int:  # type: ignore[override]
        return 0


class TakesLess(Good):
    async def add(self, a: int, b: int = 0) -> int:  # type: ignore[override]
        return 0


class Marked(Good):
    @idempotent
    async def add(self, a: int, b: int = 0, *, c: int = 0) -> int:
        return 0


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (Missing, "Missing.count: there is no such method"),
        (NotCallable, "NotCallable.count: there is no such method"),
        (Sync, "Sync.add: the interface has a call; write async def, without yield"),
        (GeneratorForCall, "GeneratorForCall.add: the interface has a call; write async def, without yield"),
        (CallForStream, "CallForStream.count: the interface has a stream; write async def with yield"),
        (OtherName, "OtherName.add: it can't be called as the interface says: missing a required argument: 'x'"),
        (WantsMore, "WantsMore.add: it can't be called as the interface says: missing a required"),
        (WantsWhatMayBeLeftOut, "add: it can't be called as the interface says: missing a required argument: 'b'"),
        (TakesLess, "TakesLess.add: it can't be called as the interface says: got an unexpected keyword argument 'c'"),
        (Marked, "Marked.add: marks belong to the protocol"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_does_not_is_told_before_anybody_calls(made: Callable[[], object], text: str) -> None:
    with pytest.raises(InterfaceError, match=f"^Calculator: .*{text}"):
        check_implementation("Calculator", METHODS, made())


class InContext(Good):
    async def __aenter__(self) -> Good:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass


@asynccontextmanager
async def made() -> AsyncGenerator[Good, None]:
    yield Good()


def test_what_makes_implementations_is_told_from_one() -> None:
    assert is_factory(made, METHODS)
    assert is_factory(InContext, METHODS)
    assert not is_factory(Good, METHODS)
    assert is_factory(functools.partial(made), METHODS)
    assert not is_factory(Good(), METHODS)
    assert not is_factory(Missing(), METHODS)
    assert not is_factory(3, METHODS)
