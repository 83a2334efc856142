"""Values to message bytes and back (protocol section 8).  No I/O.

Going out, a value is walked once: that checks what msgpack would not (keys, depth, how many values there are), finds
the ends in it and wraps foreign streams.  Containers of plain values, which is nearly all of them, are passed by two
calls that run in C.  Then msgpack packs it; an end becomes its index in the message's table.

Coming in, nothing much is allocated because a header claims it: a message that is longer than a few kB, or may nest
too deep, is skipped through before anything is built, which fails where a length lies, and its values are counted. One
of few values, however long, we skip through ourselves: msgpack needs a copy for that.
"""

import abc
import datetime
import gc
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Self

import msgpack

from chanlink.errors import DecodeError, EncodeError, LimitReached, MessageTooLarge
from chanlink.limits import Limits, PeerLimits
from chanlink.wire.inbox import HAS_TABLE, MESSAGE_HEADER
from chanlink.wire.opening import KINDS, Kind

from .counting import more_values_than
from .pieces import ExtHook, Pieces, has_long_bin, long_bins, pack_in_pieces, set_aside

END_TYPE = 1
"""The msgpack extension type of a reference to an end."""
MAX_ENDS = 128
"""The entries of a table at most, whatever the limits say (protocol section 8)."""
MAX_SIZE = 2**31 - 1
"""What the header can say."""
MAX_DEPTH = 128
"""We send no message that nests deeper, even if the peer allows it: we recurse."""

_ENTRY = struct.Struct(">BI")
_PLAIN = frozenset([type(None), bool, int, float, str, bytes, bytearray])
_NO_BINS = _PLAIN - {bytes}
_PLAIN_KEYS = frozenset([str, int, bytes])
_CONTAINERS = frozenset([dict, list])
_MAX_UNCHECKED = 4_096
"""Up to this size, few containers can't claim much."""
_BUFFER = 4_096
"""What a session keeps at most to encode messages in; up to this size, no message has too many values."""
_MAX_STEP = 64
"""Characters of a key in a path: whose data goes out may not be its author."""
_NOT_CONTAINERS = bytes(set(range(256)) - set(range(0x80, 0xA0)) - set(range(0xDC, 0xE0)))
"""Every byte that never begins an array or a map."""


class End(abc.ABC):
    """An end of a channel or byte stream, as the codec and the session see it."""

    kind: Kind
    """What the peer gets when this end is sent to it."""

    @property
    @abc.abstractmethod
    def is_void(self) -> bool:
        """Whether this handle was closed or sent away."""

    @abc.abstractmethod
    def check_movable(self, receiver: object, path: str) -> None:
        """Raise unless it can be handed, within this process, to the core that receives: closed, or its own channel."""

    @abc.abstractmethod
    def lend(self) -> None:
        """It is about to be sent: `keep` or `moved` follows.  Raises when it is closed, or lent already."""

    @abc.abstractmethod
    def keep(self) -> None:
        """It was not sent after all."""

    @abc.abstractmethod
    def moved(self) -> Self:
        """It is sent: this handle is void from now on, the returned one stands for the end."""

    @abc.abstractmethod
    def forsake(self, code: str, text: str = "") -> None:
        """Nobody took the message that holds it."""


class Attachment(NamedTuple):
    """An end in a message, and where it stands there (``args[2].body``)."""

    end: End
    path: str


Attachments = dict[int, Attachment]
"""By the identity of the object in the message that stands for the end."""

Wrap = Callable[[object], End | None]
"""Makes an end of a foreign stream; None for anything else."""


# --- going out ----------------------------------------------------------------------------------


def is_plain(value: object, types: frozenset[type] = _PLAIN) -> bool:
    """Whether a value holds nothing but plain data (of some types), at most one level deep.  False for much that is
    data, too."""
    kind = type(value)
    if kind is dict:
        return _PLAIN_KEYS.issuperset(map(type, value)) and types.issuperset(map(type, value.values()))  # type: ignore[attr-defined, call-overload]
    if kind is list:
        return types.issuperset(map(type, value))  # type: ignore[call-overload]
    return kind in types


