"""Ends that arrive become what their stream is for; of a message that can't be read none is left."""

from typing import Any

import pytest

from chanlink import ByteStream, ChannelFailed, ChannelRefused, DecodeError, Receiver, Sender
from chanlink.channels.values import Kind
from chanlink.wire.opening import Opening
from tests.wire.muxes import message

from .both import Both

KINDS: list[tuple[Kind, type, type]] = [
    ("receiver", Sender, Receiver),
    ("sender", Receiver, Sender),
    ("bytes", ByteStream, ByteStream),
]
END = b"\xd4\1"  # msgpack: a reference to the end with the number that follows


@pytest.mark.parametrize("by_server", [False, True], ids=["by_client", "by_server"])
@pytest.mark.parametrize(("kind", "opener", "acceptor"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_each_side_of_a_stream_gets_its_end(kind: Kind, opener: type, acceptor: type, by_server: bool) -> None:
    both = Both()
    ours, theirs = both.pair.open(kind, by_server=by_server)
    near, far = (both.far, both.near) if by_server else (both.near, both.far)
    ends: list[Any] = [near.adopt(ours), far.adopt(theirs)]
    assert [type(end) for end in ends] == [opener, acceptor]
    both.close(*ends)


def test_each_direction_of_a_byte_stream_has_its_own_size() -> None:
    both = Both()
    near, far = both.byte_stream(size=3, answer_size=5)
    assert (near._send_core.bytes_left, near._receive_core.bytes_left) == (3, 5)
    assert (far._send_core.bytes_left, far._receive_core.bytes_left) == (5, 3)
    near.fail("enough")
    far.fail("enough")
    both.close(near, far)


def test_a_channel_has_the_capacity_that_it_was_opened_with() -> None:
    both = Both()
    sender, receiver = both.channel(capacity=3)
    assert (sender.capacity, receiver.capacity) == (3, 3)
    both.close(sender, receiver)


def nested(both: Both, sender: Any, body: bytes, count: int, *, lie: bool = False) -> list[Any]:
    """A message written by hand; returns the streams that were opened for it."""
    carrier = sender._send_core.outlet.stream
    mux = both.pair.client.mux
    children = [mux.open(Opening("receiver", parent=carrier.id)) for _ in range(count)]
    named = [("receiver", child.id) for child in children] + ([("receiver", 99)] if lie else [])
    carrier.outgoing.write(message(body, *named))  # type: ignore[arg-type]
    both.turn()
    return children


def test_an_end_in_a_message_is_made_when_the_message_is_taken() -> None:
    both = Both()
    sender, receiver = both.channel()
    (child,) = nested(both, sender, END + b"\0", 1)
    end = receiver.receive_nowait()
    assert type(end) is Receiver
    inner = both.near.adopt(child)
    inner.send_nowait("below")  # type: ignore[attr-defined]
    both.turn()
    assert end.receive_nowait() == "below"
    both.close(inner, end, sender, receiver)


def test_an_end_that_the_message_does_not_refer_to_is_refused() -> None:
    both = Both()
    sender, receiver = both.channel()
    (child,) = nested(both, sender, b"\xc0", 1)
    assert receiver.receive_nowait() is None
    both.turn()
    inner: Any = both.near.adopt(child)
    with pytest.raises(ChannelRefused) as caught:
        inner.send_nowait("below")
    assert caught.value.code == "not-taken"
    both.close(inner, sender, receiver)


@pytest.mark.parametrize("lie", [False, True], ids=["what_is_no_message", "a_table_that_lies"])
def test_of_a_message_that_can_not_be_read_no_end_is_left(lie: bool) -> None:
    both = Both()
    sender, receiver = both.channel()
    children = nested(both, sender, b"\x92" + END + b"\0" + (END + b"\1" if lie else b"\xc1"), 1, lie=lie)
    with pytest.raises(DecodeError):
        receiver.receive_nowait()
    both.turn()
    for child in children:
        inner: Any = both.near.adopt(child)
        with pytest.raises(ChannelRefused):
            inner.send_nowait("below")
        inner.close()
    with pytest.raises(ChannelRefused) as caught:
        sender.send_nowait("more")
    assert caught.value.code == "bad-message"
    both.close(sender, receiver)


def test_the_ends_that_a_table_names_are_adopted_all_or_none() -> None:
    both = Both()
    sender, receiver = both.channel()
    children = nested(both, sender, b"\xc0", 2)
    source = receiver._receive_core.feeds
    (feed,) = source
    entries: list[tuple[Kind, int]] = [("receiver", child.id) for child in children]
    with pytest.raises(DecodeError, match="names what was not opened"):
        both.far.arrivals.adopt_entries(feed.stream, [entries[0], ("receiver", 99)])
    (end,) = both.far.arrivals.adopt_entries(feed.stream, entries[1:])
    both.turn()
    refused, open_ = [both.near.adopt(child) for child in children]
    with pytest.raises(ChannelRefused):
        refused.send_nowait(1)  # type: ignore[attr-defined]
    open_.send_nowait(1)  # type: ignore[attr-defined]
    both.turn()
    assert end.receive_nowait() == 1  # type: ignore[attr-defined]
    both.close(refused, open_, end, sender, receiver)


def test_what_came_by_a_service_that_is_revoked_is_over_for_both_sides() -> None:
    both = Both()
    sender, receiver = both.channel()
    ours, theirs = both.pair.channel(by_server=True)  # of the far side's own
    other_sender: Any = both.far.adopt(ours)
    other: Any = both.near.adopt(theirs)
    sender.send_nowait("too late")
    both.turn()
    both.far.arrivals.revoke(lambda service: False)
    with pytest.raises(ChannelFailed) as failed:
        receiver.receive_nowait()
    assert failed.value.code == "revoked"
    both.turn()
    with pytest.raises(ChannelRefused) as refused:
        sender.send_nowait("more")
    assert refused.value.code == "revoked"
    other_sender.send_nowait("goes on")
    both.turn()
    assert other.receive_nowait() == "goes on"
    both.close(sender, receiver, other_sender, other)
