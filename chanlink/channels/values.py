"""What a message may hold: ends, and plain data around them; for what it may not, an error with its path.

A value is walked before it goes out: that checks what msgpack would not (keys, depth, how many values there are).
Plain data, which is nearly every message, is known by one short walk, `count_plain`. `find_ends` walks what it does not
pass: it finds the ends, wraps foreign streams, and knows the path of what can't be sent.
"""

import abc
import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self

import msgpack

from chanlink.arguments import with_article
from chanlink.errors import EncodeError, LimitReached
from chanlink.limits import MAX_DEPTH, MAX_ENDS, PeerLimits

Kind = Literal["receiver", "sender", "bytes"]
"""What an end is to its owner."""
PLAIN = frozenset([type(None), bool, int, float, str, bytes, bytearray])
"""The types of plain data."""
PLAIN_KEYS = frozenset([str, int, bytes])
"""The types that keys may have."""
LONG_BYTES = 65_536
"""From this length on, bytes are sent from where they are, and not copied into the message."""
_SHORT = PLAIN - {bytes}
_CONTAINERS = (dict, list, tuple)
_MANY = 64
"""Of so many values, the types are looked at by one call that runs in C; for fewer, it takes longer."""
INT_KEY = 2**40
"""More than there can be values: so one number counts both."""
_MAX_STEP = 64
"""Characters of a key in a path: whose data goes out may not be its author."""


class End(abc.ABC):
    """An end of a channel or byte stream, as messages and the session see it."""

    kind: Kind
    """What the peer gets when this end is sent to it."""

    @property
    @abc.abstractmethod
    def is_void(self) -> bool:
        """Whether this handle was closed or sent away."""

    @abc.abstractmethod
    def _check_movable(self, receiver: object, path: str) -> None:
        """Raise unless it can be handed, within this process, to the core that receives: closed, or its own channel."""

    @abc.abstractmethod
    def _lend(self) -> None:
        """It is about to be sent: `_keep` or `_moved` follows. Raises when it is closed, or lent already."""

    @abc.abstractmethod
    def _keep(self) -> None:
        """It was not sent after all."""

    @abc.abstractmethod
    def _moved(self) -> Self:
        """It is sent: this handle is void from now on, the returned one stands for the end."""

    @abc.abstractmethod
    def _forsake(self, code: str, text: str = "") -> None:
        """Nobody took the message that holds it."""


class Attachment(NamedTuple):
    """An end in a message, and where it stands there (``args[2].body``)."""

    end: End
    path: str


Attachments = dict[int, Attachment]
"""By the identity of the object in the message that stands for the end."""

Wrap = Callable[[object], End | None]
"""Makes an end of a foreign stream; None for anything else."""


def count_plain(value: Any, depth: int, longest: int = LONG_BYTES) -> int:
    """How many values there are in `value`, keys among them, if it is plain data that nests no deeper; 0 if not.

    Keys that are ints count `INT_KEY` each besides. Also 0 for much that is data (a time, a subclass, a `memoryview`),
    and for bytes of length `longest` and more.
    """
    kind = type(value)
    if kind is dict:
        count, items = 1 + 2 * len(value), value.values()
        for key in value:
            if (kind := type(key)) is not str:
                if kind is int:
                    count += INT_KEY
                elif kind is not bytes:
                    return 0
    elif kind is list or kind is tuple:
        count, items = 1 + len(value), value
    elif kind in _SHORT:
        return 1
    else:
        return int(kind is bytes and len(value) < longest)
    if depth == 0:
        return 0
    if count > _MANY and PLAIN.issuperset(map(type, items)):  # bytes among many are copied, however long they are
        return count
    for one in items:
        if (kind := type(one)) not in _SHORT and (kind is not bytes or len(one) >= longest):
            if not (inner := count_plain(one, depth - 1, longest)):
                return 0
            count += inner - 1
    return count


def find_ends(value: object, limits: PeerLimits, wrap: Wrap | None) -> Attachments:
    """Find the ends in `value`, and check that everything else is data.

    Without `wrap` the message stays in this process, where other objects may pass as they are, and any number of them.
    Raises `EncodeError` with the path of what can't be sent, and `LimitReached` for too many ends, values or int keys.
    """
    walk = _Walk(wrap)
    walk.visit(value, None, min(limits.message_depth, MAX_DEPTH))
    if len(walk.ends) > min(limits.message_ends, MAX_ENDS):
        raise LimitReached("message_ends", min(limits.message_ends, MAX_ENDS))
    if wrap is not None:
        if walk.values > limits.message_values:
            raise LimitReached("message_values", limits.message_values)
        if walk.int_keys > limits.message_int_keys:
            raise LimitReached("message_int_keys", limits.message_int_keys)
    return walk.ends


class Measures(NamedTuple):
    """What a peer may have bounds for, of a value."""

    values: int
    int_keys: int
    depth: int
    """How deep lists and maps nest: 0 of a number."""


