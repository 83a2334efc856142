"""Streams as outlets and feeds, without ends: what is accepted, what is over and why, what a relay is told."""

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelClosed, ChannelRefused, DecodeError, SessionLost
from chanlink.channels.cores import ReceiveCore
from chanlink.channels.waiting import EMPTY, YIELD_AFTER, Loop
from chanlink.errors import END, ConnectionLost, Reason
from chanlink.limits import Limits
from chanlink.session.ends.remote import (
    BYTES_A_STEP,
    MAX_UNDER_WAY,
    RELAYED_BYTES,
    ByteFeed,
    ByteOutlet,
    MessageFeed,
    MessageOutlet,
)
from tests.wire.muxes import message

from .both import Both

SMALL = Limits(stream_window=1_024)


def messages(both: Both, **options: Any) -> tuple[MessageOutlet, MessageFeed]:
    ours, theirs = both.pair.channel(**options)
    outlet, feed = both.near.outlet(ours), both.far.feed(theirs)
    assert isinstance(outlet, MessageOutlet)
    assert isinstance(feed, MessageFeed)
    feed.feed(ReceiveCore(Loop()))
    return outlet, feed


def byte_ways(both: Both) -> tuple[ByteOutlet, ByteFeed]:
    ours, theirs = both.pair.open("bytes")
    outlet, feed = both.near.outlet(ours), both.far.feed(theirs)
    assert isinstance(outlet, ByteOutlet)
    assert isinstance(feed, ByteFeed)
    feed.feed(ReceiveCore(Loop()))
    return outlet, feed


# --- outlets ---


def test_a_plain_message_goes_the_short_way_and_any_other_the_long_one() -> None:
    both = Both()
    outlet, feed = messages(both)
    plain, timed = {"a": [{"b": 1}]}, {"at": datetime(2026, 1, 1, tzinfo=UTC)}
    assert outlet.post(plain)
    assert not outlet.post(timed)
    assert outlet.commit(outlet.prepare(timed))
    both.turn()
    assert [feed.take(0), feed.take(0), feed.take(0)] == [plain, timed, EMPTY]


def test_at_a_rendezvous_nothing_goes_the_short_way() -> None:
    both = Both()
    outlet, _ = messages(both, capacity=0)
    assert not outlet.post(1)
    assert outlet.commit(outlet.prepare(1))
    assert not outlet.commit(outlet.prepare(2))  # the first was not taken
    assert outlet.capacity == 0


@pytest.mark.parametrize("of_bytes", [False, True], ids=["messages", "bytes"])
def test_a_full_window_is_no_room_until_something_was_taken(of_bytes: bool) -> None:
    both = Both(SMALL)
    outlet, feed = byte_ways(both) if of_bytes else messages(both)
    count = 0
    while outlet.post(bytes(500)):
        count += 1
    assert 0 < count < 5
    assert not outlet.has_room()
    assert not outlet.commit(outlet.prepare(bytes(500)))
    both.turn()
    while feed.take(1_000) is not EMPTY:
        both.turn()
    both.turn()
    assert outlet.post(bytes(500))


@pytest.mark.parametrize("of_bytes", [False, True], ids=["messages", "bytes"])
def test_nothing_is_accepted_after_the_end(of_bytes: bool) -> None:
    both = Both()
    outlet: Any = byte_ways(both)[0] if of_bytes else messages(both)[0]
    outlet.finish(END)
    assert outlet.reason is None  # of the other side
    assert not outlet.post(b"more")
    with pytest.raises(ChannelClosed):
        outlet.commit(outlet.prepare(b"more"))


@pytest.mark.parametrize("of_bytes", [False, True], ids=["messages", "bytes"])
def test_a_refusal_of_the_far_side_is_the_reason(of_bytes: bool) -> None:
    both = Both()
    outlet, feed = byte_ways(both) if of_bytes else messages(both)
    feed.refuse(Reason("refused", "enough", "said the test"))
    both.turn()
    assert outlet.reason is not None
    assert not outlet.post(b"more")
    with pytest.raises(ChannelRefused, match="said the test"):
        outlet.commit(outlet.prepare(b"more"))


@pytest.mark.parametrize("of_bytes", [False, True], ids=["messages", "bytes"])
def test_a_lost_session_is_the_reason(of_bytes: bool) -> None:
    both = Both()
    outlet: Any = byte_ways(both)[0] if of_bytes else messages(both)[0]
    both.pair.client.mux.lose(ConnectionLost("gone"), "peer")
    with pytest.raises(SessionLost):
        outlet.commit(outlet.prepare(b"more"))


def test_what_can_not_be_sent_after_all_spoils_the_channel_also_instead_of_its_end() -> None:
    both = Both()
    outlet, feed = messages(both)
    outlet.post(1)
    outlet.finish(END)
    outlet.spoil(Reason("failed", "not-sent"))
    both.turn()
    assert feed.take(0) == 1
    reason = feed.over()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "not-sent")


