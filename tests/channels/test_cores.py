"""Cores alone, with an outlet and feeds that do what the test says: who is woken, what counts, what the reason is."""

from collections import deque
from typing import Any

import pytest

from chanlink import ChannelFailed, ChannelRefused, EndOfChannel
from chanlink.channels.cores import SENDS_PER_WAKE, ReceiveCore, SendCore
from chanlink.channels.offers import Offer
from chanlink.channels.waiting import EMPTY, Loop, Waiter
from chanlink.errors import END, Reason

FAILED = Reason("failed", "broken", "by the test")
REFUSED = Reason("refused", "closed")


class Outlet:
    meets = converter = service = instruments = trace = None

    def __init__(self, capacity: int | None = None, credit: int = 10) -> None:
        self.reason: Reason | None = None
        self.finished: Reason | None = None
        self.failed: Reason | None = None
        self.capacity = capacity
        self.credit: int | None = credit
        self.sent = self.taken = self.queued = 0

    def post(self, value: Any) -> bool:
        return True

    def prepare(self, value: Any) -> Offer:
        return Offer(value, {})

    def commit(self, offer: Offer) -> bool:
        return True

    def stand(self, offer: Offer, waiter: Waiter) -> None: ...
    def withdraw(self, offer: Offer) -> None: ...

    def failing(self, reason: Reason) -> None:
        self.failed = reason

    def finish(self, reason: Reason) -> None:
        self.finished = reason


class Feed:
    service = instruments = trace = None

    def __init__(self, *items: Any, reason: Reason | None = None) -> None:
        self.items = deque(items)
        self.reason = reason
        self.refusal: Reason | None = None
        self.taken = 0

    @property
    def queued(self) -> int:
        return len(self.items)

    @property
    def drained(self) -> bool:
        return self.over() is not None

    def take(self, limit: int) -> Any:
        if not self.items:
            return EMPTY
        self.taken += 1
        return self.items.popleft()

    def over(self) -> Reason | None:
        return None if self.items else self.reason

    def refuse(self, reason: Reason) -> None:
        self.refusal = reason


class Woken:
    def __init__(self) -> None:
        self.count = 0

    def set(self) -> None:
        self.count += 1

    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Any) -> None: ...


def send_core(outlet: Outlet | None = None, **options: Any) -> tuple[SendCore, Outlet]:
    outlet = outlet or Outlet()
    return SendCore(outlet, Loop(), **options), outlet


def receive_core(*feeds: Feed) -> ReceiveCore:
    core = ReceiveCore(Loop())
    for feed in feeds:
        core.also_from(feed)
        core.readable(feed)
    return core


def waiting(queue: Any, count: int) -> list[Woken]:
    waiters = [Woken() for _ in range(count)]
    for waiter in waiters:
        queue.add(waiter)
    return waiters


def counts(waiters: list[Woken]) -> list[int]:
    return [waiter.count for waiter in waiters]


# --- sending ---


def test_a_channel_ends_with_the_last_share_and_for_the_first_failure() -> None:
    core, outlet = send_core()
    core.share(2)
    core.release(END)
    core.release(FAILED)
    assert (outlet.failed, outlet.finished) == (FAILED, None)
    core.release(Reason("failed", "another"))
    assert outlet.finished == FAILED


def test_room_wakes_one_sender_and_all_that_watch() -> None:
    core, _ = send_core()
    senders, watchers = waiting(core.senders, 2), waiting(core.watchers, 2)
    core.writable()
    assert (counts(senders), counts(watchers)) == ([1, 0], [1, 1])


def test_nobody_is_woken_to_look_at_a_full_outlet() -> None:
    core, outlet = send_core(Outlet(credit=0))
    senders = waiting(core.senders, 1)
    core.writable()
    assert counts(senders) == [0]
    outlet.credit = 1
    core.writable()
    assert counts(senders) == [1]


def test_a_refusal_wakes_all_senders_though_it_is_full() -> None:
    core, outlet = send_core(Outlet(credit=0))
    senders = waiting(core.senders, 3)
    outlet.reason = REFUSED
    core.writable()
    assert counts(senders) == [1, 1, 1]
    assert (core.over(), core.is_over()) == (REFUSED, True)


def test_a_task_that_was_served_has_a_lease() -> None:
    core, _ = send_core()
    assert not core.has_lease()
    core.served(well=True)
    assert [core.has_lease() for _ in range(SENDS_PER_WAKE + 1)] == [True] * SENDS_PER_WAKE + [False]
    core.served(well=True)
    core.served(well=False)
    assert not core.has_lease()


def test_with_a_capacity_there_is_no_lease() -> None:
    core, _ = send_core(Outlet(capacity=1))
    core.served(well=True)
    assert not core.has_lease()


def test_no_more_bytes_are_promised_than_were_said() -> None:
    core, _ = send_core(size=10)
    assert core.reserve(4) == 0
    assert core.reserve(8) == 2
    core.release_reserved(4, sent=False)
    assert core.reserve(8) == 0
    core.release_reserved(8, sent=True)
    assert (core.bytes_left, core.reserve(3), core.reserve(2)) == (2, 1, 0)


