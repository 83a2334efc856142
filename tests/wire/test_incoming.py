"""What comes in on a stream, by itself: messages in an inbox, counts, and the credit that goes back."""

from collections.abc import Callable
from typing import Any

import pytest

from chanlink.errors import END, Reason
from chanlink.limits import Limits
from chanlink.wire.credit import Credit
from chanlink.wire.incoming import Incoming

from .muxes import Look, message, overdue_at

WINDOW = Limits().stream_window


class Notes:
    """Stands in for the mux and for the stream."""

    def __init__(self, *, is_bytes: bool, **limits: int) -> None:
        self.is_bytes = is_bytes
        self.in_reason: Reason | None = None
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.credit = Credit(self.limits, due=self.credit_due, ping=lambda payload: None)
        self.due: list[Any] = []
        self.rejected: list[str] = []
        self.settled = 0

    def credit_due(self, stream: Any) -> None:
        self.due.append(stream)

    def reject(self, code: str, text: str) -> None:
        self.rejected.append(code)

    def settle(self) -> None:
        self.settled += 1

    @property
    def lent(self) -> int:
        """What is missing in the budget."""
        return self.limits.session_budget - self.credit.budget


def make(capacity: int | None = None, *, is_bytes: bool = False, **limits: int) -> Incoming:
    notes = Notes(is_bytes=is_bytes, **limits)
    return Incoming(notes, notes, capacity, 1_000.0)


def take(incoming: Incoming) -> bytes | None:
    got = incoming.next_message()
    if got is None:
        return None
    incoming.took_message(len(got[1]))
    return bytes(got[1])


def take_all(incoming: Incoming) -> list[bytes]:
    got = []
    while (body := take(incoming)) is not None:
        got.append(body)
    return got


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1_000])
def test_messages_come_whole_however_they_were_cut(size: int) -> None:
    incoming = make()
    bodies = [b"", b"x", bytes(300), b"", b"y" * 77]
    data, got = b"".join(message(body) for body in bodies), []
    for at in range(0, len(data), size):
        incoming.arrived(data[at : at + size], 1_000.0)
        got += take_all(incoming)
    assert got == bodies


def test_a_reader_is_told_of_whole_messages_only() -> None:
    incoming, told = make(), []
    incoming.belongs_to(Look(lambda: told.append(incoming.size)))
    incoming.arrived(message(b"abc")[:-1], 1_000.0)
    assert told == []
    incoming.arrived(b"c", 1_000.0)
    assert told == [7]


def test_nothing_arrives_any_more_once_it_is_known_why() -> None:
    incoming = make()
    incoming._stream.in_reason = END
    incoming.arrived(message(b"late"), 1_000.0)
    assert not incoming.size


def test_a_message_over_the_limit_is_rejected_at_its_header() -> None:
    incoming = make(message_size=10)
    notes = incoming._mux
    assert isinstance(notes, Notes)
    incoming.arrived(message(bytes(11))[:3], 1_000.0)
    assert notes.rejected == []
    incoming.arrived(message(bytes(11))[3:4], 1_000.0)
    assert notes.rejected == ["too-large"]


def test_bytes_are_read_as_they_come() -> None:
    incoming, told = make(is_bytes=True), []
    incoming.belongs_to(Look(lambda: told.append(incoming.size)))
    incoming.arrived(b"abc", 1_000.0)
    incoming.arrived(b"def", 1_000.0)
    assert (told, incoming.read(4), incoming.read(4), incoming.read(4)) == ([3, 6], b"abcd", b"ef", b"")


def test_what_is_dropped_begins_anew() -> None:
    incoming = make()
    incoming.arrived(message(bytes(100))[:50], 1_000.0)
    assert not incoming.message_ready()
    incoming.drop()
    assert not incoming.size
    incoming.arrived(message(b"new"), 1_000.0)
    assert take(incoming) == b"new"


# --- counts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [None, 0, 5])
def test_a_count_is_told_with_a_capacity_of_each_message_else_when_nothing_waits(capacity: int | None) -> None:
    incoming = make(capacity)
    for _ in range(3):
        incoming.arrived(message(b"x"), 1_000.0)
    told = []
    for _ in range(3):
        take(incoming)
        if incoming.taken_due:
            told.append(incoming.tell_count())
    assert told == ([3] if capacity is None else [1, 2, 3])
    assert not incoming.taken_due


