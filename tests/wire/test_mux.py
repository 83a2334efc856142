"""The multiplexer (protocol sections 4 to 7): two of them, and bytes passed between them in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.channels.values import Kind
from chanlink.errors import END, LimitReached, Reason, SessionClosed, SessionLost
from chanlink.limits import Limits
from chanlink.security.buffers import RECORDS
from chanlink.security.noise.cipher import AEGIS256, CHACHAPOLY
from chanlink.security.suites import Suite
from chanlink.wire.credit import CALM_BYTES, CALM_FOR
from chanlink.wire.h2 import frames
from chanlink.wire.h2.frames import FRAME_HEADER_SIZE
from chanlink.wire.mux import TURN_BYTES
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .muxes import (
    KINDS,
    Look,
    Pair,
    Transcript,
    byte_by_byte,
    frames_of,
    message,
    overdue_at,
    read_all,
    send,
    take,
    take_all,
    whole,
)

WINDOW = Limits().stream_window
CUTS = [pytest.param(whole, id="whole"), pytest.param(byte_by_byte, id="byte by byte")]


@pytest.fixture(params=CUTS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(cut=request.param)


# --- opening (protocol sections 4 and 5) --------------------------------------------------------


@pytest.mark.parametrize("by_server", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_either_side_opens_streams_of_each_kind(pair: Pair, kind: Kind, by_server: bool) -> None:
    ids = []
    for _ in range(3):
        ours, theirs = pair.open(kind, by_server=by_server)
        assert (theirs.kind, theirs.opening.service, theirs.parent, theirs.ours) == (kind, "service", None, False)
        assert theirs.carries_in == (kind != "sender")
        assert theirs.carries_out == (kind != "receiver")
        ids += [ours.id, theirs.id]
    assert ids == ([2, 2, 4, 4, 6, 6] if by_server else [1, 1, 3, 3, 5, 5])


def test_both_sides_open_at_the_same_time(pair: Pair) -> None:
    pair.client.mux.open(Opening("receiver", service="there"))
    pair.server.mux.open(Opening("receiver", service="here"))
    pair.turn()
    assert [stream.opening.service for stream in pair.server.opened] == ["there"]
    assert [stream.opening.service for stream in pair.client.opened] == ["here"]


def test_opening_says_nothing_but_what_the_protocol_has() -> None:
    script = Transcript(client_side=True)
    script.mux.open(Opening("receiver", service="ünï", capacity=0))
    script.mux.open(Opening("bytes", parent=1))
    assert script.heard() == [
        ("HEADERS", 1, {"kind": "receiver", "service": "ünï", "capacity": "0"}),
        ("HEADERS", 3, {"kind": "bytes", "parent": "1"}),
    ]


def test_the_settings_are_those_of_the_protocol() -> None:
    script = Transcript(client_side=True, greet=False)
    settings, window = script.answers()
    assert settings.settings == {2: 0, 3: 4_096, 4: 16_384, 5: 65_509, 6: 4_096}
    assert (window.stream_id, window.window_increment) == (0, 2**30 - 65_535)


def test_a_stream_is_opened_before_the_message_that_mentions_it() -> None:
    script = Transcript(client_side=True)
    parent = script.mux.open(Opening("receiver", service="service"))
    script.answers()
    parent.outgoing.write(message(b"first"))
    child = script.mux.open(Opening("sender", parent=parent.id))
    parent.outgoing.write(message(b"\xd4\1\0", ("sender", child.id)))
    assert [(one[0], one[1]) for one in script.heard()] == [("HEADERS", 3), ("DATA", 1)]


def test_a_stream_can_be_used_before_the_peer_knows_of_it(pair: Pair) -> None:
    stream = pair.client.mux.open(Opening("receiver", service="service"))
    send(stream, b"at once")
    stream.finish(END)
    pair.turn()
    assert take(pair.server.opened[0]) == b"at once"
    pair.check_empty()


def test_a_message_over_the_limit_of_channels_fails_before_anything_is_sent() -> None:
    pair = Pair(Limits(open_channels=3))
    for _ in range(3):
        pair.client.mux.open(Opening("receiver", service="service"))
    pair.turn()
    sent = pair.sent
    for attempt in (
        lambda: pair.client.mux.open(Opening("bytes", service="one more")),
        lambda: pair.client.mux.check_open(1),
    ):
        with pytest.raises(LimitReached) as caught:
            attempt()
        assert (caught.value.limit, caught.value.value) == ("open_channels", 3)
    pair.turn()
    assert pair.sent == sent
    pair.server.mux.open(Opening("receiver", service="the other way"))  # each side has its own
    pair.turn()


def test_a_slot_is_free_again_once_both_halves_are_over() -> None:
    pair = Pair(Limits(open_channels=1))
    for _ in range(10):
        sender, receiver = pair.channel()
        sender.finish(END)
        with pytest.raises(LimitReached):
            pair.client.mux.check_open(1)
        pair.turn()
        assert receiver.exhausted() == END
        pair.client.mux.check_open(1)


def test_many_more_streams_than_the_limit_in_one_chunk_are_no_error() -> None:
    """They end and begin in it, and are never more than the limit at a time."""
    limit = 8
    script = Transcript(Limits(open_channels=limit))
    script.say(*(script.opening(stream_id) for stream_id in range(1, 2 * limit, 2)))
    for stream in script.side.opened:
        stream.refuse(Reason("refused", "closed"))
    script.answers()
    chunk = []
    for stream_id in range(1, 2 * limit, 2):
        chunk += [script.data(stream_id, end=True), script.opening(2 * limit + stream_id)]
    script.say(*chunk)
    assert len(script.side.opened) == 2 * limit
    assert len(script.mux.streams) == limit


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_streams_leave_nothing_behind(kind: Kind) -> None:
    pair = Pair()
    for _ in range(10 if kind != "receiver" else 1_000):
        for _ in range(10):
            ours = pair.client.mux.open(Opening(kind, service="service"))
            if ours.carries_out:
                send(ours, b"x")
                ours.finish(END)
        pair.turn()
        for theirs in pair.server.opened:
            if theirs.carries_out:
                theirs.finish(END)
            if theirs.is_bytes:
                read_all(theirs)
            else:
                take_all(theirs)
        pair.server.opened.clear()
        pair.turn()
    pair.check_empty()


class NeverWalked(dict[Any, Any]):
    def __iter__(self) -> Any:
        raise AssertionError("a walk over all streams")

    values = items = __iter__  # type: ignore[assignment]


def test_opening_and_ending_walk_over_nothing() -> None:
    """So that they cost the same with 10 streams open and with 4,000."""
    pair = Pair()
    for side in (pair.client, pair.server):
        side.mux.streams = NeverWalked()
        side.mux._h2.streams = NeverWalked()
    for _ in range(10):
        sender, receiver = pair.channel()
        send(sender, b"x")
        sender.finish(END)
        pair.turn()
        assert take(receiver) == b"x"
    pair.turn()
    assert not pair.client.mux.streams


# --- last words (section 6) ---------------------------------------------------------------------

CHANNELS: list[Any] = [
    pytest.param({"kind": "receiver"}, id="the opener sends"),
    pytest.param({"kind": "sender"}, id="the acceptor sends"),
    pytest.param({"kind": "receiver", "by_server": True}, id="the server opens and sends"),
    pytest.param({"kind": "sender", "by_server": True}, id="the server opens, the client sends"),
]


@pytest.fixture(params=CHANNELS)
def channel(pair: Pair, request: pytest.FixtureRequest) -> tuple[Stream, Stream]:
    return pair.channel(**request.param)


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


# --- credit (section 7) -------------------------------------------------------------------------


def test_credit_returns_when_something_is_taken_and_not_before() -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    bodies = 0
    while sender.outgoing.can_write():
        send(sender, bytes(1_020))
        bodies += 1
    for _ in range(3):
        pair.turn()
        pair.now += 10
    assert bodies == 16
    assert not sender.outgoing.can_write()
    for _ in range(7):
        assert take(receiver) is not None
    pair.turn()
    assert not sender.outgoing.can_write()
    assert take(receiver) is not None  # half of the window
    pair.turn()
    assert sender.outgoing.credit == WINDOW // 2


def test_data_beyond_the_window_ends_the_connection() -> None:
    script = Transcript()
    script.say(script.opening(1), script.data(1, bytes(WINDOW)))
    script.refused(script.data(1, b"x"))


@pytest.mark.parametrize("size", [20_000, 1024 * 1024, 4 * 1024 * 1024])
def test_a_message_longer_than_the_window_arrives(size: int) -> None:
    pair = Pair(Limits(message_size=4 * 1024 * 1024))
    sender, receiver = pair.channel()
    body = bytes(range(256)) * (size // 256)
    send(sender, body)
    assert not sender.outgoing.can_write()
    pair.turn()
    assert take(receiver) == body
    sender.finish(END)
    pair.check_empty()


def test_long_messages_arrive_though_the_budget_is_too_small_for_all_at_a_time() -> None:
    mib = 1024 * 1024
    pair = Pair(Limits(session_budget=5 * mib, message_size=4 * mib))
    channels = [pair.channel() for _ in range(12)]
    sizes = [mib, 4 * mib, 3 * mib, 20_000]
    for index, (sender, _) in enumerate(channels):
        for step in range(3):
            send(sender, bytes(sizes[(index + step) % 4]))
        sender.finish(END)
    got = [0] * len(channels)
    for _ in range(100):
        pair.turn()
        assert pair.server.mux.credit.budget >= 0
        for index, (_, receiver) in enumerate(channels):
            if take(receiver) is not None:
                got[index] += 1
        if got == [3] * len(channels):
            break
    assert got == [3] * len(channels)
    pair.check_empty()


def test_a_message_over_the_whole_budget_arrives_when_nothing_else_is_lent() -> None:
    pair = Pair(Limits(session_budget=50_000))
    channels = [pair.channel() for _ in range(4)]
    for sender, _ in channels:
        send(sender, bytes(300_000))
        sender.finish(END)
    for _ in range(20):
        pair.turn()
        for _, receiver in channels:
            take(receiver)
    assert [receiver.incoming.taken_count for _, receiver in channels] == [1] * 4
    pair.check_empty()


def test_who_borrows_first_is_served_first_and_a_refused_one_steps_aside() -> None:
    pair = Pair(Limits(session_budget=500_000))
    (first, one), (second, two), (third, three) = (pair.channel() for _ in range(3))
    for sender in (first, second, third):
        send(sender, bytes(400_000))
        pair.turn()
    assert [stream.incoming.size for stream in (one, two, three)] == [400_004, WINDOW, WINDOW]
    two.refuse(Reason("refused", "closed"))
    assert take(one) is not None
    pair.turn()
    assert three.incoming.size == 400_004
    assert second.out_reason == Reason("refused", "closed")


@pytest.mark.parametrize("small", [1, 96, 4_000, 8_180])
@pytest.mark.parametrize("size", [8_189, 8_192, 8_200, 12_000, 16_379, 16_380, 16_384])
def test_less_than_half_a_window_that_was_taken_does_not_keep_the_next_message_waiting(small: int, size: int) -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    for round_ in range(6):
        pair.now += 10  # too slow for windows to grow
        send(sender, bytes(small), bytes(size))
        pair.turn()
        assert take(receiver) == bytes(small)
        pair.turn()
        assert take(receiver) == bytes(size), round_
        pair.turn()
    assert receiver.incoming.window.size == WINDOW
    sender.finish(END)
    pair.check_empty()


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=30), st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_messages_of_any_size_arrive_in_order_as_long_as_the_application_takes(
    sizes: list[int], data: st.DataObject
) -> None:
    pair = Pair(Limits(stream_window=1_024, session_budget=60_000))
    channels = [pair.channel() for _ in range(3)]
    queued: list[list[bytes]] = [[], [], []]
    got: list[list[bytes]] = [[], [], []]
    for number, size in enumerate(sizes):
        queued[number % 3].append(bytes([number]) * size)
    plan = [list(one) for one in queued]
    for _ in range(20 * len(sizes) + 20):
        for (sender, _), waiting in zip(channels, plan, strict=True):
            while waiting and sender.outgoing.can_write():
                send(sender, waiting.pop(0))
        pair.turn()
        readers = data.draw(st.sampled_from([[0, 1, 2], [0], [1, 2]])) if any(plan) else [0, 1, 2]
        for index in readers:
            if (body := take(channels[index][1])) is not None:
                got[index].append(body)
    assert got == queued
    for sender, _ in channels:
        sender.finish(END)
    pair.check_empty()


def pump(pair: Pair, near: Stream, far: Stream, turns: int, piece: int, *, seconds: float = 0.0) -> None:
    for _ in range(turns):
        while near.outgoing.can_write():
            near.outgoing.write(bytes(piece))
        pair.turn()
        read_all(far)
        pair.now += seconds


def pump_out(pair: Pair, far: Stream) -> None:
    """All that is under way is read, and the credit for it comes."""
    pair.turn()
    read_all(far)
    pair.turn()


def test_a_window_grows_with_what_is_read_quickly_up_to_its_bound() -> None:
    pair = Pair(Limits(stream_window_max=256 * 1024))
    near, far = pair.open("bytes")
    widths = set()
    for _ in range(30):
        pump(pair, near, far, 1, 4_096)
        widths.add(far.incoming.window.size)
    assert max(widths) == 256 * 1024
    assert pair.server.mux.credit.budget == Limits().session_budget - 256 * 1024 + WINDOW
    near.finish(END)
    far.finish(END)
    pair.check_empty()


def test_a_window_does_not_grow_for_a_slow_reader_nor_for_one_that_never_reads() -> None:
    pair = Pair()
    near, far = pair.open("bytes")
    pump(pair, near, far, 10, 4_096, seconds=0.1)
    assert far.incoming.window.size == WINDOW
    sender, receiver = pair.channel()
    send(sender, bytes(100_000))
    pair.turn()
    assert (receiver.incoming.window.size, receiver.incoming.size) == (WINDOW, 100_004)


def test_a_long_round_trip_lets_windows_grow() -> None:
    pair = Pair()
    pair.server.mux.credit.round_trip = 0.2
    near, far = pair.open("bytes")
    pump(pair, near, far, 10, 4_096, seconds=0.1)
    assert far.incoming.window.size > WINDOW


def test_the_shortest_round_trip_counts_and_growth_measures_it() -> None:
    pair = Pair()
    _, far = pair.open("bytes")
    pair.server.mux.credit.measured(5.0)
    far.incoming.window.unreturned = WINDOW // 2
    pair.server.mux.credit_due(far)
    frames_of(pair.server.mux, pair.now)  # credit, and a PING
    answer = frames.FRAME_HEADER.pack(0, 8, 6, 1, 0) + b"measured"
    pair.server.mux.receive_data(answer, pair.now + 0.25)
    assert pair.server.mux.credit.round_trip == 0.25
    pair.server.mux.credit.measured(5.0)
    assert pair.server.mux.credit.round_trip == 0.25


def test_windows_grow_in_longer_steps_over_a_long_way() -> None:
    steps = []
    for round_trip in (0.001, 0.1):
        pair = Pair()
        pair.server.mux.credit.round_trip = round_trip
        near, far = pair.open("bytes")
        pump(pair, near, far, 2, 4_096)
        steps.append(far.incoming.window.size // WINDOW)
    assert steps == [2, 8]


def test_a_byte_stream_gets_little_credit_while_others_exchange_messages() -> None:
    pair = Pair()
    near, far = pair.open("bytes")
    while far.incoming.window.size < 1024 * 1024:
        pump(pair, near, far, 1, 64_000)
    assert near.outgoing.credit > CALM_BYTES
    sender, receiver = pair.channel()
    send(sender, b"talk")
    pair.turn()
    assert take(receiver) == b"talk"
    for _ in range(40):
        pump(pair, near, far, 1, 64_000)
    assert 0 < near.outgoing.credit <= CALM_BYTES
    pair.now += CALM_FOR
    pump(pair, near, far, 2, 64_000)
    assert near.outgoing.credit > CALM_BYTES


@pytest.mark.parametrize(("round_trip", "times"), [(0.001, 1), (0.1, 10)])
def test_a_window_grows_while_others_exchange_messages_by_as_much_as_the_way_is_long(
    round_trip: float, times: int
) -> None:
    pair = Pair()
    pair.server.mux.credit.round_trip = round_trip
    pair.server.mux.credit._measuring = True  # it would find that there is no way at all
    near, far = pair.open("bytes")
    sender, receiver = pair.channel()
    for _ in range(60):
        send(sender, b"talk")
        pair.turn()
        assert take(receiver) == b"talk"
        pump(pair, near, far, 1, 64_000)
    while near.outgoing.queued:
        pump_out(pair, far)
    pump_out(pair, far)
    assert times * CALM_BYTES // 2 <= near.outgoing.credit <= times * CALM_BYTES


def test_of_pings_that_measure_one_is_under_way_at_a_time() -> None:
    """Else the answer to the first one would be taken for a quick answer to the second one."""
    pair = Pair()
    _, far = pair.open("bytes")
    server = pair.server.mux
    server.credit.measured(3.0)
    answer = frames.FRAME_HEADER.pack(0, 8, 6, 1, 0) + b"measured"
    for seconds in (0, 1.1, 2.2):
        far.incoming.window.unreturned = far.incoming.window.size // 2
        server.credit_due(far)
        assert (b"measured" in frames_of(server, pair.now + seconds)) is (seconds == 0)
    server.receive_data(answer, pair.now + 2.5)
    assert server.credit.round_trip == 2.5
    server.receive_data(answer, pair.now + 2.6)  # one that was not asked for
    assert server.credit.round_trip == 2.5


def test_a_round_trip_that_no_handshake_has_measured_is_measured() -> None:
    pair = Pair()
    near, far = pair.open("bytes")
    assert pair.server.mux.credit.round_trip == 0
    near.outgoing.write(bytes(WINDOW))
    pair.turn()
    pair.now += 0.1  # what comes is never quick, as long as nobody knows that the way is long
    read_all(far)
    assert b"measured" in frames_of(pair.server.mux, pair.now)


def test_growth_leaves_as_much_of_the_budget_as_a_message_may_need() -> None:
    limits = Limits(session_budget=1024 * 1024, message_size=600 * 1024)
    pair = Pair(limits)
    streams = [pair.open("bytes") for _ in range(5)]
    for _ in range(20):
        for near, far in streams:
            pump(pair, near, far, 1, 4_096)
    grown = sum(far.incoming.window.size - WINDOW for _, far in streams)
    assert grown == 424 * 1024
    assert pair.server.mux.credit.budget == limits.session_budget - grown
    sender, receiver = pair.channel()
    send(sender, bytes(limits.message_size))
    pair.turn()
    assert take(receiver) == bytes(limits.message_size)


def test_the_memory_of_all_windows_together_is_bounded() -> None:
    """Channels x window + budget, however quickly the application takes, and whatever the peer has to say."""
    budget, count = 1024 * 1024, 50
    pair = Pair(Limits(session_budget=budget, message_size=100_000))
    streams = [pair.open("bytes") for _ in range(count // 2)] + [pair.channel() for _ in range(count // 2)]
    for turn in range(60):
        for near, far in streams:
            while near.outgoing.can_write():
                send(near, bytes(30_000))
            if turn < 40:  # after that nobody takes anything any more
                read_all(far) if far.is_bytes else take_all(far)
        pair.turn()
        assert sum(far.incoming.size for _, far in streams) <= count * WINDOW + budget
    assert sum(far.incoming.size for _, far in streams) > count * WINDOW  # they have grown


def test_a_channel_that_nobody_reads_slows_no_other() -> None:
    pair = Pair()
    stuck = [pair.channel()[0] for _ in range(10)]
    for sender in stuck:
        while sender.outgoing.can_write():
            send(sender, bytes(1_000))
    sender, receiver = pair.channel()
    for _ in range(200):
        send(sender, bytes(1_000))
        pair.turn()
        assert take(receiver) == bytes(1_000)


def test_the_first_turn_waits_for_the_window_of_the_connection() -> None:
    """It is 65,535 until the peer's first frames are there."""
    pair = Pair(start=False)
    streams = [pair.client.mux.open(Opening("bytes", service="service")) for _ in range(10)]
    for stream in streams:
        stream.outgoing.write(bytes(WINDOW))
    data = b""
    while more := frames_of(pair.client.mux, pair.now):
        data += more
    assert 65_535 < len(data) < 67_000
    pair.server.mux.receive_data(data, pair.now)
    pair.turn()
    assert [stream.incoming.size for stream in pair.server.opened] == [WINDOW] * 10


