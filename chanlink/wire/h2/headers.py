"""Header fields: what a stream is opened for and its last words, as they are on the wire (protocol sections 5 and 6).

What is written is the plainest form that HPACK has: literal fields, not indexed, not compressed (RFC 7541, section
6.2.2). A few bytes more than a table would take, but the table is what costs time, and memory for each session. What is
read may have any form; hpack reads those that are not ours.
"""

from typing import Literal

from hpack.hpack import encode_integer

from chanlink.errors import MAX_CODE, Reason, lost_beyond
from chanlink.wire.messages.framing import KINDS
from chanlink.wire.opening import MAX_WORDS, Fields, Opening

from .rules import BrokenRule

_LITERAL = 0
"""The first byte of a literal field, not indexed, whose name is spelled out."""
_ONE_BYTE_LENGTH = 127
"""A string of this many bytes or more has its length in several bytes."""
MAX_SERVICE, MAX_TYPE = 255, 64
"""Bytes of these fields (protocol section 5)."""
_MAX_FIELDS = 8
"""More fields than a frame of ours has."""


def encode(headers: Fields) -> bytes:
    """A header block."""
    block = bytearray()
    for name, value in headers:
        block.append(_LITERAL)
        block += _size(name)
        block += name
        block += _size(value)
        block += value
    return bytes(block)


def _size(string: bytes) -> bytes | bytearray:
    return b"%c" % len(string) if len(string) < _ONE_BYTE_LENGTH else encode_integer(len(string), 7)


def decode_plain(block: bytes) -> dict[bytes, bytes] | None:
    """The fields of a header block, if it is as plain as ours mostly are: no table, no compression, nothing long.

    A short way, which hpack has, too: it would take 8 % more of a nested message's processor time (bench row nested).
    """
    given: dict[bytes, bytes] = {}
    at, end = 0, len(block)
    try:
        for _ in range(_MAX_FIELDS):
            if at == end:
                return given
            name = at + 2
            value = name + block[name - 1] + 1
            next_ = value + block[value - 1]
            if (
                block[at] != _LITERAL
                or block[name - 1] >= _ONE_BYTE_LENGTH
                or block[value - 1] >= _ONE_BYTE_LENGTH
                or next_ > end
            ):
                return None
            given[block[name : value - 1]] = block[value:next_]
            at = next_
    except IndexError:
        pass
    return None


def opening_fields(opening: Opening, *, may_trace: bool = False) -> Fields:
    """The fields of an opening HEADERS frame (protocol section 5), with its trace if the peer knows that field."""
    headers = [(b"kind", opening.kind.encode())]
    if opening.service is not None:
        headers.append((b"service", opening.service.encode()))
    for name, value in zip(_NUMBERS, opening[2:6], strict=True):
        if value is not None:
            headers.append((name, b"%d" % value))
    if opening.item_type is not None:
        headers.append((b"type", opening.item_type))
    if opening.trace and may_trace:
        headers.append((b"trace", opening.trace))
    return headers


_NUMBERS = (b"parent", b"capacity", b"size", b"answer-size")
"""The fields of an opening that are numbers, in the order of `Opening`."""


def read_opening(stream_id: int, given: dict[bytes, bytes]) -> Opening:
    """The opening of a stream by the peer. Raises `BrokenRule`."""
    try:
        kind = KINDS[[k.encode() for k in KINDS].index(given[b"kind"])]
        service = given[b"service"].decode() if b"service" in given else None
        parent, capacity, size, answer_size = (number(given[name]) if name in given else None for name in _NUMBERS)
        opening = Opening(kind, service, parent, capacity, size, answer_size, given.get(b"type"), given.get(b"trace"))
    except (KeyError, ValueError) as exc:
        raise BrokenRule(f"the opening of stream {stream_id}: a field is missing, or is not what it has to be") from exc
    if (problem := _problem(stream_id, opening, given)) is not None:
        raise BrokenRule(f"the opening of stream {stream_id}: {problem}")
    return opening


def _problem(stream_id: int, opening: Opening, given: dict[bytes, bytes]) -> str | None:
    """Which rule of protocol section 5 an opening breaks."""
    if (opening.service is None) == (opening.parent is None):
        return "exactly one of service and parent is there"
    if opening.parent == stream_id:
        return "it is its own parent"
    if opening.kind == "bytes" and opening.capacity is not None:
        return "a byte stream has no capacity"
    if opening.kind != "bytes" and (opening.size, opening.answer_size) != (None, None):
        return "only a byte stream has sizes"
    if len(given.get(b"service", b"")) > MAX_SERVICE or len(opening.item_type or b"") > MAX_TYPE:
        return f"a service has at most {MAX_SERVICE} bytes, a type {MAX_TYPE}"
    return None


def number(field: bytes) -> int:
    """A decimal number; raises `ValueError`."""
    if not field.isdigit() or len(field) > 19:
        raise ValueError("not a number")
    return int(field)


def reason(kind: Literal["failed", "refused"], given: dict[bytes, bytes]) -> Reason:
    """Why a half is over, as the peer said it: never an error, never more than the protocol allows."""
    if b"lost" in given:
        return lost_beyond(given[b"lost"][:MAX_WORDS].decode(errors="replace"))
    code = given.get(b"code", b"")[:MAX_CODE].decode(errors="replace")
    return Reason(kind, code or "unknown", given.get(b"text", b"")[:MAX_WORDS].decode(errors="replace"))


def refusal(code: bytes, text: bytes) -> Reason:
    """The reason in a STOP frame."""
    return reason("refused", {b"code": code, b"text": text} if code else {b"lost": text})
