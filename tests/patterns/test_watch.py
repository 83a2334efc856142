"""`watch`: what its readers see, in this process and over sessions; how it ends; who is let go of."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import (
    ChannelClosed,
    ChannelFailed,
    ChannelRefused,
    EncodeError,
    EndOfChannel,
    Limits,
    Receiver,
)
from chanlink.patterns import Watch, follow, watch
from chanlink.testing import local_server, session_pair
from tests.channels.pairs import settle
from tests.leaks import Leaks
from tests.patience import PATIENCE, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@asynccontextmanager
async def in_memory(w: Watch[Any]) -> AsyncIterator[Receiver[Any]]:
    async with w.subscribe() as receiver:
        yield receiver


@asynccontextmanager
async def followed(w: Watch[Any]) -> AsyncIterator[Receiver[Any]]:
    async with session_pair(services={"state": w}) as (client, _server), await follow(client, "state") as receiver:
        yield receiver


WAYS = [in_memory, followed]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@each_way
async def test_a_reader_sees_what_it_is_and_then_each_change_that_it_waits_for(way: Any) -> None:
    async with watch("a") as w, way(w) as receiver:
        with anyio.fail_after(PATIENCE):
            assert await receiver.receive() == w.value == "a"
            for value in ("b", "c", "c", None):
                w.set(value)
                assert await receiver.receive() == value == w.value


@each_way
async def test_a_slow_reader_sees_one_old_value_at_most_and_then_the_newest(way: Any) -> None:
    async with watch(0) as w, way(w) as receiver:
        with anyio.fail_after(PATIENCE):
            assert await receiver.receive() == 0
            await settle()
            for n in range(1, 1_000):
                w.set(n)
                await checkpoint()
            await settle()
            assert await receiver.receive() == 1
            await settle()
            w.set(1_000)
            assert [await receiver.receive(), await receiver.receive()] == [999, 1_000]


@each_way
async def test_the_last_value_comes_before_the_end_also_to_who_is_slow(way: Any) -> None:
    async with AsyncExitStack() as stack:
        async with watch(0) as w:
            receiver = await stack.enter_async_context(way(w))
            await until(lambda: w.subscribers)
            for n in range(1, 4):
                w.set(n)
        with anyio.fail_after(PATIENCE):
            assert [n async for n in receiver][-1] == 3
            await until(lambda: w.subscribers == 0)


@each_way
async def test_a_block_that_an_exception_leaves_fails_after_the_last_value(way: Any) -> None:
    class Broken(Exception):
        pass

    async with AsyncExitStack() as stack:
        with pytest.raises(Broken):
            async with watch(1) as w:
                receiver = await stack.enter_async_context(way(w))
                await until(lambda: w.subscribers)
                w.set(2)
                w.set(3)
                raise Broken("not for everybody")
        with anyio.fail_after(PATIENCE):
            assert [await receiver.receive(), await receiver.receive()] == [1, 3]
            with pytest.raises(ChannelFailed) as caught:
                await receiver.receive()
        assert (caught.value.code, caught.value.text) == ("broken", "")


async def test_a_block_that_is_cancelled_says_so() -> None:
    with anyio.CancelScope() as scope:
        async with watch(1) as w:
            receiver = w.subscribe()
            scope.cancel()
            await checkpoint()
    assert await receiver.receive() == 1
    with pytest.raises(ChannelFailed, match="cancelled"):
        await receiver.receive()


async def test_behind_the_block_nothing_is_set_and_a_subscriber_gets_the_last_value() -> None:
    async with watch(1) as w:
        w.set(2)
    with pytest.raises(ChannelClosed):
        w.set(3)
    assert w.value == 2
    assert [n async for n in w.subscribe()] == [2]


async def test_a_value_that_cannot_be_sent_changes_nothing() -> None:
    async with watch(1) as w, w.subscribe() as receiver:
        sender, other = chanlink.pipe()
        for bad in (object(), [sender]):
            with pytest.raises(EncodeError):
                w.set(bad)  # type: ignore[arg-type]
        assert w.value == await receiver.receive() == 1
        w.set(2)
        assert await receiver.receive() == 2
        sender.close()
        other.close()
    with pytest.raises(EncodeError):
        async with watch(object()):
            raise AssertionError("it is not entered")


async def test_readers_don_t_share_what_they_get() -> None:
    async with watch([1]) as w, w.subscribe() as one, w.subscribe() as other:
        (await one.receive()).append(2)
        assert await other.receive() == w.value == [1]


@each_way
async def test_who_goes_is_let_go_of_though_nothing_changes(way: Any, no_leaks: Leaks) -> None:
    async with watch(0) as w:
        no_leaks.watch("subscribers", lambda: w.subscribers)
        for taken in range(3):
            async with way(w) as receiver:
                with anyio.fail_after(PATIENCE):
                    for n in range(taken):
                        await receiver.receive()
                        w.set(n)
                    await until(lambda: w.subscribers == 1)
            await until(lambda: w.subscribers == 0)


async def test_who_is_forgotten_is_let_go_of() -> None:
    async with watch(0) as w:
        receiver = w.subscribe()
        with pytest.warns(ResourceWarning, match="forgotten"):
            del receiver
        await until(lambda: w.subscribers == 0)


async def test_who_loses_the_session_is_let_go_of_and_the_others_go_on() -> None:
    async with watch(0) as w, w.subscribe() as near, session_pair(services={"state": w}) as (client, server):
        far = [await follow(client, "state") for _ in range(3)]
        with anyio.fail_after(PATIENCE):
            assert [await receiver.receive() for receiver in far] == [0, 0, 0]
            await until(lambda: w.subscribers == 4)
            client.abort()
            await server.wait_closed()
            assert w.subscribers == 1
            w.set(1)
            assert [await near.receive(), await near.receive()] == [0, 1]
        for receiver in far:
            receiver.close()


async def test_one_who_never_reads_holds_up_nobody() -> None:
    async with watch(0) as w, session_pair(services={"state": w}) as (client, _server):
        stuck = [w.subscribe(), await follow(client, "state")]
        async with await follow(client, "state") as receiver, w.subscribe() as near:
            with anyio.fail_after(PATIENCE):
                for n in range(200):
                    w.set(n)
                    while await receiver.receive() != n:
                        pass
                    while await near.receive() != n:
                        pass
        for one in stuck:
            one.close()


async def test_thousands_of_subscribers_all_see_the_last_value() -> None:
    async with watch(0) as w:
        receivers = [w.subscribe() for _ in range(5_000)]
        for n in range(1, 4):
            w.set(n)
        for receiver in receivers:
            async with receiver:
                assert [await receiver.receive(), await receiver.receive()] == [0, 3]
        assert w.subscribers == 0


async def test_there_is_no_task_for_a_subscriber() -> None:
    before = len(anyio.get_running_tasks())
    async with watch(0) as w:
        receivers = [w.subscribe() for _ in range(100)]
        w.set(1)
        assert len(anyio.get_running_tasks()) == before
        for receiver in receivers:
            receiver.close()


async def test_a_subscription_is_sent_away_in_a_message() -> None:
    async with watch(0) as w, session_pair() as (client, server):
        sender, receiver = chanlink.pipe()
        async with await client.open("x") as carrier:
            await carrier.send({"state": w.subscribe(), "receiver": receiver})
        with anyio.fail_after(PATIENCE):
            async with (await server.accept()).end as carried:
                message = await carried.receive()
            async with message["state"] as state, message["receiver"]:
                assert await state.receive() == 0
                w.set(1)
                assert await state.receive() == 1
        sender.close()


async def test_a_message_that_is_no_sender_is_refused() -> None:
    async with watch(0) as w, session_pair(services={"state": w}) as (client, _server):
        async with await client.open("state") as requests:
            await requests.send({"reply": 1})
            with anyio.fail_after(PATIENCE):
                assert "bad-request" in str(await requests.wait_closed())
        assert w.subscribers == 0


async def test_following_on_a_session_that_is_over_leaves_nothing() -> None:
    async with session_pair() as (client, _):
        client.abort()
        await client.wait_closed()
        with pytest.raises(chanlink.SessionError):
            await follow(client, "state")


async def test_who_takes_no_such_value_fails_and_the_others_get_it() -> None:
    async with (
        watch("short") as w,
        w.subscribe() as near,
        session_pair(Limits(message_size=100), services={"state": w}) as (client, _server),
        await follow(client, "state") as receiver,
    ):
        with anyio.fail_after(PATIENCE):
            assert await receiver.receive() == "short"
            w.set("x" * 100)
            with pytest.raises(ChannelFailed) as caught:
                await receiver.receive()
            assert caught.value.code == "too-large"
            assert [await near.receive(), await near.receive()] == ["short", "x" * 100]
            assert w.subscribers == 1


async def test_it_is_a_service_of_a_listener() -> None:
    async with (
        watch("starting") as w,
        local_server({"state": w}) as server,
        server.connect("me") as session,
        await follow(session, "state") as receiver,
    ):
        with anyio.fail_after(PATIENCE):
            assert await receiver.receive() == "starting"
            w.set("ready")
            assert await receiver.receive() == "ready"
            with pytest.raises(ChannelRefused, match="no-such-service"):
                await follow(session, "stat")


async def test_an_ended_watch_that_is_still_served_gives_the_last_value_and_the_end() -> None:
    async with watch(1) as w:
        pass
    async with session_pair(services={"state": w}) as (client, _server), await follow(client, "state") as receiver:
        with anyio.fail_after(PATIENCE):
            assert await receiver.receive() == 1
            with pytest.raises(EndOfChannel):
                await receiver.receive()


@dataclass
class State:
    name: str
    jobs: list[int]


async def test_a_watch_has_a_type_as_its_channels_have() -> None:
    async with (
        watch(State("idle", []), State) as w,
        w.subscribe() as near,
        session_pair(services={"state": w}) as (client, _server),
        await follow(client, "state", State) as typed,
        await follow(client, "state") as plain,
    ):
        with anyio.fail_after(PATIENCE):
            assert await near.receive() == await typed.receive() == State("idle", [])
            assert await plain.receive() == {"name": "idle", "jobs": []}
            w.set(State("busy", [1]))
            assert await near.receive() == await typed.receive() == w.value == State("busy", [1])
            assert await plain.receive() == {"name": "busy", "jobs": [1]}
