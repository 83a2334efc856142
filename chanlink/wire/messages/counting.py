"""How many values a message holds, before any of them is made (protocol section 8). No I/O.

What a value costs has little to do with its size on the wire: an empty map is one byte there, and 72 here. msgpack
does not count, and to walk through a message by hand takes ten times as long as to unpack it. But where a value ends
can be said by a regular expression, which runs in C; an array or map is no more than its header to it. Only strings
of 256 bytes and more are passed by hand.
"""

import functools
import re
from collections import defaultdict
from itertools import chain

from .pieces import EXTENSIONS, ITEMS, SIZES, STRINGS

_VALUES_A_MATCH = 256
"""Values that are counted by one match."""
_BYTES_A_LOOK = 4_096
"""Bytes that are looked at where this many values do not follow each other."""
_MEDIUM = rb"[\xc4\xd9]|[\xc5\xda]\0|[\xc6\xdb]\0\0\0"
"""The header of a string of less than 256 bytes, but for the last byte, which is its length."""
_EXTENSION = rb"\xc7|\xc8\0|\xc9\0\0\0"
_EXTENSION_LENGTHS = (1, 4, 8, 12)
"""The same of an extension; and the lengths of an end and of a time. Nothing is made of what stands behind another."""


def more_values_than(limit: int, body: bytes) -> bool:
    """Whether there are. The body was skipped through: it holds all that its headers claim."""
    if len(body) <= limit:  # the common case: none is shorter than a byte
        return False
    run, value = _patterns()
    at = count = 0
    while at < len(body) and count <= limit:
        if found := run.match(body, at):
            count += _VALUES_A_MATCH
            at = found.end()
            continue
        end = min(at + _BYTES_A_LOOK, len(body))
        values = value.findall(body, at, end)
        rest = len(values[-1])  # what begins with a long string, or does not end in the window
        if at + rest < end:
            count += len(values) - bool(rest)
            at = end - rest
        else:
            header = STRINGS.get(body[at])
            if header is None:
                return False  # it will be refused for what stands here
            count += 1
            at += header + int.from_bytes(body[at + 1 : at + header], "big")
    return count > limit


@functools.cache  # it takes some milliseconds, and most processes never see such a message
def _patterns() -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """This many values after each other; and one value, or else everything, as a group."""
    codes: dict[int, list[int]] = defaultdict(list)
    headers = ((code, size) for code, (size, _) in ITEMS.items())
    for code, size in chain(SIZES.items(), EXTENSIONS.items(), headers):
        codes[size].append(code)
    fixed = [_one_of(codes[size]) + _bytes(size - 1) for size in sorted(codes)]
    # Sixteen and sixteen: the alternatives are tried one after the other.
    lengths = [
        b"(?=%s)(?:%s)" % (_one_of(some), b"|".join(_one_of([length]) + _bytes(length) for length in some))
        for some in (range(begin, begin + 16) for begin in range(0, 256, 16))
    ]
    extensions = [_one_of([length]) + _bytes(1 + length) for length in _EXTENSION_LENGTHS]
    others = [b"(?:%s)(?:%s)" % (_MEDIUM, b"|".join(lengths)), b"(?:%s)(?:%s)" % (_EXTENSION, b"|".join(extensions))]
    value = b"|".join([*fixed, *others])
    return re.compile(b"(?:%s){%d}+" % (value, _VALUES_A_MATCH), re.DOTALL), re.compile(
        b"(?:%s)|(.+)" % value, re.DOTALL
    )


def _one_of(codes: "list[int] | range") -> bytes:
    return b"[%s]" % b"".join(b"\\x%02x" % code for code in codes)


def _bytes(count: int) -> bytes:
    return b".{%d}" % count