def measure(value: object) -> Measures:
    """Measure a value that holds no ends. Raises `EncodeError` if it does, or holds anything else that is no data."""
    walk = _Walk(lambda item: None)
    walk.visit(value, None, MAX_DEPTH)
    for _, path in walk.ends.values():
        raise EncodeError("an end can be sent once only: nothing that is encoded in advance can hold one", path)
    return Measures(walk.values, walk.int_keys, MAX_DEPTH - walk.depth_left)


Path = tuple["Path", object, bool] | None
"""Where a value stands: in what, under which key or index, and whether that is a key. The text is made when somebody
wants it: one for each value would cost as much as all keys above it are long."""


def path_text(path: Path) -> str:
    steps = []
    while path is not None:
        path, step, is_key = path
        steps.append(f".{_short(step)}" if is_key else f"[{step}]")
    return "".join(reversed(steps)).removeprefix(".")


def _short(key: object) -> str:
    try:
        return f"{key[:_MAX_STEP] if isinstance(key, str | bytes) else key!s:.{_MAX_STEP}}"
    except ValueError:  # Python makes no text of an int that is so long
        return "an int"


class _Walk:
    """Finds ends, and counts values, in all that a value holds."""

    def __init__(self, wrap: Wrap | None) -> None:
        self.ends: Attachments = {}
        self.wrap = wrap
        self.values = 1
        self.int_keys = 0
        self.depth_left = MAX_DEPTH
        """Of what nests deepest."""

    def visit(self, item: object, path: Path, depth: int) -> None:
        if type(item) in PLAIN:
            return
        if isinstance(item, _CONTAINERS) and not isinstance(item, msgpack.ExtType):
            if depth == 0:
                raise EncodeError("it nests too deep", path_text(path))
            self.visit_items(item, path, depth - 1)
            return
        if id(item) in self.ends:
            raise EncodeError("the same end is in this message twice", path_text(path))
        end = item if isinstance(item, End) else self.wrapped(item, path)
        if end is not None:
            self.ends[id(item)] = Attachment(end, path_text(path))
        elif self.wrap is not None:
            _check_leaf(item, path)

    def wrapped(self, item: object, path: Path) -> End | None:
        try:
            return self.wrap(item) if self.wrap is not None else None
        except EncodeError as exc:
            raise EncodeError(exc.problem, path_text(path)) from None

    def visit_items(self, container: dict[Any, Any] | list[Any] | tuple[Any, ...], path: Path, depth: int) -> None:
        self.values += len(container)
        if depth < self.depth_left:
            self.depth_left = depth
        items: Iterable[Any] = container
        steps: Iterable[tuple[object, Any]]
        if of_dict := isinstance(container, dict):
            self.values += len(container)
            items, steps = container.values(), container.items()
            if self.wrap is not None:
                self.visit_keys(container, path)
        else:
            steps = enumerate(container)
        if len(container) > _MANY and PLAIN.issuperset(map(type, items)):
            return
        for step, item in steps:
            if type(item) not in PLAIN:
                self.visit(item, (path, step, of_dict), depth)

    def visit_keys(self, container: dict[Any, Any], path: Path) -> None:
        for key in container:
            if type(key) is not str:
                break
        else:  # the common case
            return
        if not PLAIN_KEYS.issuperset(map(type, container)):
            _check_keys(container, path)
        self.int_keys += sum(isinstance(key, int) for key in container)


_MARKS_OF_RECORDS = ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__")
"""What dataclasses, structs of msgspec and attrs classes have."""


def _check_leaf(item: object, path: Path) -> None:
    """Raise unless it is data after all, though of no plain type."""
    if type(item) is datetime.datetime:
        if item.utcoffset() is None:
            raise EncodeError("a time without a time zone", path_text(path))
        try:
            item.astimezone(datetime.UTC)
        except OverflowError:
            raise EncodeError("a time that is out of range in UTC", path_text(path)) from None
    elif isinstance(item, memoryview):
        if not item.c_contiguous:
            raise EncodeError("a memoryview with gaps", path_text(path))
    elif not isinstance(item, int | float | str | bytes | bytearray):
        # (Subclasses of these, such as an IntEnum, are as good as they.)
        hint = " where no type is given for it" if any(hasattr(type(item), mark) for mark in _MARKS_OF_RECORDS) else ""
        raise EncodeError(f"{with_article(type(item))} can't be sent{hint}", path_text(path))


def _check_keys(value: dict[Any, Any], path: Path) -> None:
    for key in value:
        if isinstance(key, bool) or not isinstance(key, str | int | bytes):
            raise EncodeError(f"{with_article(type(key))} can't be a key ({key!r:.40})", path_text(path))


def replace_ends(value: Any, new: Mapping[int, End]) -> Any:
    """A copy of `value` in which the objects with these identities are replaced; what holds none is not copied."""
    if isinstance(value, dict):
        items = {key: replace_ends(item, new) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if isinstance(value, list | tuple):
        copy = [replace_ends(item, new) for item in value]
        return copy if any(a is not b for a, b in zip(copy, value, strict=True)) else value
    return new.get(id(value), value)
