"""Tickets, seen from the queue: the newest of each sort of news, and the outcome at last."""

from typing import Any

import pytest

import chanlink
from chanlink import ChannelFailed, Limits, Peer, Receiver
from chanlink.patterns.jobs.followers import Follower, Followers
from chanlink.patterns.jobs.store import Done, Failed, Known
from chanlink.testing import session_pair
from tests.patience import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

WAITS = Known("x", "waiting", 0, None, None, True)
FIRST = {"state": "waiting", "attempt": 0, "new": True}


def follow(followers: Followers, capacity: int | None = None) -> tuple[Follower, Receiver[Any]]:
    sender, receiver = chanlink.pipe(capacity)
    return Follower("x", sender, followers), receiver


async def test_what_was_told_before_it_is_known_comes_behind_that() -> None:
    followers = Followers()
    follower, receiver = follow(followers)
    follower.begins(1)
    follower.ends(Done(b"1"), 1)
    assert followers.of("x") == [follower]
    follower.opens(WAITS, None)
    assert [message async for message in receiver] == [FIRST, {"done": b"1"}]
    assert followers.of("x") == []


async def test_who_is_slow_gets_the_newest_and_the_outcome() -> None:
    followers = Followers()
    follower, receiver = follow(followers, 1)
    follower.opens(WAITS, None)
    for attempt in (1, 2):
        follower.begins(attempt)
        for value in (b"1", b"2"):
            follower.progresses(attempt, value)
    follower.ends(Failed("bad", "text"), 2)
    assert [message async for message in receiver] == [
        FIRST,
        {"attempt": 2, "progress": b"2"},
        {"failed": "bad", "text": "text", "attempt": 2},
    ]


async def test_a_job_that_has_ended_opens_with_its_outcome() -> None:
    follower, receiver = follow(Followers())
    follower.opens(Known("x", "done", 3, Done(b"1"), None, False), None)
    assert [message async for message in receiver] == [
        {"state": "done", "attempt": 3, "new": False},
        {"done": b"1"},
    ]


async def test_whoever_is_gone_is_forgotten() -> None:
    followers = Followers()
    (follower, receiver), (other, kept) = follow(followers), follow(followers)
    receiver.close()
    assert followers.of("x") == [other]
    follower.fail("draining")
    other.fail("draining", "stops")
    with pytest.raises(ChannelFailed, match="draining: stops"):
        await kept.receive()
    assert not len(followers)


async def test_an_attachment_that_nobody_was_asked_for_is_over() -> None:
    follower, receiver = follow(Followers(), 1)
    follower.opens(WAITS, None)
    attachments = [chanlink.pipe() for _ in range(2)]
    for attempt, (sender, _) in enumerate(attachments):
        follower.attach(attempt, sender)
    with pytest.raises(chanlink.EndOfChannel):
        await attachments[0][1].receive()
    receiver.close()
    with pytest.raises(chanlink.EndOfChannel):
        await attachments[1][1].receive()


async def test_who_can_not_be_sent_what_there_is_is_told_so_and_forgotten() -> None:
    followers, given = Followers(), list[Follower]()

    async def tickets(requests: Receiver[Any], peer: Peer) -> None:
        given.append(Follower("x", await requests.receive(), followers))

    services = {"tickets": tickets}
    async with session_pair(Limits(message_size=1_000), Limits(), services=services) as (client, _):
        sender, receiver = chanlink.pipe()
        async with await client.open("tickets") as requests, receiver:
            await requests.send(sender)
            await until(lambda: given)
            given[0].opens(WAITS, None)
            assert await receiver.receive() == FIRST
            attachment, attachments = chanlink.pipe()
            given[0].progresses(1, bytes(2_000))
            given[0].attach(1, attachment)
            assert not len(followers)
            with pytest.raises(ChannelFailed, match="too-large"):
                await receiver.receive()
            with pytest.raises(chanlink.EndOfChannel):
                await attachments.receive()
