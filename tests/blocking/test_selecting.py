"""A select that has taken a message which its thread did not take with it."""

import pytest

from chanlink import blocking
from chanlink.blocking.selecting import Selecting


@pytest.mark.parametrize("next_one", ["receive", "select"])
def test_what_it_had_taken_is_what_comes_next(loop: blocking.Loop, next_one: str) -> None:
    sender, receiver = loop.pipe()
    sender.send(1)
    sender.send(2)
    selecting = Selecting(loop._portal, [receiver], None)
    job = loop._portal.job(selecting.select, selecting.keep)
    loop._portal.hand_over(job)
    job.finished.acquire()
    loop._portal.give_up(job)
    if next_one == "receive":
        assert receiver.receive(timeout=0) == 1
    else:
        assert loop.select(receiver, timeout=0).value == 1
    assert receiver.receive(timeout=0) == 2
    sender.close(), receiver.close()


def test_a_message_to_send_has_not_been_sent_if_it_timed_out(loop: blocking.Loop) -> None:
    sender, receiver = loop.pipe(1)
    sender.send("it is full")
    reply, replies = loop.pipe()
    with pytest.raises(TimeoutError):
        loop.select(sender.sending([reply]), timeout=0.01)
    assert not reply.is_void
    for end in (sender, receiver, reply, replies):
        end.close()
