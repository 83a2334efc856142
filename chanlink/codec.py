"""Values to message bytes and back (protocol section 8).  No I/O.

Going out, a value is walked once: that checks what msgpack would not (keys, depth), finds the ends in it and
wraps foreign streams.  Containers of plain values, which is nearly all of them, are passed by two calls that run
in C.  Then msgpack packs it; an end becomes its index in the message's table.

Coming in, nothing is allocated because a header claims it: lengths are bounded by the bytes at hand
(msgpack does that), and depth by `_too_deep` before anything is built.
"""

import abc
import datetime
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self

import msgpack

from .errors import DecodeError, EncodeError, LimitReached, MessageTooLarge
from .limits import Limits, PeerLimits
from .stream import HAS_TABLE, MESSAGE_HEADER, Kind

END_TYPE = 1
"""The msgpack extension type of a reference to an end."""
KINDS: tuple[Kind, ...] = ("receiver", "sender", "bytes")
"""Kinds of ends by their number on the wire, from 1."""

_ENTRY = struct.Struct(">BI")
_PLAIN = frozenset([type(None), bool, int, float, str, bytes, bytearray, memoryview, datetime.datetime])
_PLAIN_KEYS = frozenset([str, int, bytes])
_MAX_UNCHECKED = 4_096
"""Up to this size, few containers can't claim much; longer messages are skipped through before they are built."""
_NOT_CONTAINERS = bytes(set(range(256)) - set(range(0x80, 0xA0)) - set(range(0xDC, 0xE0)))
"""Every byte that never begins an array or a map."""


class End(abc.ABC):
    """An end of a channel or byte stream, as the codec and the session see it."""

    kind: Kind
    """What the peer gets when this end is sent to it."""

    @abc.abstractmethod
    def check_sendable(self, path: str) -> None:
        """Raise unless it can leave this process now: `ChannelClosed`, or `EncodeError` with `path`."""

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
    def forsake(self, code: str) -> None:
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


def find_ends(value: object, limits: PeerLimits, wrap: Wrap | None) -> Attachments:
    """Find the ends in `value`, and check that everything else is data.

    Without `wrap` the message stays in this process, where other objects may pass as they are.
    Raises `EncodeError` with the path of what can't be sent, and `LimitReached` for too many ends.
    """
    ends: Attachments = {}
    _Walk(ends, wrap).visit(value, "", limits.message_depth)
    if len(ends) > limits.message_ends:
        raise LimitReached("message_ends", limits.message_ends)
    return ends


class _Walk(NamedTuple):
    ends: Attachments
    wrap: Wrap | None

    def visit(self, item: object, path: str, depth: int) -> None:
        if type(item) in _PLAIN:
            return
        if isinstance(item, dict | list | tuple):
            if depth == 0:
                raise EncodeError("it nests too deep", path)
            self.visit_items(item, path, depth - 1)
            return
        if id(item) in self.ends:
            raise EncodeError("the same end is in this message twice", path)
        end = item if isinstance(item, End) else self.wrap(item) if self.wrap is not None else None
        if end is not None:
            self.ends[id(item)] = Attachment(end, path)
        elif self.wrap is not None and not isinstance(item, int | float | str | bytes | bytearray):
            # (Subclasses of these, such as an IntEnum, are as good as they.)
            raise EncodeError(f"a {type(item).__name__} can't be sent", path)

    def visit_items(self, container: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str, depth: int) -> None:
        if isinstance(container, dict):
            if self.wrap is not None and not _PLAIN_KEYS.issuperset(map(type, container)):
                _check_keys(container, path)
            if not _PLAIN.issuperset(map(type, container.values())):
                for key, item in container.items():
                    self.visit(item, f"{path}.{key}" if path else str(key), depth)
        elif not _PLAIN.issuperset(map(type, container)):
            for index, item in enumerate(container):
                self.visit(item, f"{path}[{index}]", depth)


def _check_keys(value: dict[Any, Any], path: str) -> None:
    for key in value:
        if isinstance(key, bool) or not isinstance(key, str | int | bytes):
            raise EncodeError(f"a {type(key).__name__} can't be a key ({key!r:.40})", path)


