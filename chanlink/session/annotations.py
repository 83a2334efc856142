"""What a service says of its channel: the item type of its first parameter, ``orders: Receiver[Order]``."""

import functools
import inspect
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Annotated, Any, get_args, get_origin

from chanlink.channels.channel import Receiver
from chanlink.channels.typed import TypeConverter, converter_of
from chanlink.errors import InterfaceError


def item_converter(handler: Callable[..., Any]) -> TypeConverter | None:
    """The converter of what a handler receives; None unless its first parameter is a `Receiver` of some type.

    Raises `InterfaceError` when the annotation can't be evaluated, or messages can't be of this type, and `ConfigError`
    when there is no msgspec.
    """
    hint = _first_hint(handler)
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is not Receiver:
        return None
    return converter_of(get_args(hint)[0])


def _first_hint(handler: Callable[..., Any]) -> Any:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # of some that are written in C
        return None
    hint: Any = next((one.annotation for one in parameters), None)
    if not isinstance(hint, str):
        return hint
    names = getattr(_function(handler), "__globals__", {})
    alone = type("Alone", (), {"__annotations__": {"it": hint}})  # those of the others may be for type checkers only
    try:
        return typing.get_type_hints(alone, globalns=names, include_extras=True)["it"]
    except Exception as exc:  # whatever the evaluation of somebody's annotation raises
        name = getattr(handler, "__qualname__", repr(handler))
        raise InterfaceError(f"the first annotation of {name}, {hint!r:.70}, can't be evaluated: {exc}") from exc


def _function(handler: Any) -> Any:
    """The function in a partial, a method, a callable object or a decorated function: annotations are of its module."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not isinstance(handler, FunctionType):
        handler = getattr(handler, "__func__", None) or type(handler).__call__
    return inspect.unwrap(handler)
