"""Nested streams, between two muxes (protocol section 5)."""

import pytest

from chanlink.channels.values import Kind
from chanlink.errors import END, LimitReached, Reason
from chanlink.limits import Limits
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .muxes import (
    KINDS,
    Pair,
    message,
    nest,
    overdue_at,
    read_all,
    send,
    take_all,
)

WINDOW = Limits().stream_window


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
