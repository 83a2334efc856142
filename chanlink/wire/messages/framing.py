"""How a message stands in its stream: a header, a table of the ends in it, a body (protocol section 8). No I/O."""

import struct

from chanlink.channels.values import Kind
from chanlink.errors import DecodeError
from chanlink.limits import MAX_ENDS, Limits

from .pieces import Pieces

MESSAGE_HEADER = struct.Struct(">I")
HAS_TABLE = 0x8000_0000
"""The bit of a message's header that says so (protocol section 8)."""
KINDS: tuple[Kind, ...] = ("receiver", "sender", "bytes")
"""In the order of their numbers in a message's table, from 1 (protocol section 8)."""
END_TYPE = 1
"""The msgpack extension type of a reference to an end."""
ENTRY = struct.Struct(">BI")
"""Of a table: the number of a kind, and the id of a stream."""


def table_size(count: int) -> int:
    """The bytes of a table with this many ends; none at all without one."""
    return 1 + count * ENTRY.size if count else 0


def read_table(payload: bytes | Pieces, limits: Limits) -> tuple[list[tuple[Kind, int]], bytes]:
    """The entries of a message's table, and its body. Raises `DecodeError`."""
    count = payload[:1][0] if payload else 0
    begin = 1 + count * ENTRY.size
    if not 0 < count <= min(limits.message_ends, MAX_ENDS) or len(payload) <= begin:
        raise DecodeError("a malformed table of ends, or nothing behind it")
    entries = list(ENTRY.iter_unpack(payload[1:begin]))
    if not all(1 <= number <= len(KINDS) for number, _ in entries):
        raise DecodeError("a table that names an unknown kind")
    return [(KINDS[number - 1], stream_id) for number, stream_id in entries], payload[begin:]
