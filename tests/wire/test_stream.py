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

from .muxes import Look, message, take

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
    assert stream.end() is None
    stream.outgoing.pull(100)
    assert stream.end() == []
    assert stream.end() is None  # said once


def test_the_first_last_words_stay() -> None:
    stream = make(ours=True)
    stream.finish(Reason("failed", "first"))
    stream.finish(END)
    assert stream.out_reason == Reason("failed", "first")
    assert stream.end() == [(b"code", b"first"), (b"text", b"")]


def test_the_first_refusal_stays() -> None:
    stream = make("bytes", ours=True)
    stream.peer_refused(Reason("refused", "first", "1"))
    stream.peer_refused(Reason("refused", "second", "2"))
    assert stream.out_reason == Reason("refused", "first", "1")


@given(st.text(), st.text(max_size=3_000))
@hypothesis.settings(deadline=None)
def test_last_words_fit_into_the_protocol(code: str, text: str) -> None:
    stream = make(ours=True)
    stream.finish(Reason("failed", code, text))
    words = dict(stream.end() or [])
    assert 1 <= len(words[b"code"].decode("ascii")) <= 64
    assert len(words[b"code"]) + len(words[b"text"]) <= MAX_WORDS
    words[b"text"].decode()


# --- what comes in ------------------------------------------------------------------------------


def test_an_end_inside_a_message_is_a_failure() -> None:
    stream = make()
    stream.incoming.arrived(message(b"first") + message(b"second")[:-1], 1_000.0)
    stream.peer_ended(END)
    assert stream.exhausted() is None
    assert take(stream) == b"first"
    reason = stream.exhausted()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "cut-short")
    assert take(stream) is None
    assert stream.end() == [(b"taken", b"1")]


def test_a_failure_inside_a_message_keeps_its_code() -> None:
    stream = make()
    stream.incoming.arrived(message(b"first")[:-1], 1_000.0)
    stream.peer_ended(Reason("failed", "oops"))
    assert stream.exhausted() == Reason("failed", "oops")
    assert stream.incoming.size == 0


@pytest.mark.parametrize("ended", [False, True])
def test_a_message_over_the_limit_is_refused_when_its_turn_comes(ended: bool) -> None:
    """Also when the end has arrived behind it."""
    stream = make(message_size=10)
    stream.incoming.arrived(message(bytes(10)) + message(bytes(11))[:8], 1_000.0)
    if ended:
        stream.peer_ended(END)
    assert stream.exhausted() is None
    assert take(stream) == bytes(10)
    assert take(stream) is None
    reason = stream.exhausted()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "too-large")
    assert stream.end() == [(b"taken", b"1"), (b"code", b"too-large"), (b"text", b"a message over the limit")]


def test_a_whole_message_over_the_limit_is_refused_too() -> None:
    stream = make(message_size=10)
    stream.incoming.arrived(message(bytes(11)), 1_000.0)
    assert take(stream) is None
    assert stream.exhausted() is not None


def test_a_last_message_that_is_none_refuses_the_channel_though_the_end_was_there() -> None:
    stream = make()
    stream.incoming.arrived(message(b"\xc1"), 1_000.0)
    stream.peer_ended(END)
    assert stream.incoming.next_message() is not None  # and the codec finds that it is none
    stream.reject("bad-message", "not a message")
    assert stream.exhausted() == Reason("failed", "bad-message", "not a message")
    assert stream.end() == [(b"taken", b"0"), (b"code", b"bad-message"), (b"text", b"not a message")]


def test_refusing_what_is_over_changes_nothing() -> None:
    stream = make()
    stream.peer_ended(END)
    stream.refuse(Reason("refused", "closed"))
    assert stream.exhausted() == END
    assert stream.end() == [(b"taken", b"0")]


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
    stream.peer_ended(END)
    assert stream.incoming.read(4) == b"abcd"
    assert stream.exhausted() is None
    assert stream.incoming.read(4) == b"ef"
    assert stream.exhausted() == END
    assert stream.incoming.read(4) == b""


def test_a_lost_stream_gives_what_arrived_and_then_the_reason() -> None:
    stream = make()
    stream.incoming.arrived(message(b"arrived") + b"\0", 1_000.0)
    stream.lose(LOST, LOST)
    assert take(stream) == b"arrived"
    assert take(stream) is None
    assert stream.exhausted() == LOST


def test_what_is_settled_stays_when_the_session_is_lost() -> None:
    ended, refused, closed = make(), make("bytes", ours=True), make("bytes", ours=True)
    ended.peer_ended(END)
    refused.peer_refused(Reason("refused", "closed"))  # its own end has not left yet
    closed.finish(END)
    assert closed.end() is not None
    for stream in (ended, refused, closed):
        stream.lose(LOST, LOST)
    assert ended.exhausted() == END
    assert refused.out_reason == Reason("refused", "closed")
    assert closed.out_reason == END
    assert closed.in_reason == LOST


def test_a_sender_whose_end_was_not_confirmed_is_lost() -> None:
    stream = make(ours=True)
    stream.finish(END)
    assert stream.end() is not None
    stream.lose(LOST, LOST)
    assert stream.out_reason == LOST


