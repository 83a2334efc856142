"""The multiplexer (protocol sections 4 to 7): two of them, and bytes passed between them in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.channels.values import Kind
from chanlink.errors import END, LimitReached, Reason, SessionClosed
from chanlink.limits import Limits
from chanlink.security.buffers import RECORDS
from chanlink.security.noise.cipher import AEGIS256, CHACHAPOLY
from chanlink.security.suites import Suite
from chanlink.wire.h2 import frames
from chanlink.wire.h2.frames import FRAME_HEADER_SIZE
from chanlink.wire.multiplexer import TURN_BYTES
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
    read_all,
    send,
    take,
    take_all,
)

WINDOW = Limits().stream_window


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
    assert len(longest) == RECORDS * (frames.FULL_BYTES + FRAME_HEADER_SIZE)
    for cipher in (CHACHAPOLY, AEGIS256):
        assert Suite("", cipher).max_body >= frames.FULL_BYTES + FRAME_HEADER_SIZE


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
    assert not wakes(side.mux.drain)
    assert wakes(side.mux.conclude)


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


# --- PING ---------------------------------------------------------------------------------------


def test_a_ping_comes_back(pair: Pair) -> None:
    pair.client.mux.ping(b"12345678")
    pair.server.mux.ping(b"abcdefgh")
    pair.turn()
    assert pair.client.pongs == [b"12345678"]
    assert pair.server.pongs == [b"abcdefgh"]


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