def test_more_than_the_window_of_the_connection_gets_through() -> None:
    pair = Pair(Limits(stream_window=2**20))
    for side in (pair.client, pair.server):  # as if 1 GiB less 2 MiB had been sent already
        side.mux._h2.outbound_flow_control_window -= 2**30 - 2**21
        side.mux._h2._inbound_flow_control_window_manager.current_window_size -= 2**30 - 2**21
    near, far = pair.open("bytes")
    for _ in range(5):
        for _ in range(16):
            near.outgoing.write(bytes(2**16))
        pair.turn()
        assert len(read_all(far)) == 2**20


# --- taking turns -------------------------------------------------------------------------------


def test_bulk_and_small_messages_take_turns() -> None:
    script = Transcript(Limits(stream_window=2**24), client_side=True)
    script.say(script.window(0, 2**29))
    bulk = [script.mux.open(Opening("bytes", service="bulk")) for _ in range(2)]
    small = script.mux.open(Opening("receiver", service="small"))
    for _ in range(20):
        for stream in bulk:
            stream.outgoing.write(bytes(65_509))
    frames_of(script.mux, 0.0)
    for _ in range(10):
        send(small, b"x")
        data = frames_of(script.mux, 0.0)
        assert len(data) <= TURN_BYTES + frames.MAX_FRAME_SIZE + 1_000
        assert message(b"x") in data
    assert abs(bulk[0].outgoing.queued - bulk[1].outgoing.queued) <= 65_509