def test_a_message_accepted_in_memory_is_encoded_when_it_leaves() -> None:
    both = Both()
    outlet, feed = messages(both)
    sender, receiver = chanlink.pipe()
    offer = sender._send_core.outlet.prepare({"a": [{"b": 1}]})
    assert offer.body is None
    assert outlet.commit(offer)
    outlet.write("accepted before")
    both.turn()
    assert [feed.take(0), feed.take(0)] == [{"a": [{"b": 1}]}, "accepted before"]
    sender.close()
    receiver.close()


# --- feeds ---


def test_a_feed_is_drained_when_everything_was_taken_and_nothing_comes() -> None:
    both = Both()
    outlet, feed = messages(both)
    outlet.post(1)
    outlet.finish(END)
    both.turn()
    assert (feed.drained, feed.over(), feed.queued > 0) == (False, None, True)
    feed.take(0)
    assert (feed.drained, feed.over(), feed.queued, feed.taken) == (True, END, 0, 1)


def test_what_is_no_message_is_refused_and_raised() -> None:
    both = Both()
    outlet, feed = messages(both)
    outlet.outgoing.write(message(b"\xc1"))
    both.turn()
    with pytest.raises(DecodeError):
        feed.take(0)
    both.turn()
    assert outlet.reason is not None
    assert outlet.reason.code == "bad-message"


def test_a_long_message_counts_as_many_steps() -> None:
    both = Both()
    outlet, feed = messages(both)
    outlet.post(b"short")
    both.turn()
    feed.take(0)
    assert feed.core.steps == 0
    outlet.post(bytes(YIELD_AFTER * BYTES_A_STEP))
    both.turn()
    both.turn()
    while feed.take(0) is EMPTY:
        both.turn()
    assert feed.core.steps >= YIELD_AFTER


def test_bytes_are_taken_in_pieces_as_long_as_is_asked() -> None:
    both = Both()
    outlet, feed = byte_ways(both)
    outlet.post(b"hello world")
    both.turn()
    assert [feed.take(5), feed.take(100), feed.take(100)] == [b"hello", b" world", EMPTY]


# --- for a relay ---


def test_a_relay_is_told_what_the_far_application_has_taken_of_messages() -> None:
    both = Both()
    outlet, feed = messages(both)
    outlet.post(1)
    outlet.post(2)
    both.turn()
    assert (outlet.position, outlet.progress, outlet.is_estimate) == (2, 0, False)
    feed.take(0)
    both.turn()
    feed.take(0)
    both.turn()
    assert outlet.progress == 2


def test_of_bytes_it_is_told_an_estimate() -> None:
    both = Both(SMALL)
    outlet, feed = byte_ways(both)
    outlet.post(bytes(1_000))
    both.turn()
    assert (outlet.position, outlet.is_estimate) == (1_000, True)
    before = outlet.progress
    feed.take(1_000)
    both.turn()
    assert outlet.progress > before


def test_a_message_that_was_passed_on_is_taken_when_the_far_side_says_so() -> None:
    source, onward = Both(), Both()
    outlet, feed = messages(source)
    next_outlet, last = messages(onward)
    outlet.post("hello")
    source.turn()
    assert feed.ready()
    assert feed.forward(next_outlet) == 1
    onward.turn()
    assert last.take(0) == "hello"
    source.turn()
    assert outlet.progress == 0
    feed.forwarded(1)
    source.turn()
    assert outlet.progress == 1


def test_a_relay_has_only_so_many_messages_under_way() -> None:
    wide = Limits(stream_window=1_000_000)
    source, onward = Both(wide), Both(wide)
    outlet, feed = messages(source)
    next_outlet, _ = messages(onward)
    for _ in range(MAX_UNDER_WAY + 1):
        assert outlet.post(1)
    source.turn()
    count = 0
    while feed.ready():
        count += feed.forward(next_outlet)
        onward.turn()
    assert count == MAX_UNDER_WAY
    feed.forwarded(1)
    assert feed.ready()
    feed.dropped()
    assert feed.ready()


def test_bytes_are_passed_on_a_piece_at_a_time() -> None:
    wide = Limits(stream_window=2 * RELAYED_BYTES)
    source, onward = Both(wide), Both(wide)
    outlet, feed = byte_ways(source)
    next_outlet, last = byte_ways(onward)
    outlet.post(bytes(RELAYED_BYTES + 1))
    source.turn()
    moved = 0
    while feed.ready():
        moved += feed.forward(next_outlet)
        onward.turn()
    assert moved == last.queued == RELAYED_BYTES + 1
    feed.forwarded(moved)
    source.turn()
    assert outlet.progress > outlet.outgoing.uncredited


def test_no_event_loop_is_needed_for_any_of_this() -> None:
    both = Both()
    sender, receiver = both.channel()
    with pytest.raises(anyio.WouldBlock):
        receiver.receive_nowait()
    both.close(sender, receiver)
