"""A mux that drains takes no new top-level streams; all else goes on (protocol sections 3.2 and 4.2)."""

from collections.abc import Callable

import pytest

from chanlink.errors import END, ChannelRefused, ConnectionLost, Reason, SessionClosed
from chanlink.wire.h2 import frames
from chanlink.wire.mux import Mux
from chanlink.wire.opening import Opening

from .muxes import Pair, Transcript, message, send, take_all

REFUSED = Reason("refused", "draining", "no new channels are taken")


@pytest.fixture
def old() -> Pair:
    """Two sides that have agreed on nothing, as one of the two with a peer of version 0.1."""
    return Pair(features=())


def drains(data: bytes) -> list[int]:
    """The ids of the DRAIN frames among these frames."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        if data[3] == frames.DRAIN:
            found.append(int.from_bytes(data[9 : 9 + size], "big"))
        data = data[9 + size :]
    return found


def said(mux: Mux) -> list[int]:
    """The DRAIN frames that leave now; the other side does not hear them."""
    return drains(b"".join(mux.data_to_send(1_000.0)))


@pytest.mark.parametrize("begin", [Mux.drain, Mux.conclude])
def test_a_draining_side_serves_what_is_open_and_nothing_new(pair: Pair, begin: Callable[[Mux], None]) -> None:
    sender, receiver = pair.channel()
    begin(pair.server.mux)
    assert pair.server.mux.draining
    crossing = pair.client.mux.open(Opening("receiver", service="it crosses the DRAIN"))
    send(crossing, b"x")
    pair.turn()
    assert pair.client.peer_drained == 1
    assert crossing.out_reason == REFUSED
    assert len(pair.server.opened) == 1
    with pytest.raises(ChannelRefused) as caught:
        pair.client.mux.open(Opening("receiver", service="late"))
    assert caught.value.code == "draining"
    send(sender, b"goes on")
    sender.finish(END)
    pair.turn()
    assert take_all(receiver) == [b"goes on"]
    back, _ = pair.open("receiver", by_server=True)  # the client did not drain
    back.discard("not-taken")
    begin(pair.server.mux)
    pair.check_empty()


@pytest.mark.parametrize("by", ["the opener", "the acceptor"])
def test_nested_streams_are_opened_and_served_in_both_directions_while_a_side_drains(pair: Pair, by: str) -> None:
    sender, receiver = pair.channel(by_server=by == "the acceptor")
    pair.server.mux.drain()
    pair.turn()
    opener, acceptor = (pair.client, pair.server) if by == "the opener" else (pair.server, pair.client)
    child = opener.mux.open(Opening("receiver", parent=sender.id))
    sender.outgoing.write(message(b"\xd4\1\0", ("receiver", child.id)))
    send(child, b"nested")
    pair.turn()
    assert take_all(receiver)
    far = acceptor.mux.claim(receiver, "receiver", child.id)
    assert far is not None
    assert take_all(far) == [b"nested"]
    for stream in (child, sender):
        stream.finish(END)
    pair.check_empty()


def test_a_nested_stream_of_one_that_is_refused_is_refused_with_it(pair: Pair) -> None:
    pair.server.mux.drain()
    crossing = pair.client.mux.open(Opening("receiver", service="late"))
    child = pair.client.mux.open(Opening("sender", parent=crossing.id))
    crossing.outgoing.write(message(b"\xd4\1\0", ("sender", child.id)))
    pair.turn()
    assert crossing.out_reason == REFUSED
    reason = child.exhausted()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "draining")
    child.refuse(Reason("refused", "closed"))
    pair.check_empty()


# --- the end --------------------------------------------------------------------------------------


def test_who_closes_says_both_and_waits_for_a_side_that_drains(pair: Pair) -> None:
    """The closing side can't know that the other one does not close: that answers, and goes on."""
    pair.server.mux.drain()
    pair.turn()
    pair.client.mux.conclude()
    assert not pair.client.mux.drained()  # the second DRAIN is made
    assert not pair.client.mux.drained()  # and it waits
    pair.turn()
    assert pair.server.mux._drains == 2
    assert pair.client.mux.drained()
    assert pair.server.peer_drained == pair.client.peer_drained == 1