def test_a_turn_of_bulk_is_as_many_records_as_leave_at_a_time_whatever_the_suite() -> None:
    script = Transcript(Limits(stream_window=2**24), client_side=True)
    script.say(script.window(0, 2**29))
    stream = script.mux.open(Opening("bytes", service="bulk"))
    for _ in range(20):
        stream.outgoing.write(bytes(65_536))
    frames_of(script.mux, 0.0)
    longest = frames_of(script.mux, 0.0)
    assert len(longest) >= TURN_BYTES
    assert len(longest) == RECORDS * (frames.FULL + FRAME_HEADER_SIZE)
    for cipher in (CHACHAPOLY, AEGIS256):
        assert Suite("", cipher).max_body >= frames.FULL + FRAME_HEADER_SIZE


def test_what_was_queued_since_the_last_turn_goes_into_one_frame() -> None:
    script = Transcript(client_side=True)
    sender = script.mux.open(Opening("receiver", service="service"))
    script.answers()
    send(sender, *[b"x"] * 100)
    assert script.heard() == [("DATA", 1, message(b"x") * 100)]


def test_thousands_of_streams_that_wait_for_credit_do_not_stop_the_others() -> None:
    pair = Pair(Limits(open_channels=10_000))
    blocked = [pair.client.mux.open(Opening("receiver", service="blocked")) for _ in range(5_000)]
    for stream in blocked:
        send(stream, bytes(WINDOW - 4))
    pair.turn()
    sender, receiver = pair.channel()
    for stream in blocked:
        stream.outgoing.write(message(b"overdraft"))  # as a backlog does
    send(sender, b"x")
    pair.turn()
    assert take(receiver) == b"x"


