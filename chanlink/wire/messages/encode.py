"""Values to the body of a message (protocol section 8). No I/O.

What is plain, which is nearly every message, goes to msgpack after one short walk. Any other value is walked with care
(see `chanlink.channels.values`); then msgpack packs it, and an end becomes its index in the message's table.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgpack

from chanlink.arguments import with_article
from chanlink.channels.values import INT_KEY, Kind, Path, count_plain, path_text
from chanlink.errors import EncodeError, MessageTooLarge
from chanlink.limits import MAX_DEPTH, MAX_SIZE, PeerLimits

from .framing import END_TYPE, ENTRY, HAS_TABLE, KINDS, MESSAGE_HEADER, table_size
from .pieces import Pieces, has_long_bin, pack_in_pieces

_BUFFER_BYTES = 4_096
"""What a session keeps at most to encode messages in."""
COPY_BELOW = 8 * 1024
"""Bytes: a longer body is not copied behind its header."""


class PlainEncoder:
    """Encodes plain data, which is nearly every message, in as few steps as there can be.

    A short way: `find_ends` and `encode` alone would take a quarter more of a message's processor time (bench row
    one-way), and half as much again where data nests (nested-data). The same bodies come of both
    (tests/wire/messages/test_encode.py).
    """

    def __init__(self, limits: PeerLimits) -> None:
        self._limit = min(limits.message_size, MAX_SIZE)
        self._depth = min(limits.message_depth, MAX_DEPTH)
        self._values = limits.message_values
        self._int_keys = limits.message_int_keys
        self._packer = msgpack.Packer(buf_size=256)

    def encode(self, value: object) -> bytes | Pieces | None:
        """The body of the message; None for what is not plain or can't be sent: `find_ends` and `encode` say why."""
        pack = self._packer.pack
        count = count_plain(value, self._depth)
        if count == 0 and has_long_bin(value):
            pack = pack_in_pieces
            count = count_plain(value, self._depth, sys.maxsize)
        if not 0 < count <= self._values and not self._are_few(count):
            return None
        try:
            body: bytes | Pieces = pack(value)
        except Exception:  # msgpack raises half a dozen kinds; the caller goes the long way, and meets them there
            self._packer = msgpack.Packer(buf_size=256)
            return None
        size = len(body)
        if size > _BUFFER_BYTES:  # it would keep the room that the largest one took, and so above
            self._packer = msgpack.Packer(buf_size=256)
        return body if size <= self._limit else None

    def _are_few(self, count: int) -> bool:
        int_keys, values = divmod(count, INT_KEY)
        return 0 < values <= self._values and int_keys <= self._int_keys


def encode(value: object, ends: Mapping[int, object], limits: PeerLimits) -> bytes | Pieces:
    """The body of the message for `value`, whose ends are as `find_ends` gave them, in that order.

    Raises `EncodeError` or `MessageTooLarge`.
    """
    try:
        pack = pack_in_pieces if has_long_bin(value) else msgpack.packb
        body: bytes | Pieces = pack(value, default=_references(ends), datetime=True)
    except Exception as exc:  # msgpack raises half a dozen kinds; none may escape
        raise EncodeError(*(_find_problem(value, None, ends) or (str(exc), ""))) from exc
    size = len(body) + table_size(len(ends))
    limit = min(limits.message_size, MAX_SIZE)
    if size > limit:
        raise MessageTooLarge(f"the message has {size} bytes, the peer takes {limit}")
    return body


def _find_problem(item: object, path: Path, ends: Mapping[int, object]) -> tuple[str, str] | None:
    """What msgpack can't pack and where it is; slow, for errors only."""
    inner: Iterable[tuple[object, Path]]
    if isinstance(item, dict):
        inner = ((one, (path, key, True)) for key, value in item.items() for one in (key, value))
    elif isinstance(item, list | tuple):
        inner = ((one, (path, index, False)) for index, one in enumerate(item))
    else:
        try:
            if id(item) not in ends:
                msgpack.packb(item, datetime=True)
        except Exception as exc:
            return str(exc), path_text(path)
        return None
    return next(filter(None, (_find_problem(one, where, ends) for one, where in inner)), None)


def _references(ends: Mapping[int, object]) -> Callable[[object], object] | None:
    if not ends:
        return None
    index = {identity: _reference_to(n) for n, identity in enumerate(ends)}

    def reference(item: object) -> object:
        if id(item) not in index:
            raise TypeError(f"{with_article(type(item))} can't be sent")
        return index[id(item)]

    return reference


@functools.cache  # msgpack looks at what such an object is made of
def _reference_to(number: int) -> msgpack.ExtType:
    return msgpack.ExtType(END_TYPE, bytes([number]))


def frame(body: bytes | Pieces, entries: Sequence[tuple[Kind, int]] = ()) -> tuple[bytes, Sequence[bytes | memoryview]]:
    """A message as it is on the wire: header and table of (kind, stream id); and the parts of its body.

    A short body without ends, which is nearly every message, is copied behind its header.
    """
    if not entries and type(body) is bytes and len(body) < COPY_BELOW:
        return MESSAGE_HEADER.pack(len(body)) + body, ()
    table = b"".join(ENTRY.pack(KINDS.index(kind) + 1, stream_id) for kind, stream_id in entries)
    head = MESSAGE_HEADER.pack(len(body))
    if table:
        size = 1 + len(table) + len(body)
        head = MESSAGE_HEADER.pack(HAS_TABLE | size) + bytes([len(table) // ENTRY.size]) + table
    return head, body.pieces if isinstance(body, Pieces) else [body]
