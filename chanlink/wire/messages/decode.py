"""Message bytes to values (protocol section 8). No I/O.

Nothing much is allocated because a header claims it: a message that is longer than a few kB, or may nest too deep, is
skipped through before anything is built, which fails where a length lies, and its values are counted. One of few
values, however long, we skip through ourselves: msgpack needs a copy for that.
"""

import gc
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import msgpack

from chanlink.channels.values import PLAIN_KEYS, End, Kind
from chanlink.errors import DecodeError
from chanlink.limits import Limits

from .counting import more_values_than
from .framing import END_TYPE, HAS_TABLE, read_table
from .pieces import ExtHook, Pieces, long_bins, set_aside

_CONTAINERS = frozenset([dict, list])
_UNCHECKED_BYTES = 4_096
"""Up to this size, few containers can't claim much."""
_NOT_CONTAINERS = bytes(set(range(256)) - set(range(0x80, 0xA0)) - set(range(0xDC, 0xE0)))
"""Every byte that never begins an array or a map."""

Claim = Callable[[Kind, int], Callable[[], End] | None]
"""Given kind and stream id of an entry: a function that makes the end, or None if the entry is a lie."""


def decode(head: int, payload: bytes | Pieces, limits: Limits, claim: Claim) -> object:
    """The value of a message, given its header and what followed it.

    Raises `DecodeError`; the ends of its table that were claimed by then are left to the caller.
    """
    if not head & HAS_TABLE:
        return unpack(payload, limits)
    entries, body = read_table(payload, limits)
    makers: list[Callable[[], End] | None] = [_claim(kind, stream_id, claim) for kind, stream_id in entries]

    def ext_hook(code: int, data: bytes) -> object:
        if code != END_TYPE or len(data) != 1 or data[0] >= len(makers) or makers[data[0]] is None:
            raise DecodeError("a reference to an end that is not in the table")
        maker, makers[data[0]] = makers[data[0]], None
        assert maker is not None
        return maker()

    return unpack(body, limits, ext_hook, _map_hook(limits.message_int_keys, with_ends=True))


def _claim(kind: Kind, stream_id: int, claim: Claim) -> Callable[[], End]:
    maker = claim(kind, stream_id)
    if maker is None:
        raise DecodeError("a table that names what was not opened for it")
    return maker


def _no_ext(code: int, data: bytes) -> object:
    raise DecodeError("an unknown extension type")


def unpack(
    body: bytes | Pieces,
    limits: Limits,
    ext_hook: ExtHook = _no_ext,
    map_hook: Callable[[list[tuple[object, object]]], object] | None = None,
) -> object:
    """The value of a body, which holds no end unless `ext_hook` makes some. Raises `DecodeError`."""
    pause = False
    try:
        if isinstance(body, Pieces):
            body, ext_hook = set_aside(body, limits.message_depth, ext_hook)
        deep = not _is_small(body, limits.message_depth) and _check_claims(body, limits)
        # All that is made is in use: to look through it again and again, as it grows, takes longer than to make it.
        pause = deep and gc.isenabled()
        if pause:
            gc.disable()
        try:
            value = msgpack.unpackb(
                body, ext_hook=ext_hook, timestamp=3, strict_map_key=map_hook is None, object_pairs_hook=map_hook
            )
        except ValueError:  # of a key that is neither str nor bin, perhaps: msgpack has no error of its own for that
            if map_hook is not None:
                raise
            value = _with_other_keys(body, limits, ext_hook)
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


def _with_other_keys(body: bytes, limits: Limits, ext_hook: ExtHook) -> object:
    """A second pass, in which keys of every type pass msgpack, and each is looked at; `ext_hook` is asked again."""
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
            elif kind not in PLAIN_KEYS:
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
    if long_bins(body, limits.message_depth) is not None:
        return False
    unpacker = msgpack.Unpacker(max_buffer_size=len(body))
    unpacker.feed(body)
    unpacker.skip()
    if more_values_than(limits.message_values, body):
        raise DecodeError(f"more than {limits.message_values} values (message_values)")
    return True


def _is_small(body: bytes, depth: int) -> bool:
    """Whether a body neither can claim much nor nest deeper than `depth`."""
    # Each level takes a byte that begins a container: few such bytes, no depth. Runs in C.
    return len(body) <= _UNCHECKED_BYTES and len(body.translate(None, _NOT_CONTAINERS)) <= depth


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
