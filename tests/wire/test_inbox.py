"""An inbox by itself: bytes as they came."""

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.wire.inbox import Inbox


@pytest.mark.slow
@given(st.lists(st.binary(min_size=1, max_size=40) | st.binary(min_size=2_000, max_size=2_100), max_size=30), st.data())
@hypothesis.settings(deadline=None)
def test_an_inbox_returns_the_bytes_as_they_came_however_they_are_taken(
    pieces: list[bytes], data: st.DataObject
) -> None:
    inbox, all_of_it, at = Inbox(), b"".join(pieces), 0
    for piece in pieces:
        inbox.append(piece)
    while inbox.size:
        assert inbox.size == len(all_of_it) - at
        if inbox.size >= 4:
            assert inbox.peek() == int.from_bytes(all_of_it[at : at + 4], "big")
        if data.draw(st.booleans()):
            limit = data.draw(st.integers(1, 60) | st.integers(2_000, 9_000))
            got = inbox.take_some(limit)
            assert 0 < len(got) <= limit
            skip = 0
        else:
            skip = data.draw(st.integers(0, min(4, inbox.size)))
            got = inbox.take(skip, data.draw(st.integers(0, inbox.size - skip)))
        at += skip
        assert got == all_of_it[at : at + len(got)]
        at += len(got)
    assert at == len(all_of_it)


def test_an_inbox_keeps_few_pieces_however_short_they_come() -> None:
    inbox = Inbox()
    for _ in range(16_384):
        inbox.append(b"ab")
    assert len(inbox._pieces) <= 16
    assert inbox.take(0, 32_768) == b"ab" * 16_384


def test_some_of_an_inbox_is_as_many_whole_pieces_as_fit_or_the_beginning_of_a_long_one() -> None:
    inbox = Inbox()
    for byte in b"abcd":
        inbox.append(bytes([byte]) * 3_000)
    assert inbox.take_some(2_000) == b"a" * 2_000
    assert inbox.take_some(5_000) == b"a" * 1_000 + b"b" * 3_000
    assert inbox.take_some(100_000) == b"c" * 3_000 + b"d" * 3_000
    assert not inbox.size


def test_looking_at_a_header_that_is_cut_does_not_copy_what_follows() -> None:
    inbox = Inbox()
    inbox._pieces = [b"\0", b"\0\1", b"\2" + bytes(1_000_000)]  # as if they had been longer
    assert inbox.peek() == 0x0102
