"""Whether an object can be called as an interface says: it has all methods, and they take all arguments."""

import inspect
from collections.abc import Callable, Iterable
from inspect import Parameter
from typing import Any

from chanlink.errors import InterfaceError

from .marks import Marks, marks_of
from .method import Method


def is_factory(given: object, methods: Iterable[Method]) -> bool:
    """Whether this makes implementations, each in an async context manager, and is none."""
    if isinstance(given, type):
        return hasattr(given, "__aenter__")
    return callable(given) and not any(hasattr(given, method.name) for method in methods)


def check_implementation(name: str, methods: Iterable[Method], given: object) -> None:
    """Raise `InterfaceError` unless all methods of the interface of this name can be called."""
    if isinstance(given, type):
        raise InterfaceError(f"{name}: {given.__name__} is a class; give an object, {given.__name__}()")
    for method in methods:
        place = f"{name}: {type(given).__name__}.{method.name}"
        function = getattr(given, method.name, None)
        if not callable(function):
            raise InterfaceError(f"{place}: there is no such method; the interface has it")
        _check_kind(place, method, function)
        _check_parameters(place, method, function)
        if marks_of(function) not in (Marks(), Marks(method.idempotent, method.longest)):
            raise InterfaceError(f"{place}: marks belong to the protocol, where those who call see them")


def _check_kind(place: str, method: Method, function: Callable[..., Any]) -> None:
    function = inspect.unwrap(function)
    is_coroutine = inspect.iscoroutinefunction(function)
    if method.is_stream and is_coroutine:
        raise InterfaceError(f"{place}: the interface has a stream; write async def with yield")
    if not method.is_stream and not (is_coroutine or inspect.iscoroutinefunction(type(function).__call__)):
        raise InterfaceError(f"{place}: the interface has a call; write async def, without yield")


def _check_parameters(place: str, method: Method, function: Callable[..., Any]) -> None:
    """Try a call with all arguments, and one with no more than it must have."""
    signature = inspect.signature(function)
    parameters = method.parameters.signature.parameters.values()
    for some in (parameters, [one for one in parameters if one.default is Parameter.empty]):
        args = [None for one in some if one.kind is Parameter.POSITIONAL_ONLY]
        kwargs = {one.name: None for one in some if one.kind is not Parameter.POSITIONAL_ONLY}
        try:
            signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise InterfaceError(f"{place}: it can't be called as the interface says: {exc}") from None