def encode(value: object, ends: Attachments, limits: PeerLimits) -> bytes:
    """The body of the message for `value`, whose ends are as `find_ends` gave them, in that order.

    Raises `EncodeError` or `MessageTooLarge`.
    """
    try:
        body = msgpack.packb(value, default=_references(ends), datetime=True)
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise EncodeError(str(exc)) from exc
    table = 1 + len(ends) * _ENTRY.size if ends else 0
    if len(body) + table > limits.message_size:
        raise MessageTooLarge(f"the message has {len(body) + table} bytes, the peer takes {limits.message_size}")
    return body  # type: ignore[no-any-return]


def _references(ends: Attachments) -> Callable[[object], object] | None:
    if not ends:
        return None
    index = {identity: msgpack.ExtType(END_TYPE, bytes([n])) for n, identity in enumerate(ends)}

    def reference(item: object) -> object:
        return index[id(item)]

    return reference


def frame(body: bytes, entries: Iterable[tuple[Kind, int]] = ()) -> bytes:
    """A message as it is on the wire: header, table of (kind, stream id), body."""
    table = b"".join(_ENTRY.pack(KINDS.index(kind) + 1, stream_id) for kind, stream_id in entries)
    if not table:
        return MESSAGE_HEADER.pack(len(body)) + body
    count = bytes([len(table) // _ENTRY.size])
    return MESSAGE_HEADER.pack(HAS_TABLE | (1 + len(table) + len(body))) + count + table + body


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


def decode(head: int, payload: bytes, limits: Limits, claim: Claim) -> object:
    """The value of a message, given its header and what followed it.

    Raises `DecodeError`; the ends of its table that were claimed by then are left to the caller.
    """
    if not head & HAS_TABLE:
        return _unpack(payload, limits, _no_ext)
    count = payload[0] if payload else 0
    begin = 1 + count * _ENTRY.size
    if not 0 < count <= limits.message_ends or len(payload) < begin:
        raise DecodeError("a malformed table of ends")
    makers = [_claim(entry, claim) for entry in _ENTRY.iter_unpack(payload[1:begin])]

    def ext_hook(code: int, data: bytes) -> object:
        if code != END_TYPE or len(data) != 1 or data[0] >= count or makers[data[0]] is None:
            raise DecodeError("a reference to an end that is not in the table")
        maker, makers[data[0]] = makers[data[0]], None
        assert maker is not None
        return maker()

    return _unpack(payload[begin:], limits, ext_hook)


def _claim(entry: tuple[int, int], claim: Claim) -> Callable[[], End] | None:
    number, stream_id = entry
    maker = claim(KINDS[number - 1], stream_id) if 1 <= number <= len(KINDS) else None
    if maker is None:
        raise DecodeError("a table that names what was not opened for it")
    return maker


def _no_ext(code: int, data: bytes) -> object:
    raise DecodeError("an unknown extension type")


def _unpack(body: bytes, limits: Limits, ext_hook: Callable[[int, bytes], object]) -> object:
    try:
        deep = _check_claims(body, limits.message_depth)
        try:
            value = msgpack.unpackb(body, ext_hook=ext_hook, timestamp=3)
        except ValueError as exc:
            if "not allowed for map key" not in str(exc):
                raise
            # Only now: with this option keys of every type pass, and each has to be looked at.
            value = msgpack.unpackb(
                body, ext_hook=ext_hook, timestamp=3, strict_map_key=False, object_pairs_hook=_checked_map
            )
    except DecodeError:
        raise
    except Exception as exc:  # msgpack raises half a dozen kinds; none may escape
        raise DecodeError("not a message") from exc
    if deep and _depth(value) > limits.message_depth:
        raise DecodeError("a message that nests too deep")
    return value


def _checked_map(pairs: list[tuple[object, object]]) -> dict[object, object]:
    if not all(type(key) in _PLAIN_KEYS for key, _ in pairs):
        raise DecodeError("a key that is no str, int or bin")
    return dict(pairs)


def _check_claims(body: bytes, depth: int) -> bool:
    """Raise when `body` claims more than it holds; return whether it may nest deeper than `depth`."""
    # Each level takes a byte that begins a container: few such bytes, no depth.  Runs in C.
    deep = len(body.translate(None, _NOT_CONTAINERS)) > depth
    if deep or len(body) > _MAX_UNCHECKED:
        unpacker = msgpack.Unpacker(max_buffer_size=len(body))
        unpacker.feed(body)
        unpacker.skip()
    return deep


def _depth(value: object) -> int:
    """How deep lists and maps nest in a value; not by recursion."""
    level, depth = [value], 0
    while True:
        inner = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not any(isinstance(item, dict | list) for item in level):
            return depth
        level, depth = inner, depth + 1
