"""Broadcasts and watches under random interleavings: each subscriber sees what a model of it says, to the message."""

import random
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed, EndOfChannel, Lagged
from chanlink.patterns import Policy, Subscription, Watch, broadcast, cut, drop_oldest, follow, subscribe, wait, watch
from chanlink.testing import session_pair
from tests.patience import PATIENCE, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

SEEDS = range(20)


class Follower:
    """A subscriber of a broadcast of 0, 1, 2, ...: it knows what has to come next."""

    def __init__(self, news: Subscription[int], position: int) -> None:
        self.news = news
        self.next = position
        self.missed = 0
        self.end: str | None = None

    def take(self, sent: int) -> bool:
        """Whether something was there. So many messages were sent to all."""
        try:
            assert self.news.receive_nowait() == self.next
            self.next += 1
        except Lagged as exc:
            self.next += exc.count
            self.missed += exc.count
        except EndOfChannel:
            self.end = "end"
        except ChannelFailed as exc:
            self.end = exc.code
        except anyio.WouldBlock:
            return False
        assert self.next <= sent
        return True


def policy_of(rng: random.Random) -> Policy:
    messages = rng.randint(1, 4)
    return rng.choice([drop_oldest(messages), cut(messages), wait(0.001, messages)])


@pytest.mark.parametrize("seed", SEEDS)
async def test_each_message_of_a_broadcast_comes_or_is_counted_as_missing(seed: int) -> None:
    rng = random.Random(seed)
    policy, sent = policy_of(rng), 0
    followers: list[Follower] = []
    async with broadcast(policy) as b, session_pair(services={"news": b}) as (client, _):
        for _step in range(60):
            match rng.choice(["join", "send", "send", "take", "take", "leave", "rest"]):
                case "join" if len(followers) < 5:
                    capacity = rng.choice([1, 2, 5])
                    here = rng.random() < 0.5
                    news = b.subscribe(capacity) if here else await subscribe(client, "news", capacity=capacity)
                    followers.append(Follower(news, sent))
                case "send":
                    for _ in range(rng.choice([1, 1, 8])):
                        await b.send(sent)
                        sent += 1
                case "take":
                    for follower in followers:
                        for _ in range(rng.randint(0, 4)):
                            follower.end or follower.take(sent)
                case "leave" if followers and rng.random() < 0.3:
                    followers.pop(rng.randrange(len(followers))).news.close()
                case "rest":
                    await anyio.sleep(rng.choice([0, 0.001]))
            assert len(b._log._messages) <= policy.messages
        b._log.audience.end(chanlink.errors.END)
        with anyio.fail_after(PATIENCE):
            for follower in followers:
                while follower.end is None:
                    if not follower.take(sent):
                        await anyio.sleep(0.001)
    for follower in followers:
        if follower.end == "end":
            assert follower.next == sent
            assert not follower.missed or isinstance(policy, drop_oldest)
        else:
            assert follower.end == "lagged"
            assert not isinstance(policy, drop_oldest)
        follower.news.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_value_that_is_watched_is_seen_in_its_order_and_at_last(seed: int) -> None:
    rng = random.Random(seed)
    value = 0
    followers: list[list[Any]] = []
    w: Watch[int]
    async with watch(0) as w, session_pair(services={"state": w}) as (client, _):
        for _step in range(60):
            match rng.choice(["join", "set", "set", "take", "take", "leave", "rest"]):
                case "join":
                    receiver = w.subscribe() if rng.random() < 0.5 else await follow(client, "state")
                    followers.append([receiver, -1])
                case "set":
                    value += 1
                    w.set(value)
                case "take":
                    for follower in followers:
                        try:
                            seen = follower[0].receive_nowait()
                        except anyio.WouldBlock:
                            continue
                        assert follower[1] < seen <= value
                        follower[1] = seen
                case "leave" if followers and rng.random() < 0.3:
                    followers.pop(rng.randrange(len(followers)))[0].close()
                case "rest":
                    await anyio.sleep(rng.choice([0, 0.001]))
        w._audience.end(chanlink.errors.END)
        with anyio.fail_after(PATIENCE):
            for receiver, last in followers:
                assert [last, *[seen async for seen in receiver]][-1] == value
                receiver.close()
            await until(lambda: not w.subscribers)
