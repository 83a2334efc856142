"""Senders, receivers and byte streams for threads."""

import dataclasses
import threading
from typing import Any

import pytest

import chanlink
from chanlink import ChannelClosed, ChannelFailed, ChannelMoved, ChannelRefused, EncodeError, EndOfChannel, blocking
from tests.patience import PATIENCE


def test_messages_come_in_order_then_the_end(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe()
    with receiver:
        with sender:
            for number in range(5):
                sender.send(number)
        assert list(receiver) == list(range(5))
        with pytest.raises(EndOfChannel):
            receiver.receive()


def test_a_receive_that_times_out_loses_nothing(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe()
    for seconds in (0, -1, 0.01):
        with pytest.raises(TimeoutError):
            receiver.receive(timeout=seconds)
    sender.send("here")
    assert receiver.receive(timeout=0) == "here"
    timer = threading.Timer(0.02, sender.send, ["late"])
    timer.start()
    while True:
        try:
            assert receiver.receive(timeout=0.001) == "late"
            break
        except TimeoutError:
            continue
    timer.join()
    sender.close(), receiver.close()


def test_a_send_that_times_out_has_sent_nothing(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe(1)
    sender.send(1)
    reply, replies = loop.pipe()
    with pytest.raises(TimeoutError):
        sender.send({"reply": reply}, timeout=0.01)
    assert not reply.is_void
    assert receiver.receive() == 1
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=0)
    for end in (sender, receiver, reply, replies):
        end.close()


def test_ends_travel_in_messages_at_any_depth(loop: blocking.Loop) -> None:
    outer, inners = loop.pipe()
    (one, ones), (left, right) = loop.pipe(), loop.byte_pipe()
    message = {"list": [{"one": one}, ("pair", left)], "plain": {"untouched": 1}}
    outer.send(message)
    assert message["list"][0]["one"] is one  # type: ignore[index]
    assert one.is_void
    with pytest.raises(ChannelMoved):
        one.send(1)
    got = inners.receive()
    sender, stream = got["list"][0]["one"], got["list"][1][1]
    assert isinstance(sender, blocking.Sender)
    assert isinstance(stream, blocking.ByteStream)
    sender.send("through")
    assert ones.receive() == "through"
    stream.send(b"bytes")
    assert right.receive() == b"bytes"
    for end in (outer, inners, sender, ones, stream, right):
        end.close()


def test_a_failure_and_a_refusal_say_so(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe()
    sender.fail("tired", "of it")
    with pytest.raises(ChannelFailed, match="tired: of it"):
        receiver.receive()
    sender, receiver = loop.pipe()
    receiver.refuse("full")
    with pytest.raises(ChannelRefused, match="full"):
        sender.send(1)
    assert isinstance(sender.wait_closed(), ChannelRefused)
    with pytest.raises(ChannelClosed):
        receiver.receive()
    sender.close()


def test_a_block_that_is_left_by_an_exception_has_failed(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe()
    with pytest.raises(LookupError), sender:
        raise LookupError
    with pytest.raises(ChannelFailed, match="lookup-error"):
        receiver.receive()


def test_clones_and_flush(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe()
    clone = sender.clone()
    sender.send(1)
    sender.close()
    clone.send(2)
    with pytest.raises(TimeoutError):
        clone.flush(timeout=0.01)
    assert [receiver.receive(), receiver.receive()] == [1, 2]
    clone.flush()
    clone.close()
    assert list(receiver) == []


def test_byte_streams_end_by_halves(loop: blocking.Loop) -> None:
    left, right = loop.byte_pipe()
    left.send(b"abc")
    assert [right.receive(2), right.receive(2)] == [b"ab", b"c"]
    with pytest.raises(TimeoutError):
        right.receive(timeout=0.01)
    left.send_eof()
    assert list(right) == []
    right.fail("broken")
    with pytest.raises(ChannelFailed):
        left.receive()
    left.refuse("enough")
    assert isinstance(right.wait_closed(), ChannelRefused)
    left.close(), right.close()


def test_an_end_of_another_event_loop_is_refused(loop: blocking.Loop) -> None:
    with blocking.loop() as other:
        sender, receiver = other.pipe()
        ours, received = loop.pipe()
        for end in (sender, receiver):
            with pytest.raises(EncodeError, match="another event loop"):
                ours.send([end])
        for end in (sender, receiver, ours, received):
            end.close()


def test_an_end_in_an_object_is_wrapped_by_hand(loop: blocking.Loop) -> None:
    @dataclasses.dataclass
    class Order:
        reply: Any

    orders, received = loop.pipe(item_type=Order)
    reply, replies = loop.pipe()
    orders.send(Order(reply.end))
    order = received.receive()
    assert isinstance(order.reply, chanlink.Sender)
    loop.wrap(order.reply).send("done")
    assert replies.receive() == "done"
    for end in (orders, received, reply, replies):
        end.close()


@pytest.mark.parametrize("leave", ["close", "refuse", "with"])
def test_a_message_kept_of_an_interrupted_receive_goes_with_its_end(loop: blocking.Loop, leave: str) -> None:
    inner, theirs = loop.pipe()
    sender, receiver = loop.pipe()
    sender.send([theirs])
    receiver._kept.append(receiver.receive())  # as when a signal came just then
    if leave == "with":
        with receiver:
            pass
    elif leave == "refuse":
        receiver.refuse("enough")
    else:
        receiver.close()
    assert isinstance(inner.wait_closed(timeout=PATIENCE), ChannelRefused)
    with pytest.raises(ChannelClosed):
        receiver.receive(timeout=PATIENCE)


def test_bytes_kept_of_an_interrupted_receive_go_with_their_stream(loop: blocking.Loop) -> None:
    left, right = loop.byte_pipe()
    left.send(b"abc")
    right._keep(right.receive())
    right.close()
    with pytest.raises(ChannelClosed):
        right.receive(timeout=PATIENCE)
    left.close()
