"""Offers: what they lend, and what becomes of it."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelClosed
from chanlink.channels.offers import Offer
from chanlink.channels.values import find_ends
from chanlink.limits import PeerLimits


def offer(value: Any) -> Offer:
    return Offer(value, find_ends(value, PeerLimits(), None))


class Waiter:
    def set(self) -> None: ...
    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Any) -> None: ...


class Decider:
    def __init__(self, *, free: bool) -> None:
        self.free = free

    def claim(self, offer: Offer) -> bool:
        return self.free


def test_an_offer_lends_its_ends_to_nobody_else() -> None:
    ends = chanlink.pipe()
    first = offer(list(ends))
    with pytest.raises(anyio.BusyResourceError):
        offer([ends[1]])
    first.keep()
    offer([ends[1]]).keep()


def test_of_ends_that_can_not_be_lent_none_is() -> None:
    open_, closed = chanlink.pipe()
    closed.close()
    with pytest.raises(ChannelClosed):
        offer([open_, closed])
    offer([open_]).keep()


def test_the_ends_of_an_offer_move_once() -> None:
    one, other = chanlink.pipe()
    made = offer([one, other])
    assert {attachment.end for attachment in made.take_ends().values()} == {one, other}
    assert not made.ends
    made.keep()  # of none
    with pytest.raises(anyio.BusyResourceError):
        offer([one])


def test_an_offer_of_a_handle_that_is_void_does_not_stand() -> None:
    sender, _ = chanlink.pipe(0)
    made = offer("hello")
    assert made.stands()
    made.made_by(sender)
    assert made.stands()
    sender.close()
    assert not made.stands()


@pytest.mark.parametrize("free", [True, False])
def test_an_offer_of_a_select_stands_while_that_has_decided_nothing(free: bool) -> None:
    sender, _ = chanlink.pipe(0)
    made = offer("hello")
    made.made_by(sender, Decider(free=free))
    assert made.stands() == free


def test_a_taken_offer_is_settled_and_a_failed_one_raises_each_time() -> None:
    made = offer("hello")
    made.stand(Waiter())
    assert not made.settled()
    made.take()
    assert made.settled()
    failed = offer("hello")
    failed.fail(ChannelClosed("an end in it"))
    for _ in range(2):
        with pytest.raises(ChannelClosed):
            failed.settled()
