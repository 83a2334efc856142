"""What a protocol says, and each way in which it can say nothing that could be called."""

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Any, ClassVar, Generic, Protocol, TypeVar, overload, runtime_checkable

import pytest

from chanlink.calls.marks import finishes, idempotent
from chanlink.calls.protocols import methods_of
from chanlink.errors import InterfaceError, MessageTypeError

T = TypeVar("T")


@dataclasses.dataclass
class Counted:
    number: int


@runtime_checkable
class Counter(Protocol):
    async def add(self, a: int, b: int = 0) -> int: ...
    def count(self, to: int) -> AsyncGenerator[int, None]: ...
    async def begun(self) -> AsyncGenerator[int, None]:
        yield 1


def test_each_public_method_is_a_call_or_a_stream() -> None:
    assert {name: method.is_stream for name, method in methods_of(Counter).items()} == {
        "add": False,
        "count": True,
        "begun": True,
    }


def test_a_method_is_read_with_the_types_of_its_parameters_and_of_its_result() -> None:
    class One(Protocol):
        async def add(self, a: int, b: "str", *, c: float = 0) -> bytes: ...
        def count(self) -> "AsyncGenerator[Counted, None]": ...

    methods = methods_of(One)
    assert methods["add"].unpack({"a": 1, "b": "2"}) == ([], {"a": 1, "b": "2"})
    assert methods["count"].result.incoming({"number": 3}) == Counted(3)
    for place, call in (
        ("arguments.a", lambda: methods["add"].unpack({"a": "1", "b": "2"})),
        ("arguments.b", lambda: methods["add"].unpack({"a": 1, "b": 2})),
        ("arguments.c", lambda: methods["add"].unpack({"a": 1, "b": "2", "c": "3"})),
        ("result", lambda: methods["add"].result.incoming("text")),
        ("result.number", lambda: methods["count"].result.incoming({"number": "3"})),
    ):
        with pytest.raises(MessageTypeError) as raised:
            call()
        assert raised.value.path == place


def test_what_a_protocol_inherits_is_of_it_and_what_it_says_anew_replaces_it() -> None:
    class More(Counter, Protocol):
        async def sub(self, a: int, b: int) -> int: ...
        async def add(self, a: int, b: int, c: int) -> int: ...

    methods = methods_of(More)
    assert set(methods) == {"add", "count", "begun", "sub"}
    assert methods["add"].pack((1, 2, 3), {}) == {"a": 1, "b": 2, "c": 3}


def test_marks_are_methods_of() -> None:
    class Marked(Protocol):
        @idempotent
        async def get(self) -> int: ...
        @finishes(longest=3)
        async def put(self) -> None: ...

    methods = methods_of(Marked)
    assert [(m.idempotent, m.finishes, m.longest) for m in methods.values()] == [(True, False, None), (False, True, 3)]


def test_a_method_may_have_a_body() -> None:
    class Body(Protocol):
        async def get(self) -> int:
            return 1

    assert set(methods_of(Body)) == {"get"}


class NoProtocol(Counter):  # explicitly an implementation
    pass


class Empty(Protocol):
    pass


class Ordinary:
    async def inherited(self) -> None: ...


@pytest.mark.parametrize("what", [NoProtocol, int, "Counter", 3, None, Protocol, Counter | None])
def test_an_interface_is_made_of_a_protocol(what: object) -> None:
    with pytest.raises(InterfaceError, match=r"made of a class that inherits from typing\.Protocol|no methods"):
        methods_of(what)


def test_a_protocol_without_methods_is_none() -> None:
    with pytest.raises(InterfaceError, match="Empty: it has no methods"):
        methods_of(Empty)


def test_a_protocol_inherits_from_protocols_only() -> None:
    class Closing(contextlib.AbstractAsyncContextManager[None], Protocol):
        async def get(self) -> int: ...

    with pytest.raises(InterfaceError, match="AbstractAsyncContextManager, which is no protocol"):
        methods_of(Closing)


