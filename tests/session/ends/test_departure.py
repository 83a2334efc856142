"""Ends that leave: what could go wrong is found out before anything is changed; what waits in them goes first."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelClosed, ChannelFailed, ChannelMoved, ChannelRefused, EncodeError, EndOfChannel, LimitReached
from chanlink.limits import Limits
from chanlink.session.ends.departure import MAX_BACKLOGS

from .both import Both


def unchanged(both: Both, *ends: Any) -> None:
    """Nothing was opened, nothing was written, and the ends are still ours."""
    assert len(both.streams()) == 1
    assert not both.streams()[0].outgoing.queued
    assert not any(end.is_void or end._lent for end in ends)


def all_messages(receiver: Any) -> list[Any]:
    messages = []
    while True:
        try:
            messages.append(receiver.receive_nowait())
        except (anyio.WouldBlock, EndOfChannel):
            return messages


# --- plan ---


def test_a_closed_end_among_others_is_found_before_anything_leaves() -> None:
    both = Both()
    sender, receiver = both.channel()
    one, other = chanlink.pipe()
    other.close()
    with pytest.raises(ChannelClosed):
        sender.send_nowait([one, other])
    unchanged(both, one)
    one.close()
    both.close(sender, receiver)


def test_a_message_that_waits_in_an_end_and_can_not_leave_keeps_that_here() -> None:
    both = Both()
    sender, receiver = both.channel()
    inner_sender, inner = chanlink.pipe()
    inner_sender.send_nowait({1.5: "a key that no message may have on a wire"} | {"fine": 1})
    with pytest.raises(EncodeError):
        sender.send_nowait({"end": inner})
    unchanged(both, inner, inner_sender)
    both.close(inner, inner_sender, sender, receiver)


def test_ends_in_messages_in_ends_are_counted_too() -> None:
    limits = Limits(open_channels=3)
    both = Both(far_limits=limits)
    sender, receiver = both.channel()
    outer_sender, outer = chanlink.pipe()
    outer_sender.send_nowait([chanlink.pipe()[1] for _ in range(2)])
    with pytest.raises(LimitReached):
        sender.send_nowait(outer)  # one stream is open: this would make it four
    unchanged(both, outer, outer_sender)
    both.close(outer, outer_sender, sender, receiver)


def test_ends_may_wait_in_ends_only_so_deep() -> None:
    both = Both()
    sender, receiver = both.channel()
    outermost_sender, outermost = chanlink.pipe()
    senders = [outermost_sender]
    for _ in range(MAX_BACKLOGS + 1):
        next_sender, end = chanlink.pipe()
        senders[-1].send_nowait(end)
        senders.append(next_sender)
    with pytest.raises(EncodeError, match="too deep"):
        sender.send_nowait(outermost)
    unchanged(both, outermost, *senders)
    outermost.close()
    both.close(*senders, sender, receiver)


# --- ship ---


def test_what_waits_in_a_receiver_goes_first_and_what_is_sent_later_follows() -> None:
    both = Both()
    sender, receiver = both.channel()
    inner_sender, inner = chanlink.pipe()
    inner_sender.send_nowait(1)
    sender.send_nowait(inner)
    inner_sender.send_nowait(2)
    inner_sender.close()
    both.turn()
    arrived = receiver.receive_nowait()
    assert all_messages(arrived) == [1, 2]
    with pytest.raises(ChannelMoved):
        inner.receive_nowait()
    both.close(arrived, sender, receiver)


def test_ends_in_messages_that_wait_arrive_with_theirs() -> None:
    both = Both()
    sender, receiver = both.channel()
    outer_sender, outer = chanlink.pipe()
    inner_sender, inner = chanlink.pipe()
    inner_sender.send_nowait("innermost")
    outer_sender.send_nowait({"inner": inner})
    sender.send_nowait({"outer": outer})
    both.turn()
    outer_there = receiver.receive_nowait()["outer"]
    both.turn()
    inner_there = outer_there.receive_nowait()["inner"]
    both.turn()
    assert inner_there.receive_nowait() == "innermost"
    both.close(outer_sender, inner_sender, inner_there, outer_there, sender, receiver)


def test_a_sender_that_leaves_comes_in_behind_what_it_has_sent_here() -> None:
    both = Both()
    sender, receiver = both.channel()
    leaving, here = chanlink.pipe()
    leaving.send_nowait(1)
    sender.send_nowait(leaving)
    both.turn()
    there = receiver.receive_nowait()
    there.send_nowait(2)
    both.turn()
    assert here.receive_nowait() == 1
    assert here.receive_nowait() == 2
    both.close(there, here, sender, receiver)


def test_a_clone_that_stays_and_one_that_leaves_feed_one_receiver() -> None:
    both = Both()
    sender, receiver = both.channel()
    staying, here = chanlink.pipe()
    sender.send_nowait(staying.clone())
    both.turn()
    there = receiver.receive_nowait()
    staying.send_nowait("here")
    there.send_nowait("there")
    both.turn()
    assert sorted(all_messages(here)) == ["here", "there"]
    assert here.statistics().feeds == 2
    both.close(staying, there, here, sender, receiver)


def test_a_receiver_that_is_over_arrives_as_that() -> None:
    both = Both()
    sender, receiver = both.channel()
    inner_sender, inner = chanlink.pipe()
    inner_sender.send_nowait("last")
    inner_sender.fail("broken", "here")
    sender.send_nowait(inner)
    both.turn()
    arrived = receiver.receive_nowait()
    both.turn()
    assert arrived.receive_nowait() == "last"
    with pytest.raises(ChannelFailed, match="here"):
        arrived.receive_nowait()
    both.close(arrived, sender, receiver)


def test_a_sender_whose_receiver_is_gone_arrives_refused() -> None:
    both = Both()
    sender, receiver = both.channel()
    leaving, here = chanlink.pipe()
    here.close("no more")
    sender.send_nowait(leaving)
    both.turn()
    arrived = receiver.receive_nowait()
    both.turn()
    with pytest.raises(ChannelRefused, match="no more"):
        arrived.send_nowait(1)
    both.close(arrived, sender, receiver)


def test_bytes_that_wait_go_first_and_the_sizes_are_those_that_are_left() -> None:
    both = Both()
    sender, receiver = both.channel()
    here, leaving = chanlink.byte_pipe(10)
    here._put_nowait(b"hel")
    here._send_core.reserve(3)
    here._send_core.release_reserved(3, sent=True)
    sender.send_nowait(leaving)
    both.turn()
    there = receiver.receive_nowait()
    assert there._receive_core.bytes_left == 10  # nothing was taken
    assert there._get_nowait(100) == b"hel"
    there.close()
    both.close(here, sender, receiver)


def test_an_end_that_has_left_is_started_once() -> None:
    both = Both()
    sender, receiver = both.channel()
    here, leaving = chanlink.pipe()
    sender.send_nowait({"end": leaving})
    assert both.started == [leaving]
    both.turn()
    receiver.receive_nowait()["end"].close()
    both.close(here, sender, receiver)


def test_an_item_type_that_an_end_came_with_goes_on_with_it() -> None:
    both = Both()
    ours, theirs = both.pair.channel(item_type=b"fingerprint")
    typed, typed_there = both.near.adopt(ours), both.far.adopt(theirs)
    sender, receiver = both.channel()
    sender.send_nowait([typed])
    both.turn()
    assert both.streams()[-1].opening.item_type == b"fingerprint"
    for end in receiver.receive_nowait():
        end.close()
    both.turn()
    both.close(typed_there, sender, receiver)


# --- passing on ---


@pytest.mark.parametrize("kind", ["size", "ends"])
def test_what_the_next_peer_does_not_take_is_not_passed_on(kind: str) -> None:
    source = Both()
    onward = Both(far_limits=Limits(message_size=100) if kind == "size" else Limits(message_ends=1))
    sender, at_relay = source.channel()
    carrier, far = onward.channel()
    carrier.send_nowait(at_relay)  # from the far side of one to the near side of the other: a relay
    onward.turn()
    arrived = far.receive_nowait()
    ends = [chanlink.pipe() for _ in range(2)]
    sender.send_nowait(bytes(200) if kind == "size" else [one for one, _ in ends])
    source.turn()
    onward.turn()
    with pytest.raises(ChannelFailed) as caught:
        arrived.receive_nowait()
    assert caught.value.code == {"size": "too-large", "ends": "limit-reached"}[kind]
    source.turn()
    with pytest.raises(ChannelRefused):
        sender.send_nowait("more")
    for one, other in ends:
        one.close()
        other.close()
    onward.close(arrived, carrier, far)
    source.close(sender)
