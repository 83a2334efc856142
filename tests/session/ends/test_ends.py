"""Ends of a session: each stream gets the outlet and the feed of its kind."""

import chanlink
from chanlink.session.ends.remote import ByteFeed, ByteOutlet, MessageFeed, MessageOutlet

from .both import Both


def test_a_stream_of_messages_has_an_outlet_and_a_feed_for_messages() -> None:
    both = Both()
    ours, theirs = both.pair.channel()
    assert isinstance(both.near.outlet(ours), MessageOutlet)
    assert isinstance(both.far.feed(theirs), MessageFeed)


def test_a_stream_of_bytes_has_an_outlet_and_a_feed_for_bytes() -> None:
    both = Both()
    ours, theirs = both.pair.open("bytes")
    assert isinstance(both.near.outlet(ours), ByteOutlet)
    assert isinstance(both.far.feed(theirs), ByteFeed)


def test_what_was_adopted_works_without_a_session() -> None:
    both = Both()
    sender, receiver = both.channel()
    assert (type(sender), type(receiver)) == (chanlink.Sender, chanlink.Receiver)
    sender.send_nowait("hello")
    both.turn()
    assert receiver.receive_nowait() == "hello"
    both.close(sender, receiver)
