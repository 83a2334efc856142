"""What goes out on a stream, by itself: the queue, the credit, and the counts."""

from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.limits import Limits, PeerLimits
from chanlink.wire.outgoing import Outgoing

from .muxes import Look, message


class Notes:
    """Stands in for the mux and for the stream."""

    def __init__(self, *, is_bytes: bool) -> None:
        self.is_bytes = is_bytes
        self.limits = Limits()
        self.peer_limits = PeerLimits()
        self.activated = 0
        self.messages = 0

    def activate(self, stream: Any, *, has_message: bool = False) -> None:
        assert stream is self
        self.activated += 1
        self.messages += has_message


def make(capacity: int | None = None, *, is_bytes: bool = False) -> Outgoing:
    notes = Notes(is_bytes=is_bytes)
    return Outgoing(notes, notes, capacity)


# --- writing ------------------------------------------------------------------------------------


def test_a_message_is_accepted_while_credit_is_above_zero_so_that_one_may_overdraw() -> None:
    outgoing = make()
    outgoing.write(message(bytes(16_384 - 4 - 1)))
    assert outgoing.can_write()  # one byte is left
    outgoing.write(message(bytes(100_000)))
    assert not outgoing.can_write()
    assert len(b"".join(outgoing.pull(1_000_000))) == 16_384
    outgoing.credited(16_384)
    assert not outgoing.can_write()  # the overdraft is not paid back yet
    assert len(b"".join(outgoing.pull(1_000_000))) == 16_384
    outgoing.credited(100_000)
    assert outgoing.can_write()


def test_a_stream_queues_no_more_than_its_share_however_wide_the_window_is() -> None:
    outgoing = make()
    outgoing.credited(2**30)
    while outgoing.can_write():
        outgoing.write(bytes(65_536))
    assert outgoing.queued == Limits().send_queue


@pytest.mark.parametrize(("capacity", "fit"), [(0, 1), (1, 1), (5, 5)])
def test_capacity_bounds_what_was_sent_and_not_taken(capacity: int, fit: int) -> None:
    outgoing = make(capacity)
    for _ in range(fit):
        assert outgoing.can_write()
        outgoing.write(message(b"x"))
    assert not outgoing.can_write()
    assert outgoing.peer_took(1)
    assert outgoing.can_write()


def test_a_taken_count_that_falls_or_lies_is_left_alone() -> None:
    outgoing = make(3)
    for _ in range(3):
        outgoing.write(message(b"x"))
    assert outgoing.peer_took(2)
    assert not outgoing.peer_took(1)
    assert not outgoing.peer_took(2)
    assert not outgoing.peer_took(4)
    assert outgoing.peer_taken == 2


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.lists(st.integers(1, 80), min_size=1))
@hypothesis.settings(deadline=None)
def test_what_is_pulled_is_what_was_written(pieces: list[bytes], sizes: list[int]) -> None:
    outgoing = make(is_bytes=True)
    for piece in pieces:
        outgoing.write(piece)
    pulled = b""
    while outgoing.outbox:
        data = b"".join(outgoing.pull(sizes[len(pulled) % len(sizes)]))
        assert 0 < len(data) <= max(sizes)
        pulled += data
    assert pulled == b"".join(pieces)
    assert outgoing.queued == 0


@pytest.mark.parametrize("is_bytes", [False, True])
def test_what_is_written_first_makes_its_stream_active(is_bytes: bool) -> None:
    outgoing = make(is_bytes=is_bytes)
    notes = outgoing._mux
    assert isinstance(notes, Notes)
    for _ in range(3):
        outgoing.write(b"abc", [b"de", memoryview(b"f")])
    assert (notes.activated, notes.messages) == (1, not is_bytes)
    assert (outgoing.queued, outgoing.sent, outgoing.sent_bytes) == (18, 3, 18)
    assert b"".join(outgoing.pull(1_000)) == 3 * b"abcdef"
    assert not outgoing.outbox
    outgoing.write(b"abc")
    assert (notes.activated, notes.messages) == (2, 2 * (not is_bytes))


def test_what_is_dropped_does_not_leave() -> None:
    outgoing = make()
    outgoing.write(b"abc")
    outgoing.drop()
    assert (outgoing.pull(1_000), outgoing.queued, outgoing.sent) == ([], 0, 1)


# --- what the peer says -------------------------------------------------------------------------


def test_credit_makes_active_what_waits_for_it() -> None:
    outgoing = make()
    notes = outgoing._mux
    assert isinstance(notes, Notes)
    outgoing.credited(1)
    assert notes.activated == 0
    outgoing.write(b"abc")
    outgoing.credited(1)
    assert notes.activated == 2
    assert outgoing.returned == 2


@pytest.mark.parametrize(("is_bytes", "told"), [(False, [3]), (True, [3, 4, 5])])
def test_whoever_sends_looks_when_there_is_room_again(is_bytes: bool, told: list[int]) -> None:
    """Of bytes, credit also says what was taken."""
    outgoing, looks = make(is_bytes=is_bytes), []
    outgoing.belongs_to(Look(lambda: looks.append(outgoing.returned)))
    outgoing.write(bytes(outgoing.credit + 2))
    for _ in range(5):
        outgoing.credited(1)
    assert looks == told


def test_whoever_sends_looks_when_something_was_taken() -> None:
    outgoing, looks = make(capacity=1), []
    outgoing.belongs_to(Look(lambda: looks.append(outgoing.peer_taken)))
    outgoing.write(b"abc")
    for count in (0, 1, 1, 2):
        outgoing.peer_took(count)
    assert looks == [1]