def test_what_was_taken_at_the_old_outlet_still_counts() -> None:
    core, outlet = send_core()
    outlet.sent, outlet.taken = 5, 3
    watchers, new, loop = waiting(core.watchers, 1), Outlet(), Loop()
    core.leave_by(new, loop)
    new.sent, new.taken = 2, 1  # the two that were not taken went there first
    assert (core.sent, core.taken, core.loop) == (5, 4, loop)
    assert counts(watchers) == [1]


@pytest.mark.parametrize(
    ("reason", "failure"),
    [(None, None), (END, None), (FAILED, FAILED), (REFUSED, Reason("failed", "closed"))],
    ids=["open", "ended", "failed", "refused_by_its_owner"],
)
def test_the_reason_of_a_receiver_that_leaves_goes_where_it_goes(reason: Reason | None, failure: Reason | None) -> None:
    core, outlet = send_core(shares=0)
    receiver = receive_core()
    if reason == REFUSED:
        receiver.refuse(REFUSED)
    elif reason is not None:
        feed = Feed(reason=reason)
        receiver.also_from(feed)
        receiver.readable(feed)
        receiver.over()
    core.stand_for(receiver, relays=0)
    core.settle()
    assert outlet.finished == (failure or END)


# --- receiving ---


def test_feeds_take_turns() -> None:
    core = receive_core(Feed(1, 2, 3), Feed("a", "b"))
    assert [core.take(0) for _ in range(5)] == [1, "a", 2, "b", 3]
    assert (core.take(0), core.taken) == (EMPTY, 5)


def test_a_channel_is_over_when_all_feeds_are_and_fails_for_the_first_that_did() -> None:
    ended, failing = Feed(1, reason=END), Feed(2, reason=FAILED)
    core = receive_core(ended, failing)
    assert [core.take(0), core.take(0)] == [1, 2]
    for _ in range(2):
        with pytest.raises(ChannelFailed):
            core.take(0)
    assert (core.feeds, core.taken, core.is_over()) == ({}, 2, True)


def test_the_end_wakes_everybody() -> None:
    core = receive_core(Feed(reason=END))
    receivers, watchers = waiting(core.receivers, 2), waiting(core.watchers, 1)
    assert core.over() == END
    assert (counts(receivers), counts(watchers)) == ([1, 1], [1])
    with pytest.raises(EndOfChannel):
        core.take(0)


@pytest.mark.parametrize(
    "feeds", [[Feed(1, 2)], [Feed(1, reason=END)], [Feed(1), Feed(2)]], ids=["more", "the end", "another feed"]
)
def test_whoever_takes_wakes_the_next_one_if_there_may_be_something_for_it(feeds: list[Feed]) -> None:
    core = receive_core(*feeds)
    receivers = waiting(core.receivers, 2)
    core.take(0)
    assert counts(receivers) == [1, 0]


def test_nobody_is_woken_for_a_message_that_has_been_taken() -> None:
    core = receive_core(Feed(1))
    receivers = waiting(core.receivers, 2)
    core.take(0)
    assert counts(receivers) == [0, 0]


def test_a_feed_that_is_not_of_this_core_any_more_wakes_nobody() -> None:
    feed = Feed(1)
    core = receive_core(feed)
    core.refuse(REFUSED)
    receivers = waiting(core.receivers, 1)
    core.readable(feed)
    assert counts(receivers) == [0]


def test_a_refusal_reaches_every_feed_and_is_what_the_receiver_sees() -> None:
    feeds = [Feed(1), Feed()]
    core = receive_core(*feeds)
    core.take(0)
    core.refuse(REFUSED)
    assert [feed.refusal for feed in feeds] == [REFUSED, REFUSED]
    with pytest.raises(ChannelRefused):
        core.take(0)
    assert core.taken == 1


def test_a_refusal_after_the_end_reaches_the_last_feed() -> None:
    feed = Feed(reason=END)
    core = receive_core(feed)
    core.over()
    core.refuse(REFUSED)
    assert (feed.refusal, core.reason) == (REFUSED, END)


def test_what_breaks_a_rule_is_refused_there_and_a_failure_here() -> None:
    feed = Feed(1)
    core = receive_core(feed)
    core.fail(FAILED)
    assert feed.refusal == Reason("refused", FAILED.code, FAILED.text)
    with pytest.raises(ChannelFailed):
        core.take(0)


def test_bytes_count_down_to_the_size() -> None:
    core = ReceiveCore(Loop(), size=10)
    core.count(4)
    assert (core.bytes, core.bytes_left) == (4, 6)


def test_a_message_given_back_comes_first() -> None:
    one, other = Feed(1), Feed("given back")
    core = receive_core(one)
    core.also_from(other)
    core.readable(other, first=True)
    assert [core.take(0), core.take(0)] == ["given back", 1]
