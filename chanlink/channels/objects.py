"""Ends in objects: messages of typed channels hold ends in fields of classes, and not only in maps and lists.

Fields are those that travel: of structs of msgspec, dataclasses, attrs classes and named tuples. In memory such an
object passes as it is; where an end in it moves, what leads to that end is copied.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chanlink.errors import EncodeError
from chanlink.limits import MAX_DEPTH

from .values import PLAIN, Attachment, Attachments, End, Path, path_text


def ends_in(value: object) -> Attachments:
    """The ends in a value of any type, each with its path. Raises `EncodeError` for one that is there twice."""
    found: Attachments = {}
    _find(value, None, MAX_DEPTH, found)
    return found


def _find(value: object, path: Path, depth: int, found: Attachments) -> None:
    if type(value) in PLAIN:
        return
    if isinstance(value, End):
        if id(value) in found:
            raise EncodeError("the same end is in this message twice", path_text(path))
        found[id(value)] = Attachment(value, path_text(path))
        return
    for step, is_key, item in _items(value):
        if depth == 0:
            raise EncodeError("it nests too deep", path_text(path))
        _find(item, (path, step, is_key), depth - 1, found)


def all_ends(value: object) -> dict[int, End]:
    """The ends in what has arrived, by their identity, however it is made: it may hold itself."""
    found: dict[int, End] = {}
    left, seen = [value], set[int]()
    while left:
        item = left.pop()
        if isinstance(item, End):
            found[id(item)] = item
        elif type(item) not in PLAIN and id(item) not in seen:
            seen.add(id(item))
            left += [inner for _, _, inner in _items(item)]
    return found


def _items(value: object) -> Iterator[tuple[object, bool, object]]:
    """What stands in a value: the key or index, whether it is a key, and the item."""
    if isinstance(value, Mapping):
        yield from ((key, True, item) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((index, False, item) for index, item in enumerate(value))
    else:
        yield from ((name, True, getattr(value, name)) for name in fields_of(value) if hasattr(value, name))


def fields_of(value: object) -> tuple[str, ...]:
    """The names of the fields of an object; none of what is no object with fields."""
    kind = type(value)
    if (names := getattr(kind, "__struct_fields__", None)) is not None:  # msgspec
        return tuple(names)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(attribute.name for attribute in getattr(kind, "__attrs_attrs__", ()))


def replace_in_objects(value: Any, new: Mapping[int, End]) -> Any:
    """A copy of `value` in which the ends with these identities are replaced; what holds none is not copied."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, End):
        return new.get(id(value), value)
    changed = {step: made for step, _, item in _items(value) if (made := replace_in_objects(item, new)) is not item}
    return _copied(value, changed) if changed else value


def _copied(value: Any, changed: dict[Any, Any]) -> Any:
    if isinstance(value, Mapping):
        return {**value, **changed}
    if isinstance(value, list | tuple | set | frozenset):
        items = [changed.get(index, item) for index, item in enumerate(value)]
        return type(value)._make(items) if hasattr(value, "_make") else type(value)(items)
    made = copy.copy(value)
    for name, item in changed.items():
        _setter(made)(made, name, item)
    return made


def _setter(value: object) -> Callable[[Any, str, Any], None]:
    """What sets a field, also of an object that can't be changed: it is a new one, which nobody else has."""
    if hasattr(type(value), "__struct_fields__"):
        from msgspec import structs  # it is there: the class is one of its own

        setter: Callable[[Any, str, Any], None] = structs.force_setattr
        return setter
    return object.__setattr__