def test_a_writer_is_woken_for_everything_that_it_has_to_say() -> None:
    pair = Pair()
    side = pair.client

    def wakes(act: Callable[[], object]) -> bool:
        pair.turn()
        before = side.wakes
        act()
        return side.wakes > before

    sender, _ = pair.channel()
    near, far = pair.open("bytes", by_server=True)
    near.outgoing.write(bytes(WINDOW))
    assert wakes(lambda: send(sender, b"x"))
    assert wakes(lambda: read_all(far))
    assert wakes(lambda: side.mux.open(Opening("bytes", service="service")))
    assert wakes(lambda: side.mux.ping(bytes(8)))
    assert wakes(lambda: far.refuse(Reason("refused", "closed")))
    assert wakes(lambda: sender.finish(END))
    assert wakes(side.mux.drain)


def test_output_is_left_as_long_as_something_accepted_has_not_gone() -> None:
    pair = Pair()
    assert not pair.client.mux.has_output()
    sender = pair.client.mux.open(Opening("receiver", service="service"))
    assert pair.client.mux.has_output()
    send(sender, bytes(WINDOW), b"x")
    pair.turn()
    assert pair.client.mux.has_output()  # for want of credit
    take(pair.server.opened[0])
    pair.turn()
    assert not pair.client.mux.has_output()


