"""`Subscription`: what it makes of messages, of honest ones and others; and that it can be selected."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, EndOfChannel, Lagged, MessageTypeError, Receiver, Sender
from chanlink.patterns import Subscription
from chanlink.testing import session_pair
from tests.channels.pairs import CHANNELS, settle
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

each_way = pytest.mark.parametrize("channel", CHANNELS, ids=lambda one: one.__name__)


@each_way
async def test_messages_and_gaps_come_in_their_order_and_then_the_end(channel: Any) -> None:
    async with channel() as (sender, receiver), Subscription[Any](receiver) as news:
        for item in ([1], 3, [None], [[2]], 2**64 - 1, ["x"]):
            await sender.send(item)
        sender.close()
        got: list[Any] = []
        with anyio.fail_after(PATIENCE):
            for _ in range(3):
                try:
                    async for item in news:
                        got.append(item)
                except Lagged as exc:
                    got.append(f"{exc.count} missing")
            assert got == [1, "3 missing", None, [2], f"{2**64 - 1} missing", "x"]
            with pytest.raises(EndOfChannel):
                await news.receive()


BAD: list[Any] = [0, -1, True, None, 1.5, "x", b"x", [], [1, 2], {}, {"a": 1}]


@each_way
async def test_what_is_no_message_of_a_broadcast_is_said_and_what_follows_comes(channel: Any) -> None:
    async with channel() as (sender, receiver), Subscription[Any](receiver) as news:
        with anyio.fail_after(PATIENCE):
            for bad in BAD:
                await sender.send(bad)
                await sender.send(["good"])
                with pytest.raises(MessageTypeError):
                    await news.receive()
                assert await news.receive() == "good"
        sender.close()


@each_way
async def test_ends_in_it_are_refused(channel: Any) -> None:
    async with channel() as (sender, receiver), Subscription[Any](receiver) as news:
        inner, other = chanlink.pipe()
        await sender.send({"x": other})
        with anyio.fail_after(PATIENCE):
            with pytest.raises(MessageTypeError):
                await news.receive()
            assert "not-taken" in str(await inner.wait_closed())
        inner.close()
        sender.close()


@each_way
async def test_without_waiting(channel: Any) -> None:
    async with channel() as (sender, receiver), Subscription[Any](receiver) as news:
        with pytest.raises(anyio.WouldBlock):
            news.receive_nowait()
        await sender.send([1])
        await sender.send(2)
        await settle()
        assert news.receive_nowait() == 1
        with pytest.raises(Lagged):
            news.receive_nowait()
        sender.close()


@each_way
async def test_it_is_selected_with_its_gaps_and_its_end(channel: Any) -> None:
    async with channel() as (sender, receiver), Subscription[Any](receiver) as news:
        for item in ([1], 2, "bad", [3]):
            await sender.send(item)
        sender.close()
        other: tuple[Sender[Any], Receiver[Any]] = chanlink.pipe()
        with anyio.fail_after(PATIENCE):
            found = [await chanlink.select(other[1], news) for _ in range(5)]
        assert {one.channel for one in found} == {news}
        assert {one.index for one in found} == {1}
        assert [one.value for one in found] == [1, None, None, 3, None]
        errors = [type(one.error) for one in found]
        assert errors == [type(None), Lagged, MessageTypeError, type(None), EndOfChannel]
        for end in other:
            end.close()


@each_way
async def test_a_selector_keeps_it_over_gaps(channel: Any) -> None:
    async with channel() as (sender, receiver), Subscription[Any](receiver) as news:
        got: list[Any] = []
        async with chanlink.Selector() as selector, anyio.create_task_group() as tasks:
            selector.add(news)

            async def send() -> None:
                async with sender:
                    for item in ([1], 2, [3]):
                        await sender.send(item)

            tasks.start_soon(send)
            with anyio.fail_after(PATIENCE):
                async for selected in selector:
                    got.append(selected.value if selected.error is None else type(selected.error))
        assert got == [1, Lagged, 3, EndOfChannel]


async def test_at_a_rendezvous_a_select_opens_what_it_was_given() -> None:
    sender, receiver = chanlink.pipe(0)
    async with sender, Subscription[Any](receiver) as news, anyio.create_task_group() as tasks:
        tasks.start_soon(sender.send, [1])
        assert (await chanlink.select(news)).value == 1


@each_way
async def test_its_closing_is_a_case_and_closing_it_is_a_refusal(channel: Any) -> None:
    async with channel() as (sender, receiver):
        news = Subscription[Any](receiver)
        assert news.receiver is receiver
        with pytest.raises(anyio.WouldBlock):
            chanlink.select_nowait(news.closing())
        await news.aclose()
        news.close()
        with anyio.fail_after(PATIENCE):
            assert isinstance(await sender.wait_closed(), ChannelRefused)
        sender.close()


async def test_a_block_that_fails_says_so_to_the_sender() -> None:
    sender, receiver = chanlink.pipe()
    with pytest.raises(KeyError):
        async with Subscription[Any](receiver):
            raise KeyError
    assert "key-error" in str(await sender.wait_closed())
    sender.close()


async def test_its_receiver_is_sent_away_and_made_a_subscription_there() -> None:
    async with session_pair() as (client, server):
        sender, receiver = chanlink.pipe()
        await sender.send([1])
        await sender.send(7)
        async with await client.open("x") as carrier:
            await carrier.send(Subscription[Any](receiver).receiver)
        with anyio.fail_after(PATIENCE):
            async with (await server.accept()).end as carried, Subscription[Any](await carried.receive()) as there:
                assert await there.receive() == 1
                with pytest.raises(Lagged) as caught:
                    await there.receive()
                assert caught.value.count == 7
        sender.close()
