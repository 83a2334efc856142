"""Queues in memory alone: what fits, what is over, what happens at a rendezvous and when the receiver leaves."""

from typing import Any

import pytest

import chanlink
from chanlink import ChannelClosed, ChannelRefused, EncodeError
from chanlink.channels.memory import (
    MEMORY_BYTES,
    MEMORY_MESSAGES,
    ByteQueue,
    MessageQueue,
    queue_before,
    queue_behind,
)
from chanlink.channels.offers import Offer
from chanlink.channels.waiting import EMPTY, Loop
from chanlink.errors import END, Reason

REFUSED = Reason("refused", "closed")
FAILED = Reason("failed", "broken")


class Taker:
    """A task that waits for a message of a rendezvous."""

    def __init__(self) -> None:
        self.given: Any = EMPTY
        self.undo: Any = None
        self.woken = 0

    def set(self) -> None:
        self.woken += 1

    def takes(self) -> bool:
        return True

    def give(self, item: Any, undo: Any) -> None:
        self.given, self.undo = item, undo


class Onward:
    """The outlet of a stream that the receiver has left by."""

    meets = capacity = reason = credit = converter = None
    sent = taken = queued = 0

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.spoiled: Reason | None = None
        self.error: chanlink.ChanlinkError | None = None

    def write(self, value: Any) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(value)

    def spoil(self, reason: Reason) -> None:
        self.spoiled = reason

    def post(self, value: Any) -> bool:
        raise AssertionError

    def prepare(self, value: Any) -> Offer:
        raise AssertionError

    def commit(self, offer: Offer) -> bool:
        raise AssertionError

    def stand(self, offer: Offer, waiter: Any) -> None: ...
    def withdraw(self, offer: Offer) -> None: ...
    def failing(self, reason: Reason) -> None: ...
    def finish(self, reason: Reason) -> None: ...


def receiver_of(queue: MessageQueue) -> Any:
    assert queue.receiver is not None
    return queue.receiver


# --- messages ---


@pytest.mark.parametrize(("capacity", "places"), [(None, MEMORY_MESSAGES), (1, 1), (3, 3)])
def test_as_many_messages_fit_as_there_are_places(capacity: int | None, places: int) -> None:
    queue = MessageQueue(capacity)
    assert [queue.post(number) for number in range(places + 1)] == [True] * places + [False]
    assert not queue.commit(queue.prepare("one more"))
    assert (queue.queued, queue.credit, queue.capacity) == (places, 0, capacity)
    assert receiver_of(queue).take(0) == 0
    assert queue.post("one more")


def test_the_short_way_is_for_plain_values_only() -> None:
    queue = MessageQueue(None)
    ends = chanlink.pipe()
    assert not queue.post(list(ends))
    assert queue.commit(queue.prepare(list(ends)))
    assert all(end.is_void for end in ends)
    moved = receiver_of(queue).take(0)
    assert [type(end) for end in moved] == [chanlink.Sender, chanlink.Receiver]
    for end in moved:
        end.close()


@pytest.mark.parametrize("refused", [False, True], ids=["finished", "refused"])
def test_nothing_is_accepted_when_it_is_over(refused: bool) -> None:
    queue = MessageQueue(None)
    if refused:
        queue.refuse(REFUSED)
    else:
        queue.finish(END)
    assert not queue.can_accept()
    assert not queue.post("more")
    with pytest.raises(ChannelRefused if refused else ChannelClosed):
        queue.commit(queue.prepare("more"))


def test_the_end_comes_after_the_last_message() -> None:
    queue = MessageQueue(None)
    queue.post(1)
    queue.finish(FAILED)
    queue.finish(END)  # the first one stays
    assert (queue.over(), queue.drained) == (None, False)
    receiver_of(queue).take(0)
    assert (queue.over(), queue.drained) == (FAILED, True)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(REFUSED, "not-taken"), (Reason("refused", "busy"), "busy"), (Reason("refused", "revoked"), "revoked")],
    ids=lambda value: getattr(value, "code", None),
)
def test_a_refusal_drops_the_ends_that_wait(refusal: Reason, code: str) -> None:
    queue = MessageQueue(None)
    here, there = chanlink.pipe()
    queue.commit(queue.prepare(there))
    queue.refuse(refusal)
    with pytest.raises(ChannelRefused) as caught:
        here.send_nowait("hello")
    assert (caught.value.code, queue.queued) == (code, 0)
    here.close()


def test_a_receiver_does_not_go_through_its_own_channel() -> None:
    queue = MessageQueue(None)
    receiver = chanlink.Receiver[Any](receiver_of(queue))
    offer = queue.prepare([receiver])
    with pytest.raises(EncodeError, match="its own channel"):
        queue.commit(offer)
    offer.keep()
    receiver.close()


def test_what_is_to_come_after_the_messages_sent_does() -> None:
    queue, called = MessageQueue(None), []
    queue.after(lambda: called.append("at once"))
    queue.post(1)
    queue.after(lambda: called.append("after one"))
    queue.post(2)
    assert called == ["at once"]
    receiver_of(queue).take(0)
    assert called == ["at once", "after one"]


# --- a rendezvous ---