# --- TAKEN --------------------------------------------------------------------------------------


def test_a_capacity_bounds_what_is_under_way_and_each_take_is_told(pair: Pair) -> None:
    for capacity in (0, 1, 3):
        sender, receiver = pair.channel(capacity=capacity)
        for number in range(10):
            while sender.outgoing.can_write():
                send(sender, b"x")
            pair.turn()
            assert sender.outgoing.sent - sender.outgoing.peer_taken == max(capacity, 1)
            assert take(receiver) == b"x"
            pair.turn()
            assert sender.outgoing.peer_taken == number + 1


def taken_frames(script: Transcript) -> list[Any]:
    return [one[2] for one in script.heard() if one[0] == "TAKEN"]


def test_taken_is_said_when_the_inbox_is_empty_or_half_a_window_was_taken() -> None:
    script = Transcript()
    script.say(script.opening(1), script.data(1, message(bytes(1_000)) * 16))
    (receiver,) = script.side.opened
    said = []
    for _ in range(16):
        assert take(receiver) is not None
        said += taken_frames(script)
    assert said == [9, 16]


def test_taken_is_said_once_a_turn() -> None:
    script = Transcript()
    script.say(script.opening(1, service="service", capacity=10), script.data(1, message(b"x") * 10))
    (receiver,) = script.side.opened
    assert len(take_all(receiver)) == 10
    assert taken_frames(script) == [10]


