"""`cancel_when_over`: a block is cancelled when the far side is gone, for no other reason, and nothing stays behind."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import cancel_when_over
from chanlink.testing import session_pair
from tests.patience import PATIENCE

from .pairs import CHANNELS, settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

each_way = pytest.mark.parametrize("channel", CHANNELS, ids=lambda one: one.__name__)


@each_way
async def test_a_sender_s_block_is_cancelled_when_the_receiver_is_gone(channel: Any) -> None:
    async with channel() as (sender, receiver), anyio.create_task_group() as tasks:
        tasks.start_soon(receiver.aclose)
        with anyio.fail_after(PATIENCE), cancel_when_over(sender) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(chanlink.ChannelRefused):
            await sender.send(1)
        sender.close()


@each_way
async def test_a_receiver_s_block_goes_on_until_everything_was_taken(channel: Any) -> None:
    async with channel() as (sender, receiver):
        await sender.send(1)
        await sender.send(2)
        sender.close()
        await settle()
        with anyio.fail_after(PATIENCE), cancel_when_over(receiver) as scope:
            assert await receiver.receive() == 1
            await settle()
            assert not scope.cancel_called
            assert await receiver.receive() == 2
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        receiver.close()


@each_way
async def test_what_is_over_already_cancels_at_the_first_wait(channel: Any) -> None:
    async with channel() as (sender, receiver):
        receiver.close()
        await settle()
        with cancel_when_over(sender) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        sender.close()


@each_way
async def test_a_block_that_is_left_before_is_watched_no_more(channel: Any) -> None:
    async with channel() as (sender, receiver):
        with cancel_when_over(sender) as scope:
            await sender.send(1)
        assert not sender._send_core.watchers
        receiver.close()
        await settle()
        assert not scope.cancel_called
        sender.close()


@pytest.mark.parametrize("leave", ["closed", "moved"])
async def test_an_end_that_this_side_gives_away_cancels_nothing(leave: str) -> None:
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        other = (await server.accept()).end
        sender, receiver = chanlink.pipe()
        with cancel_when_over(sender) as scope:
            if leave == "closed":
                sender.close()
            else:
                await carrier.send(sender)
            receiver.close()
            await settle()
        assert not scope.cancel_called
        assert not receiver._receive_core.watchers
        carrier.close()
        other.close()


async def test_a_session_that_is_lost_cancels_too() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        end = (await server.accept()).end
        with anyio.fail_after(PATIENCE), cancel_when_over(end) as scope:
            client.abort()
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(chanlink.SessionLost):
            await end.receive()
        sender.close()


async def test_a_byte_stream_s_block_is_cancelled_when_the_other_side_reads_no_more() -> None:
    ours, theirs = chanlink.byte_pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(theirs.aclose)
        with anyio.fail_after(PATIENCE), cancel_when_over(ours) as scope:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    ours.close()


async def test_two_watch_one_end_and_a_cancellation_from_outside_stays_one() -> None:
    sender, receiver = chanlink.pipe()
    with anyio.CancelScope() as outside, cancel_when_over(sender) as outer, cancel_when_over(sender) as inner:
        outside.cancel()
        await anyio.sleep_forever()
    assert [scope.cancelled_caught for scope in (outside, outer, inner)] == [True, False, False]
    with cancel_when_over(sender) as outer, cancel_when_over(sender) as inner:
        receiver.close()
        await anyio.sleep_forever()
    assert [scope.cancelled_caught for scope in (outer, inner)] == [True, False]
    sender.close()


async def test_what_is_no_open_end_is_said_at_once() -> None:
    with pytest.raises(TypeError, match=r"end must be .*, not str"):
        cancel_when_over("sender")  # type: ignore[arg-type]
    sender, receiver = chanlink.pipe()
    sender.close()
    receiver.close()
    with pytest.raises(chanlink.ChannelClosed), cancel_when_over(sender):
        raise AssertionError("the block was entered")
