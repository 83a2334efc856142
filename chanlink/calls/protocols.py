"""What a `typing.Protocol` says: each of its methods is read and checked once, when the interface is made.

Every error names the place (``Calculator.add: parameter 'a'``), what is wrong there, and what to write instead.
"""

import collections.abc
import inspect
import typing
from collections.abc import Iterator
from inspect import Parameter, Signature
from types import FunctionType
from typing import Any, TypedDict, TypeVar, get_args, get_origin, get_type_hints

from chanlink.errors import InterfaceError

from .marks import Marks, marks_of
from .method import Method, Parameters
from .parts import Part, travels_as_it_is

_ITERATORS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable)


def methods_of(protocol: object) -> dict[str, Method]:
    """The methods of a protocol, by name. Raises `InterfaceError`."""
    if not isinstance(protocol, type) or not getattr(protocol, "_is_protocol", False):
        raise InterfaceError(
            f"an interface is made of a class that inherits from typing.Protocol, not {protocol!r:.70}"
        )
    methods = {name: _Reader(protocol, name, member).method() for name, member in _members(protocol)}
    if not methods:
        raise InterfaceError(f"{protocol.__name__}: it has no methods: there is nothing to call")
    return methods


def _members(protocol: type) -> Iterator[tuple[str, Any]]:
    """What a protocol and those that it inherits from define: names, and what they stand for."""
    found: dict[str, Any] = {}
    for base in protocol.__mro__:
        if base not in (object, typing.Generic, typing.Protocol):
            if not getattr(base, "_is_protocol", False):
                raise InterfaceError(f"{protocol.__name__}: it inherits from {base.__name__}, which is no protocol")
            own = dict.fromkeys(inspect.get_annotations(base)) | vars(base)
            found = {name: one for name, one in own.items() if not _is_of_typing(base, name, one)} | found
    yield from found.items()


def _is_of_typing(base: type, name: str, member: object) -> bool:
    """Whether typing or abc have put it there, or Python: not the author of the protocol."""
    if isinstance(member, FunctionType):
        return name.startswith("_") and member.__qualname__ != f"{base.__qualname__}.{name}"
    return name.startswith("_")


def _variables_of(annotation: object) -> tuple[Any, ...]:
    return getattr(annotation, "__parameters__", ())


class _Reader:
    """Reads one method."""

    def __init__(self, protocol: type, name: str, member: Any) -> None:
        self._interface = protocol.__name__
        self._place = f"{self._interface}.{name}"
        self._name = name
        self._member = member

    def method(self) -> Method:
        self._check_kind()
        hints = self._hints()
        parameters = [self._checked(one, hints) for one in self._parameters()]
        marks = marks_of(self._member)
        item = self._item(hints)
        if item is not None:
            self._check_marks_of_stream(marks)
        return Method(
            self._name,
            Parameters(self._name, Signature(parameters), self._arguments(parameters, hints)),
            self._part("result", hints["return"] if item is None else item[0], "its result"),
            is_stream=item is not None,
            idempotent=marks.idempotent,
            finishes=marks.longest is not None,
            longest=marks.longest,
            interface=self._interface,
        )

    def _error(self, problem: str) -> InterfaceError:
        return InterfaceError(f"{self._place}: {problem}")

    def _check_kind(self) -> None:
        if not isinstance(self._member, FunctionType):
            kind = {property: "a property", staticmethod: "a static method", classmethod: "a class method"}
            what = kind.get(type(self._member), "an attribute")
            raise self._error(f"{what} can't be called from another process; write an async method")
        if self._member.__qualname__ == "_overload_dummy":
            raise self._error("what overloads say is not sent; write one signature, with unions")
        if self._name.startswith("_"):
            raise self._error("only public methods can be called; let its name begin with a letter, or leave it out")

    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(self._member, include_extras=True)
        except Exception as exc:  # whatever the evaluation of somebody's annotations raises
            raise self._error(
                f"its annotations can't be evaluated ({exc}); use names that its module defines, outside of functions"
            ) from exc

    # --- parameters ---

    def _parameters(self) -> list[Parameter]:
        parameters = list(inspect.signature(self._member).parameters.values())
        if not parameters or parameters[0].kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            raise self._error("its first parameter is missing; write self")
        return parameters[1:]

    def _checked(self, parameter: Parameter, hints: dict[str, Any]) -> Parameter:
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is Parameter.VAR_POSITIONAL else "**"
            raise self._error(
                f"parameter '{stars}{parameter.name}': arguments have names and types; write a list or a dict"
            )
        if parameter.name not in hints:
            raise self._error(f"parameter {parameter.name!r} has no type; write one, or Any")
        return parameter

    def _arguments(self, parameters: list[Parameter], hints: dict[str, Any]) -> Part:
        """All of them are one typed dict."""
        fields: dict[str, Any] = {}
        for one in parameters:
            hint = hints[one.name]
            self._part(one.name, hint, f"parameter {one.name!r}")  # so that an error says which one
            fields[one.name] = hint if one.default is Parameter.empty else typing.NotRequired[hint]
        # (mypy knows only those that are written down.)
        together = TypedDict(f"{self._name} arguments", fields)  # type: ignore[misc]
        as_it_is = all(travels_as_it_is(hints[one.name]) for one in parameters)
        return self._part("arguments", together, "its parameters together", as_it_is=as_it_is)

    def _part(self, name: str, annotation: Any, what: str, *, as_it_is: bool = False) -> Part:
        if isinstance(annotation, TypeVar) or (not isinstance(annotation, type) and _variables_of(annotation)):
            raise self._error(f"{what}: a type variable stands for no type that could be checked; write a type")
        try:
            return Part(name, annotation, as_it_is=as_it_is)
        except InterfaceError as exc:
            raise self._error(f"{what}: {exc}") from exc

    # --- the result ---

    def _item(self, hints: dict[str, Any]) -> tuple[Any] | None:
        """The type of what a stream gives; None if it is no stream."""
        if "return" not in hints:
            raise self._error("its result has no type; write one, or -> None")
        result = hints["return"]
        kind = get_origin(result) or result
        if kind in _ITERATORS:
            raise self._error("whoever leaves a stream has to close it; write AsyncGenerator[..., None]")
        is_stream = kind is collections.abc.AsyncGenerator
        is_call = inspect.iscoroutinefunction(self._member)
        if is_stream and is_call:
            raise self._error("a stream is written def, without async (it returns a generator, and does not await one)")
        if is_stream:
            return self._item_of(result)
        if not is_call:
            raise self._error("a call is written async def; or let it return AsyncGenerator[..., None], for a stream")
        return None

    def _item_of(self, result: Any) -> tuple[Any]:
        types = get_args(result)
        if not types:
            raise self._error("its result says nothing of its items; write AsyncGenerator[int, None]")
        if len(types) > 1 and types[1] not in (None, type(None)):
            raise self._error("nothing can be sent to a generator elsewhere; write AsyncGenerator[..., None]")
        return (types[0],)

    def _check_marks_of_stream(self, marks: Marks) -> None:
        if marks.idempotent:
            raise self._error("a stream can't be idempotent: some of it may have been read; take the mark off")
        if marks.longest is not None:
            raise self._error("a stream ends when nobody reads it, so that it can't be marked with finishes")
