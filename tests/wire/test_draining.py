"""A mux that drains serves what is open, and nothing new."""

import pytest

from chanlink.errors import END, Reason, SessionClosed
from chanlink.wire.opening import Opening

from .muxes import (
    Pair,
    send,
    take_all,
)


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
