"""What a stream is opened for, and the words that it ends with (protocol sections 5 and 6)."""

from typing import NamedTuple

from chanlink.channels.values import Kind
from chanlink.errors import MAX_CODE, Reason

Fields = list[tuple[bytes, bytes]]

MAX_TRACE = 600
"""The bytes of a trace (protocol section 5)."""
MAX_WORDS = 1_024
"""The bytes that code and text of last words may have together (protocol section 6)."""


class Opening(NamedTuple):
    """What a stream is opened for."""

    kind: Kind
    """The end that the acceptor gets."""
    service: str | None = None
    parent: int | None = None
    """The stream in a message of which it will be mentioned; either this or a service is there."""
    capacity: int | None = None
    size: int | None = None
    """Of bytes, if that is known: how many the opener sends."""
    answer_size: int | None = None
    """The same of the acceptor."""
    item_type: bytes | None = None
    """The name of the contract that the messages keep to: nobody here reads it, but it goes where the end goes."""
    trace: bytes | None = None
    """To which trace it belongs, and goes where the end goes; empty if it shall belong to none."""


def last_words_fields(reason: Reason) -> Fields:
    """The fields that say why a half is over, cut to what the protocol allows: a code has at least one byte."""
    if reason.kind == "lost":
        return [(b"lost", _cut(reason.lost_words(), MAX_WORDS))]
    code = reason.code.encode("ascii", errors="replace")[:MAX_CODE] or b"unknown"
    return [(b"code", code), (b"text", _cut(reason.text, MAX_WORDS - len(code)))]


def _cut(text: str, size: int) -> bytes:
    return text.encode(errors="replace")[:size].decode(errors="ignore").encode()