def test_what_is_taken_after_the_end_is_still_told() -> None:
    """A session may be lost before the last message is taken; then the sender knows at least so much."""
    pair = Pair()
    sender, receiver = pair.channel(capacity=5)
    send(sender, b"1", b"2", b"3")
    sender.finish(END)
    pair.turn()
    assert take(receiver) == b"1"
    pair.turn()
    assert sender.outgoing.peer_taken == 1
    lost = SessionClosed()
    pair.client.mux.lose(lost)
    assert sender.out_reason is not None
    error = sender.out_reason.error(sender.outgoing.peer_taken)
    assert isinstance(error, SessionLost)
    assert error.taken == 1


def test_a_taken_count_that_falls_or_lies_changes_nothing() -> None:
    script = Transcript(client_side=True)
    sender = script.mux.open(Opening("receiver", service="service"))
    send(sender, b"1", b"2", b"3")
    script.answers()
    for count, known in ((2, 2), (1, 2), (0, 2), (2**64 - 1, 2), (4, 2), (3, 3)):
        script.say(script.taken(1, count))
        assert sender.outgoing.peer_taken == known


# --- DRAIN --------------------------------------------------------------------------------------


def test_a_draining_side_serves_what_is_open_and_nothing_new(pair: Pair) -> None:
    sender, receiver = pair.channel()
    pair.server.mux.drain()
    crossing = pair.client.mux.open(Opening("receiver", service="it crosses the DRAIN"))
    send(crossing, b"x")
    pair.turn()
    assert crossing.out_reason == Reason("refused", "draining", "the session is being closed")
    assert len(pair.server.opened) == 1
    with pytest.raises(SessionClosed) as caught:
        pair.client.mux.open(Opening("receiver", service="late"))
    assert caught.value.code == "draining"
    send(sender, b"goes on")
    sender.finish(END)
    pair.turn()
    assert take_all(receiver) == [b"goes on"]
    back, _ = pair.open("receiver", by_server=True)  # the client did not drain
    back.discard("not-taken")
    pair.server.mux.drain()
    pair.check_empty()


# --- PING ---------------------------------------------------------------------------------------


def test_a_ping_comes_back(pair: Pair) -> None:
    pair.client.mux.ping(b"12345678")
    pair.server.mux.ping(b"abcdefgh")
    pair.turn()
    assert pair.client.pongs == [b"12345678"]
    assert pair.server.pongs == [b"abcdefgh"]


# --- nested streams (section 5) -----------------------------------------------------------------


def nest(pair: Pair, kind: Kind = "bytes", **options: Any) -> tuple[Stream, Stream, Stream, Stream]:
    """A channel, and a stream that was opened for a message of it: the opener's and the acceptor's side of both."""
    sender, receiver = pair.channel()
    child = pair.client.mux.open(Opening(kind, parent=sender.id, **options))
    pair.turn()
    return sender, receiver, child, pair.server.mux.streams[child.id]


@pytest.mark.parametrize("kind", KINDS)
def test_a_nested_stream_is_claimed_once_with_its_kind_and_by_its_parent(pair: Pair, kind: Kind) -> None:
    _, receiver, child, far = nest(pair, kind)
    _, stranger = pair.channel()
    mux = pair.server.mux
    assert mux.claim(stranger, kind, child.id) is None
    assert mux.claim(receiver, KINDS[KINDS.index(kind) - 1], child.id) is None
    assert mux.claim(receiver, kind, child.id + 2) is None
    assert mux.claim(receiver, kind, receiver.id) is None
    assert mux.claim(receiver, kind, child.id) is far
    assert mux.claim(receiver, kind, child.id) is None
    assert len(pair.server.opened) == 2  # nobody was told of the nested one


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_whose_parent_ends_without_mentioning_it_is_not_taken(pair: Pair, kind: Kind) -> None:
    sender, receiver, child, _ = nest(pair, kind)
    send(sender, b"x")
    sender.finish(END)
    pair.turn()
    assert child.out_reason is None
    assert take_all(receiver) == [b"x"]
    pair.turn()
    check_not_taken(child, "no message mentioned it")
    pair.check_empty()


def check_not_taken(child: Stream, text: str) -> None:
    if child.carries_out:
        assert child.out_reason == Reason("refused", "not-taken", text)
    if child.carries_in:
        assert child.exhausted() == Reason("failed", "not-taken", text)
    if child.is_bytes:
        child.finish(END)


def test_a_child_of_a_refused_parent_is_not_taken(pair: Pair) -> None:
    sender, receiver, child, _ = nest(pair)
    sender.outgoing.write(message(b"\xd4\1\0", ("bytes", child.id)))
    pair.turn()
    receiver.refuse(Reason("refused", "tired", "of this"))
    pair.turn()
    check_not_taken(child, "tired: of this")
    sender.finish(END)
    pair.check_empty()


def test_a_child_that_comes_after_its_parent_is_over_is_not_taken(pair: Pair) -> None:
    sender, receiver = pair.channel()
    receiver.refuse(Reason("refused", "closed"))
    child = pair.client.mux.open(Opening("bytes", parent=sender.id))
    pair.turn()
    check_not_taken(child, "closed")
    for parent in (sender.id, 99, pair.open("bytes")[0].id, pair.channel(kind="sender")[0].id):
        child = pair.client.mux.open(Opening("bytes", parent=parent))
        pair.turn()
        check_not_taken(child, "no message mentioned it")