class PlainEncoder:
    """Encodes what `is_plain`, which is nearly every message, in as few steps as there can be."""

    def __init__(self, limits: PeerLimits) -> None:
        self._limit = min(limits.message_size, MAX_SIZE)
        most = limits.message_values - 1
        self._items = {list: most, dict: min(most // 2, limits.message_int_keys)}
        """How long a list or map of plain values can't be too long; for others we have to look."""
        self._packer = msgpack.Packer(buf_size=256)

    def encode(self, value: object) -> bytes | Pieces | None:
        """The body of the message; None for what is not plain or can't be sent: `find_ends` and `encode` say why."""
        pack = self._packer.pack
        if not is_plain(value, _NO_BINS):  # else there is nothing to look for
            if type(value) is not bytes and not is_plain(value):
                return None
            if has_long_bin(value):
                pack = pack_in_pieces
        try:
            body: bytes | Pieces = pack(value)
        except Exception:  # msgpack raises half a dozen kinds; the caller goes the long way, and meets them there
            self._packer = msgpack.Packer(buf_size=256)
            return None
        size = len(body)
        if size > _BUFFER:  # it would keep the room that the largest one took, and so above
            self._packer = msgpack.Packer(buf_size=256)
            if type(value) in _CONTAINERS and len(value) > self._items[type(value)]:  # type: ignore[arg-type, index]
                return None
        return body if size <= self._limit else None


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


_Path = tuple["_Path", object, bool] | None
"""Where a value stands: in what, under which key or index, and whether that is a key.  The text is made when somebody
wants it: one for each value would cost as much as all keys above it are long."""


def _text(path: _Path) -> str:
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

    def visit(self, item: object, path: _Path, depth: int) -> None:
        if type(item) in _PLAIN:
            return
        if isinstance(item, dict | list | tuple) and not isinstance(item, msgpack.ExtType):
            if depth == 0:
                raise EncodeError("it nests too deep", _text(path))
            self.visit_items(item, path, depth - 1)
            return
        if id(item) in self.ends:
            raise EncodeError("the same end is in this message twice", _text(path))
        end = item if isinstance(item, End) else self.wrapped(item, path)
        if end is not None:
            self.ends[id(item)] = Attachment(end, _text(path))
        elif self.wrap is not None:
            _check_leaf(item, path)

    def wrapped(self, item: object, path: _Path) -> End | None:
        try:
            return self.wrap(item) if self.wrap is not None else None
        except EncodeError as exc:
            raise EncodeError(exc.problem, _text(path)) from None

    def visit_items(self, container: dict[Any, Any] | list[Any] | tuple[Any, ...], path: _Path, depth: int) -> None:
        self.values += len(container)
        if isinstance(container, dict):
            self.values += len(container)
            if self.wrap is not None:
                self.visit_keys(container, path)
            if not _PLAIN.issuperset(map(type, container.values())):
                for key, item in container.items():
                    self.visit(item, (path, key, True), depth)
        elif not _PLAIN.issuperset(map(type, container)):
            for index, item in enumerate(container):
                self.visit(item, (path, index, False), depth)

    def visit_keys(self, container: dict[Any, Any], path: _Path) -> None:
        kinds = set(map(type, container))
        if kinds == {str}:  # the common case
            return
        if not kinds <= _PLAIN_KEYS:
            _check_keys(container, path)
        self.int_keys += sum(isinstance(key, int) for key in container)


def _check_leaf(item: object, path: _Path) -> None:
    """Raise unless it is data after all, though of no plain type."""
    if type(item) is datetime.datetime:
        if item.utcoffset() is None:
            raise EncodeError("a time without a time zone", _text(path))
        try:
            item.astimezone(datetime.UTC)
        except OverflowError:
            raise EncodeError("a time that is out of range in UTC", _text(path)) from None
    elif isinstance(item, memoryview):
        if not item.c_contiguous:
            raise EncodeError("a memoryview with gaps", _text(path))
    elif not isinstance(item, int | float | str | bytes | bytearray):
        # (Subclasses of these, such as an IntEnum, are as good as they.)
        raise EncodeError(f"a {type(item).__name__} can't be sent", _text(path))


def _check_keys(value: dict[Any, Any], path: _Path) -> None:
    for key in value:
        if isinstance(key, bool) or not isinstance(key, str | int | bytes):
            raise EncodeError(f"a {type(key).__name__} can't be a key ({key!r:.40})", _text(path))


def encode(value: object, ends: Attachments, limits: PeerLimits) -> bytes | Pieces:
    """The body of the message for `value`, whose ends are as `find_ends` gave them, in that order.

    Raises `EncodeError` or `MessageTooLarge`.
    """
    try:
        pack = pack_in_pieces if has_long_bin(value) else msgpack.packb
        body: bytes | Pieces = pack(value, default=_references(ends), datetime=True)
    except Exception as exc:  # msgpack raises half a dozen kinds; none may escape
        raise EncodeError(*(_find_problem(value, None, ends) or (str(exc), ""))) from exc
    size = len(body) + (1 + len(ends) * _ENTRY.size if ends else 0)
    limit = min(limits.message_size, MAX_SIZE)
    if size > limit:
        raise MessageTooLarge(f"the message has {size} bytes, the peer takes {limit}")
    return body


def _find_problem(item: object, path: _Path, ends: Attachments) -> tuple[str, str] | None:
    """What msgpack can't pack and where it is; slow, for errors only."""
    inner: Iterable[tuple[object, _Path]]
    if isinstance(item, dict):
        inner = ((one, (path, key, True)) for key, value in item.items() for one in (key, value))
    elif isinstance(item, list | tuple):
        inner = ((one, (path, index, False)) for index, one in enumerate(item))
    else:
        try:
            if id(item) not in ends:
                msgpack.packb(item, datetime=True)
        except Exception as exc:
            return str(exc), _text(path)
        return None
    return next(filter(None, (_find_problem(one, where, ends) for one, where in inner)), None)


def _references(ends: Attachments) -> Callable[[object], object] | None:
    if not ends:
        return None
    index = {identity: msgpack.ExtType(END_TYPE, bytes([n])) for n, identity in enumerate(ends)}

    def reference(item: object) -> object:
        if id(item) not in index:
            raise TypeError(f"a {type(item).__name__} can't be sent")
        return index[id(item)]

    return reference


def frame(body: bytes | Pieces, entries: Iterable[tuple[Kind, int]] = ()) -> tuple[bytes, Sequence[bytes | memoryview]]:
    """A message as it is on the wire: header and table of (kind, stream id); and the parts of its body."""
    table = b"".join(_ENTRY.pack(KINDS.index(kind) + 1, stream_id) for kind, stream_id in entries)
    head = MESSAGE_HEADER.pack(len(body))
    if table:
        size = 1 + len(table) + len(body)
        head = MESSAGE_HEADER.pack(HAS_TABLE | size) + bytes([len(table) // _ENTRY.size]) + table
    return head, body.pieces if isinstance(body, Pieces) else [body]


def replace_ends(value: Any, new: Mapping[int, End]) -> Any:
    """A copy of `value` in which the objects with these identities are replaced; what holds none is not copied."""
    if isinstance(value, dict):
        items = {key: replace_ends(item, new) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if isinstance(value, list | tuple):
        copy = [replace_ends(item, new) for item in value]
        return copy if any(a is not b for a, b in zip(copy, value, strict=True)) else value
    return new.get(id(value), value)


# --- coming in ----------------------------------------------------------------------------------

Claim = Callable[[Kind, int], Callable[[], End] | None]
"""Given kind and stream id of an entry: a function that makes the end, or None if the entry is a lie."""


def decode(head: int, payload: bytes | Pieces, limits: Limits, claim: Claim) -> object:
    """The value of a message, given its header and what followed it.

    Raises `DecodeError`; the ends of its table that were claimed by then are left to the caller.
    """
    if not head & HAS_TABLE:
        if type(payload) is bytes and _is_small(payload, limits.message_depth):  # the common case
            try:
                return msgpack.unpackb(payload, ext_hook=_no_ext, timestamp=3)
            except Exception:  # what is wrong with it, the long way says
                pass
        return _unpack(payload, limits, _no_ext)
    entries, body = read_table(payload, limits)
    makers: list[Callable[[], End] | None] = [_claim(kind, stream_id, claim) for kind, stream_id in entries]

    def ext_hook(code: int, data: bytes) -> object:
        if code != END_TYPE or len(data) != 1 or data[0] >= len(makers) or makers[data[0]] is None:
            raise DecodeError("a reference to an end that is not in the table")
        maker, makers[data[0]] = makers[data[0]], None
        assert maker is not None
        return maker()

    return _unpack(body, limits, ext_hook, _map_hook(limits.message_int_keys, with_ends=True))


def read_table(payload: bytes | Pieces, limits: Limits) -> tuple[list[tuple[Kind, int]], bytes]:
    """The entries of a message's table, and its body.  Raises `DecodeError`."""
    count = payload[:1][0] if payload else 0
    begin = 1 + count * _ENTRY.size
    if not 0 < count <= min(limits.message_ends, MAX_ENDS) or len(payload) <= begin:
        raise DecodeError("a malformed table of ends, or nothing behind it")
    entries = list(_ENTRY.iter_unpack(payload[1:begin]))
    if not all(1 <= number <= len(KINDS) for number, _ in entries):
        raise DecodeError("a table that names an unknown kind")
    return [(KINDS[number - 1], stream_id) for number, stream_id in entries], payload[begin:]


def _claim(kind: Kind, stream_id: int, claim: Claim) -> Callable[[], End]:
    maker = claim(kind, stream_id)
    if maker is None:
        raise DecodeError("a table that names what was not opened for it")
    return maker


def _no_ext(code: int, data: bytes) -> object:
    raise DecodeError("an unknown extension type")


def _unpack(
    body: bytes | Pieces,
    limits: Limits,
    ext_hook: ExtHook,
    map_hook: Callable[[list[tuple[object, object]]], object] | None = None,
) -> object:
    pause = False
    try:
        if isinstance(body, Pieces):
            body, ext_hook = set_aside(body, limits.message_depth, ext_hook)
        deep = _check_claims(body, limits)
        # All that is made is in use: to look through it again and again, as it grows, takes longer than to make it.
        pause = deep and gc.isenabled()
        if pause:
            gc.disable()
        value = _made(body, limits, ext_hook, map_hook)
    except DecodeError:
        raise
    except Exception as exc:  # msgpack raises half a dozen kinds; none may escape
        raise DecodeError("not a message") from exc
    finally:
        if pause:
            gc.enable()
    if deep and _nests_deeper(value, limits.message_depth):
        raise DecodeError("a message that nests too deep")
    return value


def _made(
    body: bytes,
    limits: Limits,
    ext_hook: ExtHook,
    map_hook: Callable[[list[tuple[object, object]]], object] | None,
) -> object:
    """Without a `map_hook` keys that are no str and no bin cost a second pass, in which `ext_hook` is asked again."""
    try:
        return msgpack.unpackb(
            body, ext_hook=ext_hook, timestamp=3, strict_map_key=map_hook is None, object_pairs_hook=map_hook
        )
    except ValueError as exc:
        if "not allowed for map key" not in str(exc):
            raise
    # Only now: with this option keys of every type pass, and each has to be looked at.
    map_hook = _map_hook(limits.message_int_keys)
    return msgpack.unpackb(body, ext_hook=ext_hook, timestamp=3, strict_map_key=False, object_pairs_hook=map_hook)


def _map_hook(int_keys: int, *, with_ends: bool = False) -> Callable[[list[tuple[object, object]]], object]:
    """What makes the maps of a message: it looks at the keys before, and counts those whose hash a peer can choose.

    Of two equal keys the last one counts, as msgpack itself has it; but an end under the first would be forgotten.
    """
    left = int_keys

    def make(pairs: list[tuple[object, object]]) -> dict[object, object]:
        nonlocal left
        for key, _ in pairs:
            kind = type(key)
            if kind is int:
                left -= 1
            elif kind not in _PLAIN_KEYS:
                raise DecodeError("a key that is no str, int or bin")
        if left < 0:
            raise DecodeError(f"more than {int_keys} keys that are ints (message_int_keys)")
        made = dict(pairs)
        if with_ends and len(made) < len(pairs):
            raise DecodeError("a key that comes twice")
        return made

    return make


def _check_claims(body: bytes, limits: Limits) -> bool:
    """Raise when `body` claims more than it holds, or holds too much; return whether it may nest too deep."""
    if _is_small(body, limits.message_depth) or long_bins(body, limits.message_depth) is not None:
        return False
    unpacker = msgpack.Unpacker(max_buffer_size=len(body))
    unpacker.feed(body)
    unpacker.skip()
    if more_values_than(limits.message_values, body):
        raise DecodeError(f"more than {limits.message_values} values (message_values)")
    return True


def _is_small(body: bytes, depth: int) -> bool:
    """Whether a body neither can claim much nor nest deeper than `depth`."""
    # Each level takes a byte that begins a container: few such bytes, no depth.  Runs in C.
    return len(body) <= _MAX_UNCHECKED and len(body.translate(None, _NOT_CONTAINERS)) <= depth


def _nests_deeper(value: object, depth: int) -> bool:
    """Whether lists and maps nest deeper than that in a value; not by recursion, and what can runs in C."""
    level: list[Any] = [value] if type(value) in _CONTAINERS else []
    while level:
        if depth == 0:
            return True
        depth -= 1
        lists = [item for item in level if item and type(item) is list]
        maps = [item for item in level if item and type(item) is dict]
        if _CONTAINERS.isdisjoint(map(type, _contents(lists, maps))):
            break
        level = [item for item in _contents(lists, maps) if type(item) in _CONTAINERS]
    return False


def _contents(lists: list[list[Any]], maps: list[dict[Any, Any]]) -> Iterator[Any]:
    return chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, maps)))
