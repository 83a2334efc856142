"""How halves end, between two muxes (protocol section 6)."""

import pytest

from chanlink.channels.values import Kind
from chanlink.errors import END, Reason
from chanlink.limits import Limits
from chanlink.wire.h2 import frames
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .muxes import (
    KINDS,
    Look,
    Pair,
    Transcript,
    read_all,
    send,
    take,
    take_all,
)

WINDOW = Limits().stream_window


# --- last words (section 6) ---------------------------------------------------------------------


def test_an_end_comes_after_the_messages_and_is_confirmed(pair: Pair, channel: tuple[Stream, Stream]) -> None:
    sender, receiver = channel
    send(sender, b"1", b"2", b"3")
    sender.finish(END)
    pair.turn()
    assert receiver.exhausted() is None
    assert take_all(receiver) == [b"1", b"2", b"3"]
    assert receiver.exhausted() == END
    pair.turn()
    assert sender.outgoing.peer_taken == 3
    assert sender.out_reason == END
    pair.check_empty()


@pytest.mark.parametrize("bodies", [[], [b"1", b"2"]])
def test_a_failure_comes_after_the_messages(pair: Pair, channel: tuple[Stream, Stream], bodies: list[bytes]) -> None:
    sender, receiver = channel
    send(sender, *bodies)
    sender.finish(Reason("failed", "oops", "it wasn't me"))
    pair.turn()
    assert take_all(receiver) == bodies
    assert receiver.exhausted() == Reason("failed", "oops", "it wasn't me")
    pair.check_empty()


def test_a_failure_after_data_has_left_is_the_same(pair: Pair, channel: tuple[Stream, Stream]) -> None:
    sender, receiver = channel
    send(sender, b"1")
    pair.turn()
    sender.finish(Reason("failed", "oops"))
    pair.turn()
    assert take_all(receiver) == [b"1"]
    assert receiver.exhausted() == Reason("failed", "oops")
    pair.check_empty()


def test_an_idle_sender_learns_at_once_that_it_is_refused(pair: Pair, channel: tuple[Stream, Stream]) -> None:
    sender, receiver = channel
    told: list[str] = []
    sender.outgoing.belongs_to(Look(lambda: told.append("look")))
    receiver.refuse(Reason("refused", "closed", "no more, please"))
    pair.turn()
    assert sender.out_reason == Reason("refused", "closed", "no more, please")
    assert told
    pair.check_empty()


def test_refused_sender_drops_its_queue_and_ends_its_half() -> None:
    script = Transcript(client_side=True)
    sender = script.mux.open(Opening("receiver", service="service"))
    send(sender, bytes(100_000))
    assert [one[0] for one in script.heard()] == ["HEADERS", "DATA"]
    script.say(script.headers(1, {"taken": 0, "code": "busy", "text": ""}, end=True))
    assert script.heard() == [("DATA", 1, b"", "end")]
    assert sender.out_reason == Reason("refused", "busy")
    script.side.check_empty()


def test_a_refusal_reaches_a_sender_whose_messages_wait_for_credit(pair: Pair, channel: tuple[Stream, Stream]) -> None:
    sender, receiver = channel
    send(sender, b"taken", bytes(WINDOW), bytes(WINDOW))
    pair.turn()
    assert take(receiver) == b"taken"
    receiver.refuse(Reason("refused", "closed"))
    pair.turn()
    assert sender.out_reason == Reason("refused", "closed")
    assert sender.outgoing.peer_taken == 1
    assert sender.outgoing.queued == 0
    pair.check_empty()


def test_a_sender_that_has_ended_still_learns_that_it_was_refused(pair: Pair, channel: tuple[Stream, Stream]) -> None:
    sender, receiver = channel
    send(sender, b"1", b"2")
    sender.finish(END)
    pair.turn()
    assert take(receiver) == b"1"
    receiver.refuse(Reason("refused", "handler-failed"))
    pair.turn()
    assert sender.out_reason == Reason("refused", "handler-failed")
    assert sender.outgoing.peer_taken == 1
    pair.check_empty()


@pytest.mark.parametrize("fails", [False, True])
def test_an_end_and_a_refusal_that_cross_are_both_heard(
    pair: Pair, channel: tuple[Stream, Stream], fails: bool
) -> None:
    sender, receiver = channel
    send(sender, b"1")
    if fails:
        sender.finish(Reason("failed", "oops"))
    else:
        sender.finish(END)
    receiver.refuse(Reason("refused", "closed"))
    pair.turn()
    assert sender.out_reason == Reason("refused", "closed")
    assert receiver.exhausted() == Reason("refused", "closed")
    pair.check_empty()


def test_a_stream_opened_and_given_up_in_the_same_turn_is_over_on_both_sides(pair: Pair) -> None:
    for kind in KINDS:
        pair.client.mux.open(Opening(kind, service="service")).discard("not-taken")
    pair.turn()
    receiver, sender, both = pair.server.opened
    assert receiver.exhausted() == Reason("failed", "not-taken")
    assert sender.out_reason == Reason("refused", "not-taken")
    assert both.exhausted() == Reason("failed", "not-taken")
    assert both.out_reason == Reason("refused", "not-taken")
    both.finish(END)
    pair.check_empty()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_nobody_accepts_is_over_on_both_sides(pair: Pair, kind: Kind) -> None:
    ours, theirs = pair.open(kind)
    if ours.carries_out:
        send(ours, b"x")
    theirs.discard("no-such-service")
    pair.turn()
    if ours.carries_out:
        assert ours.out_reason == Reason("refused", "no-such-service")
    if ours.carries_in:
        assert ours.exhausted() == Reason("failed", "no-such-service")
    if ours.is_bytes:
        ours.finish(END)
    pair.check_empty()