def test_at_a_rendezvous_nothing_is_accepted_before_a_receiver_waits() -> None:
    queue = MessageQueue(0)
    assert not queue.post("hello")
    offer = queue.prepare("hello")
    assert not queue.commit(offer)
    taker = Taker()
    receiver_of(queue).receivers.add(taker)
    assert queue.commit(offer)
    assert (taker.given, offer.taken, queue.sent, queue.taken) == ("hello", True, 1, 1)


def test_a_standing_offer_is_taken_and_its_sender_alone_is_told() -> None:
    queue = MessageQueue(0)
    offer, waiter, other = queue.prepare("hello"), Taker(), Taker()
    for one in (waiter, other):
        queue.sender.senders.add(one)
    queue.stand(offer, waiter)
    assert receiver_of(queue).take(0) == "hello"
    assert (offer.settled(), waiter.woken) == (True, 1)
    assert waiter not in queue.sender.senders


def test_an_offer_that_was_withdrawn_is_not_taken() -> None:
    queue = MessageQueue(0)
    offer = queue.prepare("hello")
    queue.stand(offer, Taker())
    queue.withdraw(offer)
    assert receiver_of(queue).take(0) is EMPTY


def test_only_at_a_rendezvous_a_queue_meets_its_receiver() -> None:
    assert MessageQueue(0).meets is not None
    assert MessageQueue(1).meets is MessageQueue(None).meets is ByteQueue(Loop()).meets is None


def given_back() -> tuple[MessageQueue, Taker]:
    """A rendezvous where a task was given a message and can't have it."""
    queue, taker = MessageQueue(0), Taker()
    receiver_of(queue).receivers.add(taker)
    assert queue.commit(queue.prepare("given back"))
    return queue, taker


def test_a_message_that_is_given_back_is_the_next_ones() -> None:
    queue, taker = given_back()
    taker.undo()
    assert (queue.taken, queue.queued) == (0, 1)
    assert receiver_of(queue).take(0) == "given back"
    assert queue.taken == 1


def test_two_messages_that_are_given_back_keep_their_order() -> None:
    queue, takers = MessageQueue(0), [Taker(), Taker()]
    for number, taker in enumerate(takers):
        receiver_of(queue).receivers.add(taker)
        queue.commit(queue.prepare(number))
    for taker in reversed(takers):
        taker.undo()
    assert [receiver_of(queue).take(0), receiver_of(queue).take(0)] == [0, 1]


def test_a_message_that_is_given_back_goes_where_the_receiver_went() -> None:
    queue, taker = given_back()
    onward = Onward()
    queue.leave_by(onward, Loop())
    taker.undo()
    assert (onward.written, onward.spoiled) == (["given back"], None)


def test_one_that_can_not_go_there_fails_the_channel() -> None:
    queue, taker = given_back()
    onward = Onward()
    onward.error = EncodeError("too long")
    queue.leave_by(onward, Loop())
    taker.undo()
    assert onward.spoiled == Reason("failed", "not-sent", "the message: too long")


def test_one_that_is_given_back_to_a_closed_receiver_is_dropped() -> None:
    queue, taker = given_back()
    queue.refuse(REFUSED)
    taker.undo()
    assert queue.queued == 0


# --- when the receiver leaves ---


def test_the_backlog_is_what_waits_and_what_is_sent_goes_on() -> None:
    queue, onward, loop = MessageQueue(None), Onward(), Loop()
    queue.post(1)
    queue.post(2)
    assert queue.backlog() == [1, 2]
    queue.leave_by(onward, loop)
    assert (queue.receiver, queue.sender.outlet, queue.sender.loop) == (None, onward, loop)


def test_a_core_knows_the_queue_beside_it() -> None:
    queue = MessageQueue(None)
    core = receiver_of(queue)
    assert queue_behind(queue.sender) is queue_before(core) is queue
    queue.leave_by(Onward(), Loop())
    assert queue_behind(queue.sender) is None
    core.refuse(REFUSED)
    assert queue_before(core) is None


# --- bytes ---


def test_bytes_are_accepted_until_the_queue_is_full_and_then_none() -> None:
    queue = ByteQueue(Loop())
    assert queue.post(bytes(MEMORY_BYTES - 1))
    assert queue.post(bytes(10))  # there was room for one
    assert not queue.post(b"x")
    assert not queue.commit(queue.prepare(b"x"))
    assert (queue.queued, queue.credit) == (MEMORY_BYTES + 9, -9)


def test_of_a_piece_that_is_too_long_the_rest_stays_first() -> None:
    queue = ByteQueue(Loop())
    queue.post(b"hello")
    queue.post(b"world")
    assert [queue.take(3), queue.take(100), queue.take(100), queue.take(100)] == [b"hel", b"lo", b"world", EMPTY]
    assert queue.queued == 0


def test_a_part_of_a_piece_that_waits_leaves_as_bytes() -> None:
    queue = ByteQueue(Loop())
    queue.post(b"hello")
    queue.take(3)
    assert queue.backlog() == [b"lo"]


def test_bytes_are_refused_with_the_reason() -> None:
    queue = ByteQueue(Loop())
    queue.post(b"hello")
    queue.refuse(REFUSED)
    assert queue.queued == 0
    assert not queue.post(b"more")
    with pytest.raises(ChannelRefused):
        queue.commit(queue.prepare(b"more"))


def test_each_direction_knows_its_size() -> None:
    queue = ByteQueue(Loop(), size=5)
    assert queue.receiver is not None
    assert queue.sender.bytes_left == queue.receiver.bytes_left == 5
