"""Where a message begins and ends, and the table of the ends in it (protocol section 8)."""

import pytest

from chanlink.channels.values import Kind
from chanlink.errors import DecodeError
from chanlink.limits import Limits
from chanlink.wire.messages.encode import COPY_BELOW, frame
from chanlink.wire.messages.framing import HAS_TABLE, read_table, table_size
from chanlink.wire.messages.pieces import Pieces
from tests.channels.stubs import Stub

from .codec import THREE, encode, framed, table

LIMITS = Limits()


def test_the_wire_of_a_message_is_that_of_the_protocol() -> None:
    body, _ = encode({"reply": Stub()})
    assert framed(body, [("sender", 0x01020304)]) == (
        b"\x80\0\0\x10" + b"\1" + b"\2\1\2\3\4" + b"\x81\xa5reply\xd4\1\0"
    )
    assert framed(encode("x")[0]) == b"\0\0\0\2\xa1x"


@pytest.mark.parametrize("size", [0, 1, COPY_BELOW - 1, COPY_BELOW, 100_000])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_short_body_is_copied_behind_its_header_and_a_long_one_is_not(size: int, in_pieces: bool) -> None:
    body = bytes(size)
    head, parts = frame(Pieces([body[:100], body[100:]]) if in_pieces else body)
    assert head + b"".join(parts) == size.to_bytes(4, "big") + body
    if not in_pieces:
        assert bool(parts) == (size >= COPY_BELOW)


@pytest.mark.parametrize("entries", [THREE[:1], THREE, THREE * 42])
def test_a_table_is_read_as_it_was_framed(entries: list[tuple[Kind, int]]) -> None:
    message = framed(b"body", entries)
    head = int.from_bytes(message[:4], "big")
    assert head == HAS_TABLE | (table_size(len(entries)) + 4)
    assert read_table(message[4:], LIMITS) == (entries, b"body")


def test_no_table_is_no_bytes() -> None:
    assert [table_size(count) for count in (0, 1, 128)] == [0, 6, 641]


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "malformed table"),
        (table(b"\xc0", count=0)[4:], "malformed table"),
        (table(b"", (1, 3), count=2)[4:], "malformed table"),
        (table(b"", (1, 3))[4:], "nothing behind"),
        (table(b"\xc0", *[(1, 3)] * 5)[4:], "malformed table"),
        (table(b"\xc0", (0, 3))[4:], "unknown kind"),
        (table(b"\xc0", (4, 3))[4:], "unknown kind"),
    ],
)
def test_a_table_that_can_not_be_is_refused(payload: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        read_table(payload, Limits(message_ends=4))