class Bad:
    """Protocols with a method `f`, and what is said of each."""

    class Sync(Protocol):
        def f(self) -> int: ...

    class NoResult(Protocol):
        async def f(self): ...  # type: ignore[no-untyped-def]

    class NoType(Protocol):
        async def f(self, a) -> None: ...  # type: ignore[no-untyped-def]

    class Args(Protocol):
        async def f(self, *a: int) -> None: ...

    class Kwargs(Protocol):
        async def f(self, **a: int) -> None: ...

    class Property(Protocol):
        @property
        def f(self) -> int: ...

    class Attribute(Protocol):
        f: int

    class Value(Protocol):
        f = 3

    class ClassAttribute(Protocol):
        f: ClassVar[int] = 3

    class Static(Protocol):
        @staticmethod
        async def f(a: int) -> None: ...

    class OfClass(Protocol):
        @classmethod
        async def f(cls) -> None: ...

    class Overloads(Protocol):
        @overload
        async def f(self, a: int) -> int: ...
        @overload
        async def f(self, a: str) -> str: ...

    class NoSelf(Protocol):
        async def f() -> None: ...  # type: ignore[misc]

    class KeywordSelf(Protocol):
        async def f(*, self: int) -> None: ...  # type: ignore[misc]

    class Unknown(Protocol):
        async def f(self, a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    class AsyncStream(Protocol):
        async def f(self) -> AsyncGenerator[int, None]: ...

    class BareStream(Protocol):
        def f(self) -> AsyncGenerator: ...  # type: ignore[type-arg]

    class Iterator(Protocol):
        def f(self) -> AsyncIterator[int]: ...

    class Iterable(Protocol):
        async def f(self) -> AsyncIterable[int]: ...

    class SendStream(Protocol):
        def f(self) -> AsyncGenerator[int, str]: ...

    class IdempotentStream(Protocol):
        @idempotent
        def f(self) -> AsyncGenerator[int, None]: ...

    class FinishedStream(Protocol):
        @finishes(longest=1)
        def f(self) -> AsyncGenerator[int, None]: ...

    class BadParameter(Protocol):
        async def f(self, a: complex) -> None: ...

    class BadResult(Protocol):
        async def f(self) -> complex: ...

    class BadItem(Protocol):
        def f(self) -> AsyncGenerator[complex, None]: ...

    class Variable(Protocol, Generic[T]):
        async def f(self, a: T) -> None: ...

    class VariableInside(Protocol):
        async def f(self, a: list[T]) -> list[T]: ...


@pytest.mark.parametrize(
    ("protocol", "text"),
    [
        (Bad.Sync, "a call is written async def"),
        (Bad.NoResult, "its result has no type; write one, or -> None"),
        (Bad.NoType, "parameter 'a' has no type; write one, or Any"),
        (Bad.Args, "parameter '*a': arguments have names and types; write a list or a dict"),
        (Bad.Kwargs, "parameter '**a': arguments have names and types; write a list or a dict"),
        (Bad.Property, "a property can't be called from another process; write an async method"),
        (Bad.Attribute, "an attribute can't be called"),
        (Bad.Value, "an attribute can't be called"),
        (Bad.ClassAttribute, "an attribute can't be called"),
        (Bad.Static, "a static method can't be called"),
        (Bad.OfClass, "a class method can't be called"),
        (Bad.Overloads, "what overloads say is not sent; write one signature, with unions"),
        (Bad.NoSelf, "its first parameter is missing; write self"),
        (Bad.KeywordSelf, "its first parameter is missing; write self"),
        (Bad.Unknown, "its annotations can't be evaluated (name 'Nowhere' is not defined)"),
        (Bad.AsyncStream, "a stream is written def, without async"),
        (Bad.BareStream, "its result says nothing of its items; write AsyncGenerator[int, None]"),
        (Bad.Iterator, "whoever leaves a stream has to close it; write AsyncGenerator[..., None]"),
        (Bad.Iterable, "whoever leaves a stream has to close it; write AsyncGenerator[..., None]"),
        (Bad.SendStream, "nothing can be sent to a generator elsewhere"),
        (Bad.IdempotentStream, "a stream can't be idempotent"),
        (Bad.FinishedStream, "it can't be marked with finishes"),
        (Bad.BadParameter, "parameter 'a': complex can't be the type of a message"),
        (Bad.BadResult, "its result: complex can't be the type of a message"),
        (Bad.BadItem, "its result: complex can't be the type of a message"),
        (Bad.Variable, "parameter 'a': a type variable stands for no type"),
        (Bad.VariableInside, "parameter 'a': a type variable stands for no type"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_an_error_names_the_method_and_the_parameter_and_what_to_write(protocol: type, text: str) -> None:
    with pytest.raises(InterfaceError) as raised:
        methods_of(protocol)
    assert str(raised.value).startswith(f"{protocol.__name__}.f: ")
    assert text in str(raised.value)


def named(name: str) -> type:
    async def function(self: Any) -> None: ...

    function.__qualname__ = f"P.{name}"
    return type(Protocol)("P", (Protocol,), {name: function, "__qualname__": "P"})  # type: ignore[arg-type, no-any-return]


@pytest.mark.parametrize("name", ["_private", "__call__", "__aenter__"])
def test_a_method_that_is_not_public_is_an_error_since_a_client_would_not_have_it(name: str) -> None:
    with pytest.raises(InterfaceError, match=f"P.{name}: only public methods can be called"):
        methods_of(named(name))


def test_a_protocol_with_a_constructor_is_an_error() -> None:
    class Made(Protocol):
        def __init__(self, a: int) -> None: ...
        async def get(self) -> int: ...

    with pytest.raises(InterfaceError, match=r"Made\.__init__: only public methods"):
        methods_of(Made)


def test_what_the_annotations_of_others_raise_is_told_with_its_place() -> None:
    class Odd(Protocol):
        async def f(self, a: "1 / 0") -> None: ...  # type: ignore[valid-type]

    with pytest.raises(InterfaceError, match=r"Odd\.f: its annotations can't be evaluated") as raised:
        methods_of(Odd)
    assert raised.value.__cause__ is not None