def test_a_receiver_that_is_done_without_taking_everything_has_refused() -> None:
    """Whatever it calls it: a `flush` would wait for ever."""
    script = Transcript(client_side=True)
    sender = script.mux.open(Opening("receiver", service="service"))
    send(sender, b"1", b"2")
    sender.finish(END)
    script.answers()
    script.say(script.headers(1, {"taken": 1}, end=True))
    assert sender.out_reason == Reason("refused", "closed")
    script.side.check_empty()


def test_last_words_are_cut_to_what_the_protocol_allows(pair: Pair) -> None:
    sender, receiver = pair.channel()
    receiver.refuse(Reason("refused", "ä" * 100, "ö" * 2_000))
    pair.turn()
    reason = sender.out_reason
    assert reason is not None
    assert reason.code == "?" * 64
    assert reason.text == "ö" * 480


# --- byte streams -------------------------------------------------------------------------------


@pytest.mark.parametrize("by_server", [False, True])
def test_the_halves_of_a_byte_stream_end_each_by_itself(pair: Pair, by_server: bool) -> None:
    near, far = pair.open("bytes", by_server=by_server)
    near.outgoing.write(b"there")
    near.finish(END)
    pair.turn()
    assert read_all(far) == b"there"
    assert far.exhausted() == END
    far.outgoing.write(b"and back")
    far.finish(Reason("failed", "oops"))
    pair.turn()
    assert read_all(near) == b"and back"
    assert near.exhausted() == Reason("failed", "oops")
    pair.check_empty()


@pytest.mark.parametrize("ended", [False, True])
def test_stop_drops_what_is_queued_and_leaves_the_other_half_alone(pair: Pair, ended: bool) -> None:
    near, far = pair.open("bytes")
    if ended:
        near.finish(END)  # our own half; STOP is about the other one
    far.outgoing.write(bytes(3 * WINDOW))
    pair.turn()
    near.refuse(Reason("refused", "closed", "enough"))
    pair.turn()
    assert far.out_reason == Reason("refused", "closed", "enough")
    assert far.outgoing.queued == 0
    if not ended:
        near.outgoing.write(b"still")
        near.finish(END)
        pair.turn()
        assert read_all(far) == b"still"
    assert far.exhausted() == END
    pair.check_empty()


def test_stop_of_a_stream_that_was_opened_in_the_same_turn_follows_its_opening(pair: Pair) -> None:
    near = pair.client.mux.open(Opening("bytes", service="service"))
    near.outgoing.write(b"only this")
    near.finish(END)
    near.refuse(Reason("refused", "closed"))
    pair.turn()
    (far,) = pair.server.opened
    assert read_all(far) == b"only this"
    assert far.out_reason == Reason("refused", "closed")
    pair.check_empty()


def test_stop_after_the_peer_has_ended_says_nothing() -> None:
    script = Transcript()
    script.say(script.opening(1, "bytes"), script.data(1, b"abc", end=True))
    (stream,) = script.side.opened
    stream.refuse(Reason("refused", "closed"))
    stream.finish(END)
    assert script.heard() == [("HEADERS", 1, {"accepted": ""}), ("DATA", 1, b"", "end")]
    script.side.check_empty()


def test_stop_is_not_said_when_the_peer_ends_before_it_could_leave() -> None:
    script = Transcript()
    script.say(script.opening(1, "bytes"))
    (stream,) = script.side.opened
    stream.refuse(Reason("refused", "closed"))
    script.say(script.data(1, end=True))
    assert script.heard() == []


def test_a_stop_that_crosses_our_end_is_noted() -> None:
    script = Transcript(client_side=True)
    stream = script.mux.open(Opening("bytes", service="service"))
    stream.finish(END)
    script.answers()
    script.say(script.extension(frames.STOP, 1, b"\6closedwhy"))
    assert stream.out_reason == Reason("refused", "closed", "why")
    script.say(script.headers(1, {"accepted": ""}), script.data(1, end=True), script.extension(frames.STOP, 1, b"\0"))
    script.side.check_empty()


def test_both_sides_may_stop_both_halves_at_the_same_time(pair: Pair) -> None:
    near, far = pair.open("bytes")
    near.outgoing.write(bytes(WINDOW))
    far.outgoing.write(bytes(WINDOW))
    for stream in (near, far):
        stream.refuse(Reason("refused", "closed"))
        stream.finish(END)
    pair.check_empty()


def test_a_byte_stream_with_unread_bytes_gives_its_budget_back_when_they_are_read() -> None:
    pair = Pair()
    near, far = pair.open("bytes")
    far.finish(END)
    for _ in range(20):  # quick: the window grows
        near.outgoing.write(bytes(WINDOW))
        pair.turn()
        read_all(far)
    near.outgoing.write(bytes(WINDOW))
    near.finish(END)
    pair.turn()
    budget = pair.server.mux.limits.session_budget
    assert not pair.server.mux.streams
    assert pair.server.mux.credit.budget < budget
    read_all(far)
    assert pair.server.mux.credit.budget == budget
    pair.check_empty()