def test_a_child_that_no_message_mentions_is_not_taken_after_its_time() -> None:
    pair = Pair()
    _, _, child, _ = nest(pair)
    pair.now += 9.9
    pair.server.mux.tick(overdue_at(pair.now))
    pair.turn()
    assert child.out_reason is None
    pair.now += 0.1
    pair.server.mux.tick(overdue_at(pair.now))
    pair.turn()
    check_not_taken(child, "no message mentioned it within 10 s")
    pair.turn()
    assert child.id not in pair.client.mux.streams


def test_a_message_that_mentions_a_child_too_late_holds_an_end_that_is_over() -> None:
    """A slow connection is no reason to refuse the message as well."""
    pair = Pair()
    sender, receiver, child, far = nest(pair)
    pair.now += 10
    pair.server.mux.tick(overdue_at(pair.now))
    sender.outgoing.write(message(b"\xd4\1\0", ("bytes", child.id)))
    pair.turn()
    assert receiver.incoming.next_message() is not None
    assert pair.server.mux.claim(receiver, "bytes", child.id) is far
    assert far.exhausted() == Reason("refused", "not-taken", "no message mentioned it within 10 s")


def test_a_child_waits_as_long_as_its_message_may_still_wait() -> None:
    """Behind others, or for credit that has just left for the sender."""
    pair = Pair()
    sender, receiver = pair.channel()
    while sender.outgoing.can_write():
        send(sender, bytes(1_020))
    child = pair.client.mux.open(Opening("bytes", parent=sender.id))
    sender.outgoing.write(message(b"\xd4\1\0", ("bytes", child.id)))
    pair.turn()
    pair.now += 60
    pair.server.mux.tick(overdue_at(pair.now))
    take_all(receiver)
    assert not receiver.incoming.size
    pair.carry(pair.server, pair.client)  # credit; the message is on its way
    pair.now += 0.1
    pair.server.mux.tick(overdue_at(pair.now))
    pair.turn()
    assert receiver.incoming.next_message() is not None
    assert pair.server.mux.claim(receiver, "bytes", child.id) is not None
    assert child.out_reason is None


def test_a_child_of_a_child_that_was_not_taken_is_not_taken() -> None:
    pair = Pair()
    sender, _ = pair.channel()
    child = pair.client.mux.open(Opening("receiver", parent=sender.id))
    grandchild = pair.client.mux.open(Opening("bytes", parent=child.id))
    child.outgoing.write(message(b"\xd4\1\0", ("bytes", grandchild.id)))
    pair.turn()
    pair.now += 10
    pair.server.mux.tick(overdue_at(pair.now))
    pair.turn()
    for one in (child, grandchild):
        check_not_taken(one, "no message mentioned it within 10 s")


def test_an_end_that_was_over_before_it_was_mentioned_arrives_so(pair: Pair) -> None:
    sender, receiver = pair.channel()
    child = pair.client.mux.open(Opening("bytes", parent=sender.id))
    child.outgoing.write(b"all of it")
    child.finish(END)
    child.refuse(Reason("refused", "closed"))
    pair.turn()
    sender.outgoing.write(message(b"\xd4\1\0", ("bytes", child.id)))
    pair.turn()
    assert receiver.incoming.next_message() is not None
    far = pair.server.mux.claim(receiver, "bytes", child.id)
    assert far is not None
    receiver.incoming.took_message(8)
    assert read_all(far) == b"all of it"
    assert far.exhausted() == END
    assert far.out_reason == Reason("refused", "closed")
    sender.finish(END)
    pair.check_empty()


def test_streams_that_wait_to_be_mentioned_are_among_the_open_ones() -> None:
    """Also when the opener has ended them: else their inboxes had no bound."""
    pair = Pair(Limits(open_channels=10))
    sender, receiver = pair.channel()
    for _ in range(9):
        child = pair.client.mux.open(Opening("bytes", parent=sender.id))
        child.outgoing.write(bytes(WINDOW))
        child.finish(END)
        child.refuse(Reason("refused", "closed"))
        pair.turn()
    with pytest.raises(LimitReached):
        pair.client.mux.check_open(1)
    assert not pair.server.mux.has_output()  # what they keep for themselves holds up no closing
    receiver.refuse(Reason("refused", "closed"))
    sender.finish(END)
    pair.check_empty()


# --- what stalls --------------------------------------------------------------------------------


def test_a_part_of_a_message_that_makes_no_progress_fails_its_channel() -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    sender.outgoing.write(message(b"first") + message(bytes(100))[:50])
    pair.turn()
    assert take(receiver) == b"first"
    pair.now += 29
    pair.server.mux.tick(overdue_at(pair.now))
    assert receiver.exhausted() is None
    pair.now += 1
    pair.server.mux.tick(overdue_at(pair.now))
    reason = receiver.exhausted()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "too-slow")
    pair.turn()
    assert sender.out_reason == Reason("refused", "too-slow", "a message made no progress")
    pair.check_empty()


def test_a_message_that_waited_for_our_credit_has_its_time_from_then_on() -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    send(sender, bytes(10_000), bytes(12_000))
    pair.turn()
    pair.now += 60  # the application takes its time
    pair.server.mux.tick(overdue_at(pair.now))
    assert take(receiver) == bytes(10_000)
    assert take(receiver) is None
    pair.carry(pair.server, pair.client)
    pair.server.mux.tick(overdue_at(pair.now))
    assert receiver.exhausted() is None
    pair.turn()
    assert take(receiver) == bytes(12_000)