def test_a_count_is_told_from_half_a_window_on_though_more_waits() -> None:
    incoming = make()
    for _ in range(16):
        incoming.arrived(message(bytes(WINDOW // 16 - 4)), 1_000.0)
    for _ in range(7):
        take(incoming)
    assert not incoming.taken_due
    take(incoming)
    assert incoming.tell_count() == 8


def test_the_stream_is_settled_by_what_is_taken_after_its_end() -> None:
    incoming = make()
    notes = incoming._mux
    assert isinstance(notes, Notes)
    incoming.arrived(message(b"x") + message(b"y"), 1_000.0)
    take(incoming)
    assert notes.settled == 0
    notes.in_reason = END
    take(incoming)
    assert notes.settled == 1


# --- credit -------------------------------------------------------------------------------------


def test_credit_is_due_at_half_a_window_that_was_taken() -> None:
    incoming = make()
    for _ in range(16):
        incoming.arrived(message(bytes(1_020)), 1_000.0)
    notes = incoming._mux
    assert isinstance(notes, Notes)
    for count in range(1, 9):
        assert take(incoming) is not None
        assert notes.due == [notes, notes][: 2 * (count >= 8)]  # a taken count, and credit
    assert incoming.window.unreturned == 8 * 1_024


def test_less_than_half_a_window_is_given_back_when_the_next_message_needs_it() -> None:
    incoming = make()
    notes = incoming._mux
    assert isinstance(notes, Notes)
    incoming.arrived(message(bytes(96)), 1_000.0)
    incoming.arrived(message(bytes(16_300))[:50], 1_000.0)
    assert notes.due == []
    assert take(incoming) == bytes(96)
    assert incoming.window.needed
    assert notes.due == [notes]


def test_a_message_that_fits_asks_for_nothing() -> None:
    incoming = make()
    notes = incoming._mux
    assert isinstance(notes, Notes)
    incoming.arrived(message(bytes(96)), 1_000.0)
    incoming.arrived(message(bytes(16_280))[:50], 1_000.0)
    assert take(incoming) == bytes(96)
    assert take(incoming) is None
    assert notes.due == []


def test_a_message_longer_than_the_window_borrows_the_rest_and_pays_it_back_first() -> None:
    incoming = make()
    notes = incoming._mux
    assert isinstance(notes, Notes)
    data = message(bytes(100_000))
    incoming.arrived(data[:100], 1_000.0)
    assert notes.lent == incoming.window.loan == 100_004 - 16_384
    incoming.arrived(data[100:], 1_000.0)
    assert take(incoming) == bytes(100_000)
    assert notes.lent == incoming.window.loan == 0
    assert incoming.window.unreturned == 16_384


def test_the_budget_has_all_of_it_back_once_nothing_is_in_the_inbox_or_a_relay() -> None:
    incoming = make()
    notes = incoming._mux
    assert isinstance(notes, Notes)
    data = message(bytes(100_000))
    incoming.arrived(data, 1_000.0)
    incoming.window.make_way(len(data))
    notes.in_reason = END
    incoming.release()
    assert notes.lent == 100_004 - 16_384
    incoming.next_message()
    incoming.release()
    assert notes.lent == 100_004 - 16_384
    incoming.let_go()
    assert notes.lent == 0


# --- progress -----------------------------------------------------------------------------------


def rested(at: float) -> Callable[[float, float], bool]:
    return overdue_at(1_000.0 + at)


def test_a_part_of_a_message_to_which_nothing_is_added_is_stalled() -> None:
    incoming = make()
    assert not incoming.stalled(rested(1_000.0))
    incoming.arrived(message(b"abc")[:5], 1_000.0)
    assert not incoming.stalled(rested(29.0))
    assert incoming.stalled(rested(30.0))
    incoming.arrived(b"b", 1_029.0)
    assert not incoming.stalled(rested(30.0))
    incoming.arrived(b"c", 1_029.0)
    assert not incoming.stalled(rested(1_000.0))  # it is whole: that it is not taken is ours


def test_what_waits_for_credit_is_not_stalled_until_it_has_had_it_for_long() -> None:
    incoming = make()
    incoming.arrived(message(bytes(100_000))[:WINDOW], 1_000.0)
    assert incoming.window.needed
    assert not incoming.stalled(rested(1_000.0))
    incoming.window.give(0)
    incoming.credited(1_500.0)
    assert not incoming.stalled(rested(529.0))
    assert incoming.stalled(rested(530.0))


def test_bytes_and_what_is_over_are_never_stalled() -> None:
    for incoming in (make(is_bytes=True), make()):
        incoming.arrived(message(b"abc")[:5], 1_000.0)
    incoming._stream.in_reason = END
    assert not incoming.stalled(rested(1_000.0))
    assert not make(is_bytes=True).stalled(rested(1_000.0))