def test_a_side_that_drains_answers_only_when_what_it_accepted_has_left(pair: Pair) -> None:
    sender, receiver = pair.channel(by_server=True)
    pair.server.mux.drain()
    send(sender, bytes(pair.client.mux.limits.stream_window), b"waits for credit")
    pair.client.mux.conclude()
    pair.turn()
    assert not pair.client.mux.drained()
    pair.turn()
    assert pair.server.mux._drains == 1
    assert not pair.client.mux.drained()
    assert len(take_all(receiver)) == 1
    pair.turn()
    assert pair.server.mux._drains == 2
    assert take_all(receiver) == [b"waits for credit"]
    assert pair.client.mux.drained()


def test_two_that_drain_and_do_not_close_say_it_once_and_the_first_that_closes_is_answered(pair: Pair) -> None:
    for side in (pair.client, pair.server):
        side.mux.drain()
    pair.turn()
    assert pair.client.mux._drains == pair.server.mux._drains == 1
    pair.server.mux.conclude()
    assert not pair.server.mux.drained()
    pair.turn()
    assert pair.client.mux._drains == 2
    assert pair.server.mux.drained()
    pair.client.mux.conclude()
    assert pair.client.mux.drained()
    assert said(pair.client.mux) == said(pair.server.mux) == []


def test_a_side_that_does_not_drain_does_not_answer(pair: Pair) -> None:
    pair.client.mux.conclude()
    assert not pair.client.mux.drained()
    pair.turn()
    assert pair.client.mux.drained()
    assert pair.server.mux._drains == 0


# --- without the feature --------------------------------------------------------------------------


def test_a_peer_that_does_not_know_it_is_not_told_and_refused_one_by_one(old: Pair) -> None:
    sender, receiver = old.channel()
    old.server.mux.drain()
    assert said(old.server.mux) == []
    late = old.client.mux.open(Opening("receiver", service="late"))
    child = old.client.mux.open(Opening("receiver", parent=sender.id))
    sender.outgoing.write(message(b"\xd4\1\0", ("receiver", child.id)))
    old.turn()
    assert late.out_reason == REFUSED
    assert take_all(receiver)
    assert old.server.mux.claim(receiver, "receiver", child.id) is not None
    assert old.client.peer_drained == 0
    old.client.mux.conclude()  # nothing has told it to wait
    assert not old.client.mux.drained()
    assert old.client.mux.drained()


def test_it_is_told_the_highest_id_when_the_session_is_closed(old: Pair) -> None:
    old.server.mux.drain()
    late = old.client.mux.open(Opening("receiver", service="late"))
    old.turn()
    assert late.id in (1, 3)
    old.server.mux.conclude()
    old.server.mux.drain()
    assert said(old.server.mux) == [late.id]
    assert not old.server.mux.drained()
    assert said(old.server.mux) == [late.id]


def test_no_nested_stream_is_opened_to_a_peer_that_would_refuse_it(old: Pair) -> None:
    sender, _ = old.channel()
    old.server.mux.conclude()
    old.turn()
    with pytest.raises(SessionClosed, match="draining: the peer closes"):
        old.client.mux.check_open(1)
    with pytest.raises(SessionClosed, match="draining"):
        old.client.mux.open(Opening("receiver", parent=sender.id))
    with pytest.raises(ChannelRefused, match="draining"):
        old.client.mux.open(Opening("receiver", service="late"))


# --- what a peer may do to it ---------------------------------------------------------------------


def test_a_peer_may_say_it_at_any_time_and_the_owner_is_told_once() -> None:
    script = Transcript()
    for _ in range(50):
        script.say(script.extension(frames.DRAIN, 0, bytes(4)))
    assert script.side.peer_drained == 1
    assert script.mux._drains == 0
    assert not script.mux.draining


def test_nothing_is_opened_on_a_session_that_is_over(pair: Pair) -> None:
    pair.client.mux.lose(ConnectionLost("gone"))
    for top_level in (False, True):
        with pytest.raises(ConnectionLost, match="gone"):
            pair.client.mux.check_open(1, top_level=top_level)
