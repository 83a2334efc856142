"""A stream by itself: its inbox, and its halves with a mux that only notes what it is told."""

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.channels.values import Kind
from chanlink.errors import END, Reason, SessionClosed
from chanlink.limits import Limits, PeerLimits
from chanlink.wire.credit import Credit
from chanlink.wire.opening import MAX_WORDS, Opening
from chanlink.wire.stream import Stream

from .muxes import message, take

LOST = Reason("lost", cause=SessionClosed())


class Notes:
    """Stands in for the mux."""

    def __init__(self, **limits: int) -> None:
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.peer_limits = PeerLimits()
        self.credit = Credit(self.limits, due=self.credit_due, ping=lambda payload: None)
        self.active: list[Stream] = []
        self.due: list[Stream] = []
        self.messages = 0

    def activate(self, stream: Stream, *, has_message: bool = False) -> None:
        self.active.append(stream)
        self.messages += has_message

    def credit_due(self, stream: Stream) -> None:
        self.due.append(stream)

    @property
    def lent(self) -> int:
        """What is missing in the budget."""
        return self.limits.session_budget - self.credit.budget


def make(kind: Kind = "receiver", *, ours: bool = False, capacity: int | None = None, **limits: int) -> Stream:
    return Stream(Notes(**limits), 1, Opening(kind, service="service", capacity=capacity), ours=ours, opened_at=1_000.0)


# --- what goes out ------------------------------------------------------------------------------


def test_last_words_wait_for_what_was_written_before() -> None:
    stream = make(ours=True)
    stream.outgoing.write(message(b"x"))
    stream.finish(END)
    assert stream.last_words() is None
    stream.outgoing.pull(100)
    assert stream.last_words() == []
    assert stream.last_words() is None  # said once


def test_the_first_last_words_stay() -> None:
    stream = make(ours=True)
    stream.finish(Reason("failed", "first"))
    stream.finish(END)
    assert stream.out_reason == Reason("failed", "first")
    assert stream.last_words() == [(b"code", b"first"), (b"text", b"")]


def test_the_first_refusal_stays() -> None:
    stream = make("bytes", ours=True)
    stream.refused(Reason("refused", "first", "1"))
    stream.refused(Reason("refused", "second", "2"))
    assert stream.out_reason == Reason("refused", "first", "1")


@given(st.text(), st.text(max_size=3_000))
@hypothesis.settings(deadline=None)
def test_last_words_fit_into_the_protocol(code: str, text: str) -> None:
    stream = make(ours=True)
    stream.finish(Reason("failed", code, text))
    words = dict(stream.last_words() or [])
    assert 1 <= len(words[b"code"].decode("ascii")) <= 64
    assert len(words[b"code"]) + len(words[b"text"]) <= MAX_WORDS
    words[b"text"].decode()


# --- what comes in ------------------------------------------------------------------------------


def test_an_end_inside_a_message_is_a_failure() -> None:
    stream = make()
    stream.incoming.arrived(message(b"first") + message(b"second")[:-1], 1_000.0)
    stream.ended(END)
    assert stream.exhausted() is None
    assert take(stream) == b"first"
    reason = stream.exhausted()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "cut-short")
    assert take(stream) is None
    assert stream.last_words() == [(b"taken", b"1")]


def test_a_failure_inside_a_message_keeps_its_code() -> None:
    stream = make()
    stream.incoming.arrived(message(b"first")[:-1], 1_000.0)
    stream.ended(Reason("failed", "oops"))
    assert stream.exhausted() == Reason("failed", "oops")
    assert stream.incoming.size == 0


@pytest.mark.parametrize("ended", [False, True])
def test_a_message_over_the_limit_is_refused_when_its_turn_comes(ended: bool) -> None:
    """Also when the end has arrived behind it."""
    stream = make(message_size=10)
    stream.incoming.arrived(message(bytes(10)) + message(bytes(11))[:8], 1_000.0)
    if ended:
        stream.ended(END)
    assert stream.exhausted() is None
    assert take(stream) == bytes(10)
    assert take(stream) is None
    reason = stream.exhausted()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "too-large")
    assert stream.last_words() == [(b"taken", b"1"), (b"code", b"too-large"), (b"text", b"a message over the limit")]


def test_a_whole_message_over_the_limit_is_refused_too() -> None:
    stream = make(message_size=10)
    stream.incoming.arrived(message(bytes(11)), 1_000.0)
    assert take(stream) is None
    assert stream.exhausted() is not None


def test_a_last_message_that_is_none_refuses_the_channel_though_the_end_was_there() -> None:
    stream = make()
    stream.incoming.arrived(message(b"\xc1"), 1_000.0)
    stream.ended(END)
    assert stream.incoming.next_message() is not None  # and the codec finds that it is none
    stream.reject("bad-message", "not a message")
    assert stream.exhausted() == Reason("failed", "bad-message", "not a message")
    assert stream.last_words() == [(b"taken", b"0"), (b"code", b"bad-message"), (b"text", b"not a message")]


def test_refusing_what_is_over_changes_nothing() -> None:
    stream = make()
    stream.ended(END)
    stream.refuse(Reason("refused", "closed"))
    assert stream.exhausted() == END
    assert stream.last_words() == [(b"taken", b"0")]


def test_refusing_drops_what_waits_and_what_still_comes() -> None:
    stream = make()
    stream.incoming.arrived(message(b"waits"), 1_000.0)
    stream.refuse(Reason("refused", "closed", "enough"))
    stream.incoming.arrived(message(b"comes"), 1_000.0)
    assert stream.incoming.size == 0
    assert take(stream) is None
    assert stream.exhausted() == Reason("refused", "closed", "enough")


def test_bytes_are_read_as_they_come_and_their_end_comes_after_them() -> None:
    stream = make("bytes")
    stream.incoming.arrived(b"abcdef", 1_000.0)
    stream.ended(END)
    assert stream.incoming.read(4) == b"abcd"
    assert stream.exhausted() is None
    assert stream.incoming.read(4) == b"ef"
    assert stream.exhausted() == END
    assert stream.incoming.read(4) == b""


def test_a_lost_stream_gives_what_arrived_and_then_the_reason() -> None:
    stream = make()
    stream.incoming.arrived(message(b"arrived") + b"\0", 1_000.0)
    stream.lost(LOST, LOST)
    assert take(stream) == b"arrived"
    assert take(stream) is None
    assert stream.exhausted() == LOST


def test_what_is_settled_stays_when_the_session_is_lost() -> None:
    ended, refused, closed = make(), make("bytes", ours=True), make("bytes", ours=True)
    ended.ended(END)
    refused.refused(Reason("refused", "closed"))  # its own end has not left yet
    closed.finish(END)
    closed.out_ended = True
    for stream in (ended, refused, closed):
        stream.lost(LOST, LOST)
    assert ended.exhausted() == END
    assert refused.out_reason == Reason("refused", "closed")
    assert closed.out_reason == END
    assert closed.in_reason == LOST


def test_a_sender_whose_end_was_not_confirmed_is_lost() -> None:
    stream = make(ours=True)
    stream.finish(END)
    stream.out_ended = True
    stream.lost(LOST, LOST)
    assert stream.out_reason == LOST


def test_a_refused_stream_pays_back_at_once() -> None:
    stream = make()
    notes = stream._mux
    assert isinstance(notes, Notes)
    stream.incoming.arrived(message(bytes(100_000))[:100], 1_000.0)
    assert notes.lent == 100_004 - 16_384
    stream.refuse(Reason("refused", "closed"))
    assert notes.lent == 0