@pytest.mark.parametrize("waiting", [b"", message(b"whole")])
def test_what_waits_for_the_application_never_stalls(waiting: bytes) -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    sender.outgoing.write(waiting)
    near, far = pair.open("bytes")
    near.outgoing.write(b"x")
    pair.turn()
    pair.now += 1_000
    pair.server.mux.tick(overdue_at(pair.now))
    assert receiver.exhausted() is None
    assert far.exhausted() is None


# --- the end of the session ---------------------------------------------------------------------


def test_every_end_that_is_not_settled_is_lost_with_its_session() -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    near, far = pair.open("bytes")
    settled, done = pair.channel()
    refused, refuser = pair.channel()
    nested = pair.client.mux.open(Opening("receiver", parent=sender.id))
    send(sender, b"1", b"2")
    near.outgoing.write(b"abc")
    settled.finish(END)
    refuser.refuse(Reason("refused", "closed"))
    pair.turn()
    send(sender, b"it never leaves")
    told: list[Stream] = []
    for stream in (sender, receiver, near, far, nested):
        look = Look(partial(told.append, stream))
        if stream.carries_in:
            stream.incoming.belongs_to(look)
        if stream.carries_out:
            stream.outgoing.belongs_to(look)
    cause = SessionClosed("gone")
    lost = Reason("lost", cause=cause)
    pair.client.mux.lose(cause)
    pair.server.mux.lose(cause)
    assert [sender.out_reason, near.out_reason, near.in_reason, far.out_reason, nested.out_reason] == [lost] * 5
    assert set(told) == {sender, receiver, near, far, nested}
    assert take_all(receiver) == [b"1", b"2"]
    assert receiver.exhausted() == lost
    assert far.exhausted() is None
    assert read_all(far) == b"abc"
    assert far.exhausted() == lost
    assert (settled.out_reason, done.exhausted()) == (END, END)
    assert refused.out_reason == refuser.exhausted() == Reason("refused", "closed")
    for side in (pair.client, pair.server):
        assert not side.mux.streams
        assert not side.mux._credit_due
        assert side.mux.credit.budget == Limits().session_budget
        assert frames_of(side.mux, pair.now) == b""
        with pytest.raises(SessionClosed):
            side.mux.open(Opening("bytes", service="late"))


def test_an_end_in_a_message_that_arrived_can_be_taken_after_the_session_and_is_lost(pair: Pair) -> None:
    sender, receiver = pair.channel()
    child = pair.client.mux.open(Opening("receiver", parent=sender.id))
    sender.outgoing.write(message(b"\xd4\1\0", ("receiver", child.id)))
    send(child, b"inside")
    pair.turn()
    pair.server.mux.lose(SessionClosed())
    assert receiver.incoming.next_message() is not None
    far = pair.server.mux.claim(receiver, "receiver", child.id)
    assert far is not None
    assert pair.server.mux.claim(receiver, "receiver", child.id) is None
    assert take_all(far) == [b"inside"]
    reason = far.exhausted()
    assert reason is not None
    assert reason.kind == "lost"


def test_giving_up_everything_tells_every_peer(pair: Pair) -> None:
    _, receiver = pair.channel()
    near, _ = pair.open("bytes", by_server=True)
    pair.client.mux.give_up("cancelled", SessionClosed("cancelled"))
    pair.turn()
    assert receiver.exhausted() == Reason("failed", "cancelled")
    assert near.out_reason == Reason("refused", "cancelled")
    assert near.exhausted() == Reason("failed", "cancelled")
    near.finish(END)
    pair.check_empty()


# --- bytes cut anywhere -------------------------------------------------------------------------


def a_life(pair: Pair) -> list[Any]:
    """A bit of everything; returns what the applications saw."""
    seen: list[Any] = []
    sender, receiver = pair.channel(capacity=3)
    near, far = pair.open("bytes", by_server=True)
    send(sender, b"a", b"b")
    near.outgoing.write(bytes(40_000))
    child = pair.client.mux.open(Opening("sender", parent=sender.id))
    sender.outgoing.write(message(b"\xd4\1\0", ("sender", child.id)))
    pair.turn()
    seen += [take(receiver), take(receiver), receiver.incoming.next_message()]
    claimed = pair.server.mux.claim(receiver, "sender", child.id)
    assert claimed is not None
    receiver.incoming.took_message(9)
    send(claimed, bytes(30_000), b"z")
    claimed.finish(Reason("failed", "oops"))
    pair.client.mux.ping(b"12345678")
    pair.turn()
    seen += [take(child), read_all(far)]
    pair.turn()
    seen += [take(child), child.exhausted(), read_all(far), sender.outgoing.peer_taken]
    far.refuse(Reason("refused", "closed"))
    far.finish(END)
    sender.finish(END)
    pair.turn()
    seen += [receiver.exhausted(), near.out_reason, near.exhausted(), pair.client.pongs]
    near.finish(END)
    pair.check_empty()
    return seen


LIFE = a_life(Pair())


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=20))
@hypothesis.settings(max_examples=25, deadline=None)
def test_what_happens_does_not_depend_on_where_the_bytes_are_cut(sizes: list[int]) -> None:
    def cut(data: bytes) -> Any:
        at = 0
        while at < len(data):
            yield data[at : at + sizes[at % len(sizes)]]
            at += sizes[at % len(sizes)]

    assert a_life(Pair(cut=cut)) == LIFE


def test_what_happens_does_not_depend_on_bytes_that_come_one_by_one() -> None:
    assert a_life(Pair(cut=byte_by_byte)) == LIFE
