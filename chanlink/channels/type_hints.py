"""What a type holds: whether messages can be of it, and which ends are in its fields."""

import types
import typing
from collections.abc import Iterator
from typing import Any, TypeVar, get_args, get_origin

from chanlink.arguments import with_article
from chanlink.errors import InterfaceError

from .values import End

MAX_NUMBERS = 4_096
"""How many numbers a set may hold (see ``Limits.message_int_keys``): to compare each with all others costs 15 ms."""
MAX_TYPES = 10_000
"""A generic class may hold another one of itself, and so on, without an end."""


class Found:
    """What a type holds. Raises `InterfaceError` with the path of what can't travel."""

    def __init__(self, item_type: Any) -> None:
        from msgspec import inspect, msgpack

        self.ends: dict[Any, None] = {}
        """The types of ends in its fields: ``Sender[Reply]``."""
        self.is_custom = False
        """Whether there is a class that msgspec knows nothing of: an end, `object`."""
        self.is_open = False
        """Whether there may be anything somewhere in it: `Any`."""
        self.has_taken = False
        """Whether there are bytes or times in it."""
        self._name = _name(item_type)
        self._seen: dict[int, object] = {}
        try:
            msgpack.Decoder(item_type)  # it says what it can't do, in unions say
            info = inspect.type_info(item_type)
            self.ends.update(dict.fromkeys(_ends_in(item_type)))
        except RecursionError:
            raise InterfaceError(f"{self._name}: a type without an end") from None
        except (TypeError, ValueError, NameError, AttributeError) as exc:
            raise InterfaceError(f"{self._name} can't be the type of a message: {exc}") from None
        self._look(info, "")

    @property
    def may_hold_ends(self) -> bool:
        """Whether there may be ends in such a value."""
        return bool(self.ends) or self.is_open or self.is_custom

    def _look(self, info: Any, path: str) -> None:
        """Look at what msgspec says of a type, and of the types in it."""
        if id(info) in self._seen:  # a class that holds itself
            return
        self._seen[id(info)] = info
        match type(info).__name__:
            case "CustomType":
                self._look_at_class(info.cls, path)
            case "AnyType":
                self.is_open = True
            case "RawType" | "ExtType" as kind:
                self._refuse(f"msgspec's {kind.removesuffix('Type')} can't travel", path)
            case "DictType":
                self._look_at_key(info.key_type, path)
            case "SetType" | "FrozenSetType":
                self._look_at_set(info, path)
            case kind if kind in _TAKEN:
                self.has_taken = True
                if getattr(info, "tz", None) is False:
                    self._refuse("a time without a time zone can't travel", path)
        for step, inner in _parts(info):
            self._look(inner, f"{path}{step}")

    def _look_at_class(self, cls: type, path: str) -> None:
        if cls is not object and not issubclass(cls, End):
            self._refuse(f"{with_article(cls)} can't travel", path)
        self.is_custom = True

    def _look_at_key(self, key: Any, path: str) -> None:
        for one in _alternatives(key):
            if type(one).__name__ not in _KEYS:
                self._refuse(f"keys can't be of type {type(one).__name__.removesuffix('Type').lower()}", path)

    def _look_at_set(self, info: Any, path: str) -> None:
        kinds = {type(one).__name__ for one in _alternatives(info.item_type)}
        if not kinds <= {*_SCATTERED, *_COLLIDE}:
            self._refuse("in a set there may be texts, bytes and numbers; take a list", path)
        if not kinds <= _SCATTERED and (info.max_length is None or info.max_length > MAX_NUMBERS):
            bound = f"Annotated[set[...], msgspec.Meta(max_length=...)], {MAX_NUMBERS:,} at most"
            self._refuse(
                f"a set of numbers has to say how many it may hold, as they can be chosen to collide: {bound}", path
            )

    def _refuse(self, problem: str, path: str) -> typing.NoReturn:
        where = path.removeprefix(".")
        raise InterfaceError(f"{self._name} can't be the type of a message: {where and where + ': '}{problem}")


_TAKEN = ("BytesType", "ByteArrayType", "MemoryViewType", "DateTimeType")
_SCATTERED = {"StrType", "BytesType", "EnumType", "LiteralType", "DateType", "BoolType", "NoneType", "CustomType"}
"""Of these a peer can't choose many whose hashes collide: those of texts and bytes are secret, the others are few."""
_COLLIDE = {"IntType", "FloatType", "AnyType"}
"""Of these it can. As keys, ints are counted as a message is decoded (``message_int_keys``); in sets they are not."""
_KEYS = {"AnyType", "StrType", "IntType", "BytesType", "EnumType", "LiteralType", "DateType"}
"""What keys may be. (Of what else msgspec makes of texts hashes can be chosen, too, and it is slow to compare.)"""


def _alternatives(info: Any) -> tuple[Any, ...]:
    return tuple(getattr(info, "types", (info,)))


def _name(item_type: Any) -> str:
    return item_type.__qualname__ if isinstance(item_type, type) and not get_args(item_type) else str(item_type)


def _parts(info: Any) -> Iterator[tuple[str, Any]]:
    """The types in a type, and where they stand."""
    for field in getattr(info, "fields", ()):
        yield f".{field.encode_name}", field.type
    for inner in (*getattr(info, "types", ()), *getattr(info, "item_types", ())):
        yield "", inner
    for name, step in (("item_type", "[]"), ("key_type", "[key]"), ("value_type", "[]"), ("type", "")):
        if (inner := getattr(info, name, None)) is not None:
            yield step, inner


# --- what msgspec does not say -------------------------------------------------------------------


def _ends_in(item_type: Any) -> Iterator[Any]:
    """The types of ends in a type, with their parameters."""
    seen: list[Any] = []
    left = [item_type]
    while left:
        hint = left.pop()
        if hint in seen:
            continue
        seen.append(hint)
        if len(seen) > MAX_TYPES:
            raise RecursionError
        cls = get_origin(hint) or hint
        if isinstance(cls, type) and issubclass(cls, End):
            yield hint
        else:
            left += _inner(hint)


def _inner(hint: Any) -> list[Any]:
    """The types that a type is made of: its parameters, and those of its fields."""
    origin = get_origin(hint)
    if origin is typing.Literal:
        return []
    if origin is typing.Annotated:
        return [get_args(hint)[0]]
    made_of = list(get_args(hint))
    cls = origin if isinstance(origin, type) else hint
    if isinstance(cls, type) and not isinstance(cls, types.GenericAlias):
        made_of += _fields(cls, hint)
    for name in ("__supertype__", "__value__"):  # of a NewType, of a ``type`` statement
        if hasattr(hint, name) and not isinstance(hint, type):
            made_of.append(getattr(hint, name))
    return made_of


def _fields(cls: type, hint: Any) -> list[Any]:
    has_fields = ("__struct_fields__", "__dataclass_fields__", "__attrs_attrs__", "__total__", "_fields")
    if not any(hasattr(cls, name) for name in has_fields):
        return []
    given = dict(zip(getattr(cls, "__parameters__", ()), get_args(hint), strict=False))
    fields = [_with(one, given) for one in typing.get_type_hints(cls, include_extras=True).values()]
    bases = [base for base in getattr(cls, "__orig_bases__", ()) if get_origin(base) not in (None, typing.Generic)]
    return fields + [_with(base, given) for base in bases]


def _with(hint: Any, given: dict[Any, Any]) -> Any:
    """A type, with other types for its parameters."""
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return hint
    return hint[tuple(given.get(one, one) for one in parameters)] if parameters else hint