# --- what this side and the other one do to each half -------------------------------------------


def test_what_is_spoiled_fails_also_after_an_end_that_has_not_left() -> None:
    stream = make(ours=True)
    stream.outgoing.write(message(b"x"))
    stream.finish(END)
    stream.spoil(Reason("failed", "not-sent"))
    assert stream.out_reason == stream.our_reason == Reason("failed", "not-sent")
    stream.outgoing.pull(100)
    assert stream.end() == [(b"code", b"not-sent"), (b"text", b"")]
    stream.spoil(Reason("failed", "too-late"))
    assert stream.out_reason == Reason("failed", "not-sent")


@pytest.mark.parametrize("finished", [False, True])
def test_what_is_revoked_is_refused_here_and_failed_there(finished: bool) -> None:
    stream = make("bytes")
    looks: list[Reason | None] = []
    stream.outgoing.belongs_to(Look(lambda: looks.append(stream.out_reason)))
    stream.incoming.arrived(b"waits", 1_000.0)
    stream.outgoing.write(b"waits")
    if finished:
        stream.finish(END)
    stream.revoke("revoked", "why")
    refused, failed = Reason("refused", "revoked", "why"), Reason("failed", "revoked", "why")
    assert (stream.out_reason, stream.our_reason, stream.exhausted()) == (refused, failed, failed)
    assert (looks, stream.incoming.size, stream.outgoing.queued) == ([refused], 0, 0)
    assert stream.stop() == b"\7revokedwhy"
    assert stream.end() == [(b"code", b"revoked"), (b"text", b"why")]
    stream.revoke("revoked", "again")
    assert stream.end() is None


def test_a_receiver_that_has_taken_all_refuses_nothing_and_one_that_has_not_does() -> None:
    for sent, taken, refusal, reason in [
        (2, 2, None, END),
        (2, 1, None, Reason("refused", "closed")),
        (2, 2, Reason("refused", "busy"), Reason("refused", "busy")),
    ]:
        stream = make(ours=True)
        for _ in range(sent):
            stream.outgoing.write(message(b"x"))
        stream.finish(END)
        stream.outgoing.pull(1_000)
        assert stream.end() == []
        stream.outgoing.peer_took(taken)
        stream.receiver_ended(refusal)
        assert stream.out_reason == reason
        assert stream.in_ended


def test_a_receiver_that_ends_before_its_sender_refuses_the_rest() -> None:
    stream = make(ours=True)
    stream.receiver_ended(None)
    assert stream.out_reason == Reason("refused", "closed")
    assert stream.end() == []


def test_a_stop_is_made_once_and_not_for_what_has_ended_by_itself() -> None:
    one, other = make("bytes"), make("bytes")
    for stream in (one, other):
        stream.refuse(Reason("refused", "closed", "why"))
        assert stream.stop_due is not None
    other.peer_ended(END)
    assert (one.stop(), one.stop()) == (b"\6closedwhy", None)
    assert (other.stop(), other.stop_due) == (None, None)


@pytest.mark.parametrize("kind", ["receiver", "sender", "bytes"])
def test_whoever_leaves_keeps_what_arrived(kind: Kind) -> None:
    stream = make(kind)
    if stream.carries_in:
        stream.incoming.arrived(message(b"x"), 1_000.0)
    stream.give_up("gone", LOST)
    if stream.carries_in:
        assert stream.in_reason == LOST
        assert stream.exhausted() is None
        assert stream.incoming.size == 5
    if stream.carries_out:
        assert stream.out_reason == LOST
        assert stream.end() == [(b"code", b"gone"), (b"text", b"")]


def test_a_reader_of_bytes_is_gone_when_both_halves_are_over_and_not_before() -> None:
    stream, looks = make("bytes", ours=True), []
    stream.outgoing.belongs_to(Look(lambda: looks.append(stream.reader_gone)))
    assert stream.reader_gone is None
    stream.over()
    stream.over()
    assert looks == [Reason("refused", "closed")]
    channel = make(ours=True)
    channel.over()
    assert channel.reader_gone is None


def test_a_stream_is_accepted_once() -> None:
    stream = make()
    assert not stream.accepted
    stream.accept()
    assert stream.accepted
    assert make(ours=True).accepted


def test_nested_streams_come_by_the_service_of_their_parent_and_are_mentioned_once() -> None:
    notes = Notes()
    parent = Stream(notes, 1, Opening("receiver", "service"), ours=False)
    child = Stream(notes, 3, Opening("bytes", parent=1), ours=False)
    parent.nest(child)
    assert (child.service, child.root_service) == ("service", "service")
    assert parent.mentioned("receiver", 3) is None
    assert parent.mentioned("bytes", 5) is None
    assert parent.mentioned("bytes", 3) is child
    assert parent.mentioned("bytes", 3) is None


def test_a_refused_stream_pays_back_at_once() -> None:
    stream = make()
    notes = stream._mux
    assert isinstance(notes, Notes)
    stream.incoming.arrived(message(bytes(100_000))[:100], 1_000.0)
    assert notes.lent == 100_004 - 16_384
    stream.refuse(Reason("refused", "closed"))
    assert notes.lent == 0
