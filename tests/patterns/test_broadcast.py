"""`broadcast`: who gets what under each policy; joining, leaving, being lost; the end."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import chanlink
from chanlink import (
    ChannelClosed,
    ChannelFailed,
    ChannelRefused,
    EncodeError,
    EndOfChannel,
    Lagged,
    Limits,
)
from chanlink.patterns import Broadcast, Policy, Subscription, broadcast, cut, drop_oldest, subscribe, wait
from chanlink.testing import local_server, session_pair
from tests.channels.pairs import settle
from tests.leaks import Leaks
from tests.patience import PATIENCE, lines_run, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

FOR_EVER = 10 * PATIENCE


@asynccontextmanager
async def in_memory(b: Broadcast[Any], capacity: int | None = None) -> AsyncIterator[Subscription[Any]]:
    async with b.subscribe(capacity) as news:
        yield news


@asynccontextmanager
async def over_a_session(b: Broadcast[Any], capacity: int | None = None) -> AsyncIterator[Subscription[Any]]:
    async with (
        session_pair(services={"news": b}) as (client, _server),
        await subscribe(client, "news", capacity=capacity) as news,
    ):
        yield news


WAYS = [in_memory, over_a_session]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
POLICIES: dict[str, Policy] = {"drop": drop_oldest(3), "cut": cut(3), "wait": wait(FOR_EVER, 3)}
each_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


async def all_of(news: Subscription[Any]) -> list[Any]:
    """All that comes until the orderly end; of gaps, how many are missing, as text."""
    got: list[Any] = []
    while True:
        try:
            async for item in news:
                got.append(item)
            return got
        except Lagged as exc:
            got.append(f"{exc.count} missing")


@each_way
@each_policy
async def test_each_message_comes_to_each_subscriber_in_order(way: Any, policy: Policy) -> None:
    got: dict[int, list[Any]] = {}

    async def read(number: int, news: Subscription[Any]) -> None:
        got[number] = await all_of(news)

    async with AsyncExitStack() as stack, AsyncExitStack() as ending:
        b = await ending.enter_async_context(broadcast(policy))
        everybody = [await stack.enter_async_context(way(b)) for _ in range(5)]
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for number, news in enumerate(everybody):
                    tasks.start_soon(read, number, news)
                for n in range(200):
                    await b.send({"n": n})
                    await settle()
                await ending.aclose()
    assert list(got.values()) == [[{"n": n} for n in range(200)]] * 5


@each_way
async def test_who_joins_gets_what_is_sent_from_then_on(way: Any) -> None:
    async with broadcast(drop_oldest(10)) as b, b.subscribe() as first:
        await b.send(1)
        async with way(b) as second:
            await b.send(2)
            with anyio.fail_after(PATIENCE):
                assert [await first.receive(), await first.receive(), await second.receive()] == [1, 2, 2]


# --- the policies -------------------------------------------------------------------------------------


@each_way
async def test_drop_oldest_tells_in_place_how_many_are_missing(way: Any) -> None:
    """Two messages are in the channel, three are kept: of ten the third to the seventh are missing."""
    async with AsyncExitStack() as stack:
        async with broadcast(drop_oldest(3)) as b:
            news = await stack.enter_async_context(way(b, 2))
            for n in range(1, 11):
                await b.send(n)
        with anyio.fail_after(PATIENCE):
            assert await all_of(news) == [1, 2, "5 missing", 8, 9, 10]


@each_way
async def test_a_subscriber_that_was_slow_and_is_not_any_more_goes_on_as_the_others(way: Any) -> None:
    async with broadcast(drop_oldest(2)) as b, way(b, 1) as news:
        with anyio.fail_after(PATIENCE):
            for begin in range(0, 100, 10):
                for n in range(begin, begin + 10):
                    await b.send(n)
                got = [await news.receive()]
                with pytest.raises(Lagged) as caught:
                    await news.receive()
                got += [await news.receive(), await news.receive()]
                assert (got, caught.value.count) == ([begin, begin + 8, begin + 9], 7)
                with pytest.raises(anyio.WouldBlock):
                    news.receive_nowait()
                await settle()
                await b.send("quick")
                assert await news.receive() == "quick"
                await settle()


@each_way
async def test_cut_fails_who_misses_a_message_and_nobody_else(way: Any) -> None:
    async with broadcast(cut(3)) as b, way(b, 2) as slow, way(b, 100) as news:
        for n in range(6):
            await b.send(n)
        await until(lambda: b.subscribers == 1)
        with anyio.fail_after(PATIENCE):
            assert [await slow.receive(), await slow.receive()] == [0, 1]
            with pytest.raises(ChannelFailed) as caught:
                await slow.receive()
            assert caught.value.code == "lagged"
            assert [await news.receive() for _ in range(6)] == list(range(6))
            await b.send(6)
            assert await news.receive() == 6


@each_way
async def test_wait_waits_for_the_slowest_and_loses_nothing(way: Any) -> None:
    sent: list[int] = []

    async def send(b: Broadcast[Any]) -> None:
        for n in range(20):
            await b.send(n)
            sent.append(n)

    async with broadcast(wait(FOR_EVER, 1)) as b, way(b, 1) as news, way(b) as quick:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, b)
                await settle()
                assert len(sent) == 2
                with pytest.raises(anyio.WouldBlock):
                    b.send_nowait(99)
                for n in range(20):
                    assert await news.receive() == n
                    assert len(sent) <= n + 3
            assert [await quick.receive() for _ in range(20)] == list(range(20))


@each_way
async def test_wait_cuts_who_has_no_room_in_time(way: Any) -> None:
    async with broadcast(wait(0.05, 1)) as b, way(b, 1) as stuck, way(b) as news:
        with anyio.fail_after(PATIENCE):
            for n in range(4):
                await b.send(n)
                assert await news.receive() == n
            assert b.subscribers == 1
            assert await stuck.receive() == 0
            with pytest.raises(ChannelFailed, match="lagged"):
                await stuck.receive()


async def test_several_tasks_that_wait_send_in_the_order_in_which_they_came() -> None:
    async with broadcast(wait(FOR_EVER, 1)) as b, b.subscribe(1) as news, anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(b.send, n)
            await settle()
        with anyio.fail_after(PATIENCE):
            assert [await news.receive() for _ in range(10)] == list(range(10))


@pytest.mark.parametrize("subscribers", [0, 1, 300])
async def test_a_loop_of_sends_lets_others_run_and_can_be_cancelled(subscribers: int) -> None:
    async with broadcast(drop_oldest(1)) as b, AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        for _ in range(subscribers):
            await stack.enter_async_context(b.subscribe())
        turns = 0

        async def others() -> None:
            nonlocal turns
            while turns < 5:
                turns += 1
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

        tasks.start_soon(others)
        for _ in range(10_000):
            await b.send(None)
        raise AssertionError("it was not cancelled")


async def test_a_cancelled_send_has_sent_nothing_or_to_all() -> None:
    async with AsyncExitStack() as stack:
        async with broadcast(wait(FOR_EVER, 1)) as b:
            one, other = [await stack.enter_async_context(b.subscribe(1)) for _ in range(2)]
            await b.send(0)
            await b.send(1)
            for _ in range(10):
                with anyio.move_on_after(0.001):
                    await b.send("never")
            assert await one.receive() == 0
            with anyio.move_on_after(0.001):
                await b.send("never")
        with anyio.fail_after(PATIENCE):
            assert (await all_of(one), await all_of(other)) == ([1], [0, 1])


async def test_a_block_that_is_left_wakes_who_waits_to_send() -> None:
    """Though nobody takes anything."""
    refused = []

    async def send(b: Broadcast[Any]) -> None:
        try:
            await b.send(2)
        except ChannelClosed as exc:
            refused.append(exc)

    async with anyio.create_task_group() as tasks:
        async with broadcast(wait(FOR_EVER, 1)) as b:
            news = b.subscribe(1)
            await b.send(0)
            await b.send(1)
            tasks.start_soon(send, b)
            await settle()
        with anyio.fail_after(PATIENCE):
            await until(lambda: refused)
            assert await all_of(news) == [0, 1]


# --- who comes and goes -----------------------------------------------------------------------------------


@each_way
@each_policy
async def test_who_goes_is_let_go_of_though_nothing_is_sent(way: Any, policy: Policy, no_leaks: Leaks) -> None:
    async with broadcast(policy) as b:
        no_leaks.watch("subscribers", lambda: b.subscribers)
        no_leaks.watch("kept", lambda: len(b._log._messages))
        for sent in range(4):
            async with way(b, 1):
                for n in range(min(sent, 3)):
                    await b.send(n)
            await until(lambda: b.subscribers == 0)


async def test_one_who_goes_frees_who_waits() -> None:
    async with broadcast(wait(FOR_EVER, 1)) as b, anyio.create_task_group() as tasks:
        news = b.subscribe(1)
        await b.send(1)
        await b.send(2)
        tasks.start_soon(b.send, 3)
        await settle()
        news.close()


async def test_who_loses_the_session_is_let_go_of_and_the_others_go_on() -> None:
    async with (
        broadcast(wait(FOR_EVER, 1)) as b,
        b.subscribe() as near,
        session_pair(services={"news": b}) as (client, server),
        anyio.create_task_group() as tasks,
    ):
        far = [await subscribe(client, "news", capacity=1) for _ in range(3)]
        with anyio.fail_after(PATIENCE):
            await until(lambda: b.subscribers == 4)
            for n in range(2):
                await b.send(n)
            tasks.start_soon(b.send, 2)
            await settle()
            client.abort()
            await server.wait_closed()
            assert [await near.receive() for _ in range(3)] == [0, 1, 2]
            assert b.subscribers == 1
        for news in far:
            news.close()


async def test_what_is_kept_is_bounded_and_nothing_when_nobody_is_slow() -> None:
    async with broadcast(drop_oldest(5)) as b, b.subscribe(1) as slow, b.subscribe(1_000) as quick:
        for n in range(100):
            await b.send(n)
            assert len(b._log._messages) <= 5
        await quick.receive()
        with anyio.fail_after(PATIENCE):
            got = [await slow.receive()]
            while got[-1] != 99:
                try:
                    got.append(await slow.receive())
                except Lagged:
                    continue
        assert len(b._log._messages) == 0
        await b.send(100)
        assert len(b._log._messages) == 0
        await b.send(101)
        assert len(b._log._messages) == 1  # the slow one has no room until it takes 100


async def test_a_message_is_encoded_once_however_many_subscribers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from chanlink.session.ends import encoding

    count = 0
    whole = encoding.encode_body

    def counting(*args: Any) -> Any:
        nonlocal count
        count += 1
        return whole(*args)

    monkeypatch.setattr(encoding, "encode_body", counting)
    async with broadcast(drop_oldest(10)) as b, session_pair(services={"news": b}) as (client, _server):
        everybody = [b.subscribe() for _ in range(20)] + [await subscribe(client, "news") for _ in range(20)]
        await until(lambda: b.subscribers == 40)
        await b.send("once")
        with anyio.fail_after(PATIENCE):
            for news in everybody:
                assert await news.receive() == "once"
                news.close()
    assert count == 1


async def test_those_who_are_slow_cost_the_others_nothing() -> None:
    """A send runs as many lines with a thousand that are slow as with one."""
    lines = []
    for count in (1, 1_000):
        async with broadcast(drop_oldest(3)) as b:
            slow = [b.subscribe(1) for _ in range(count)]
            for n in range(5):
                b.send_nowait(n)
            lines.append(lines_run(lambda: b.send_nowait(5)))
            for news in slow:
                news.close()
    assert lines[0] == lines[1]


# --- messages, ends ---------------------------------------------------------------------------------------


async def test_what_cannot_be_sent_is_sent_to_nobody() -> None:
    async with broadcast(cut()) as b, b.subscribe() as news:
        for bad in (object(), *chanlink.pipe()):
            for send in (b.send_nowait, None):
                with pytest.raises(EncodeError):
                    send(bad) if send else await b.send(bad)
            if isinstance(bad, chanlink.Sender | chanlink.Receiver):
                bad.close()
        await b.send("good")
        assert await news.receive() == "good"


async def test_subscribers_don_t_share_what_they_get() -> None:
    async with broadcast(cut()) as b, b.subscribe() as one, b.subscribe() as other:
        await b.send([1])
        (await one.receive()).append(2)
        assert await other.receive() == [1]


async def test_who_takes_no_such_message_fails_and_the_others_get_it() -> None:
    async with (
        broadcast(cut()) as b,
        b.subscribe() as near,
        session_pair(Limits(message_size=100), services={"news": b}) as (client, _server),
        await subscribe(client, "news") as far,
    ):
        await until(lambda: b.subscribers == 2)
        await b.send("short")
        await b.send("x" * 100)
        with anyio.fail_after(PATIENCE):
            assert await far.receive() == "short"
            with pytest.raises(ChannelFailed, match="too-large"):
                await far.receive()
            assert [await near.receive(), await near.receive()] == ["short", "x" * 100]
        assert b.subscribers == 1


@each_way
async def test_an_exception_fails_the_channels_behind_what_was_sent(way: Any) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ZeroDivisionError):
            async with broadcast(drop_oldest(2)) as b:
                news = await stack.enter_async_context(way(b, 1))
                for n in range(3):
                    await b.send(n)
                raise ZeroDivisionError("not for everybody")
        with anyio.fail_after(PATIENCE):
            assert [await news.receive() for _ in range(3)] == [0, 1, 2]
            with pytest.raises(ChannelFailed) as caught:
                await news.receive()
        assert (caught.value.code, caught.value.text) == ("zero-division-error", "")


async def test_behind_the_block_nothing_is_sent_and_who_subscribes_gets_the_end() -> None:
    async with broadcast(wait(1)) as b:
        pass
    with pytest.raises(ChannelClosed):
        await b.send(1)
    with pytest.raises(ChannelClosed):
        b.send_nowait(1)
    async with b.subscribe() as news:
        with pytest.raises(EndOfChannel):
            await news.receive()


async def test_policies_keep_one_message_at_least_and_a_rendezvous_is_none() -> None:
    for policy in (drop_oldest, cut, lambda n: wait(1, n)):
        with pytest.raises(ValueError, match="at least one message"):
            policy(0)
    async with broadcast(cut()) as b:
        with pytest.raises(ValueError, match="rendezvous"):
            b.subscribe(0)
        assert b.subscribers == 0


async def test_what_is_no_policy_sender_or_session_is_named() -> None:
    bad: Any = "x"
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: drop_oldest(bad), "messages"),
        (lambda: wait(bad), "seconds"),
        (lambda: broadcast(bad), "policy"),
    ]
    for call, name in calls:
        with pytest.raises(TypeError, match=f"{name} must be "):
            call()
    async with broadcast(cut()) as b:
        with pytest.raises(TypeError, match="sender must be "):
            b.add(bad)
        with pytest.raises(TypeError, match="session must be "):
            await subscribe(bad, "news")


async def test_it_is_a_service_of_a_listener() -> None:
    async with (
        broadcast(drop_oldest(10)) as b,
        local_server({"news": b}) as server,
        server.connect("me") as session,
        await subscribe(session, "news") as news,
    ):
        with anyio.fail_after(PATIENCE):
            await b.send("hello")
            assert await news.receive() == "hello"
            with pytest.raises(ChannelRefused, match="no-such-service"):
                await subscribe(session, "new")


@dataclass
class Post:
    author: str
    text: str


async def test_a_broadcast_has_a_type_as_its_channels_have() -> None:
    async with (
        broadcast(drop_oldest(1), Post) as b,
        b.subscribe(1) as near,
        session_pair(services={"news": b}) as (client, _server),
        await subscribe(client, "news", Post, capacity=1) as typed,
        await subscribe(client, "news") as plain,
    ):
        await until(lambda: b.subscribers == 3)
        for n in range(4):
            await b.send(Post("me", str(n)))
        with anyio.fail_after(PATIENCE):
            for news in (near, typed):
                assert await news.receive() == Post("me", "0")
                with pytest.raises(Lagged):
                    await news.receive()
                assert await news.receive() == Post("me", "3")
            assert await plain.receive() == {"author": "me", "text": "0"}
