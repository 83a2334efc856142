"""An audience: who joins, who is let go of, and what all of them are told at the end."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed, ChannelMoved
from chanlink.channels.pushing import Pusher
from chanlink.errors import END, Reason
from chanlink.patterns.audience import Audience, joined
from chanlink.testing import session_pair
from tests.channels.pairs import settle
from tests.patience import PATIENCE, until

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


class Letters:
    """One letter after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.audience = Audience(self)

    def after(self, position: int) -> tuple[object, int] | None:
        return (self.text[position], position + 1) if position < len(self.text) else None

    def served(self, pusher: Pusher) -> None:
        self.audience.sort(pusher)


def join(audience: Audience, position: int = 0, capacity: int | None = None) -> Any:
    sender, receiver = chanlink.pipe(capacity)
    audience.join(sender, position)
    return receiver


async def test_each_gets_what_comes_after_its_position() -> None:
    letters = Letters("ab")
    one, other = join(letters.audience), join(letters.audience, 1)
    letters.text = "abc"
    letters.audience.push()
    letters.audience.end(END)
    assert "".join([x async for x in one]) == "abc"
    assert "".join([x async for x in other]) == "bc"
    assert not letters.audience


async def test_one_who_joins_late_gets_all_and_the_end_that_was() -> None:
    letters = Letters("ab")
    letters.audience.end(Reason("failed", "broken"))
    receiver = join(letters.audience, 1)
    assert await receiver.receive() == "b"
    with pytest.raises(ChannelFailed, match="broken"):
        await receiver.receive()
    assert not letters.audience


async def test_one_who_is_slow_keeps_nobody_and_is_kept_until_it_has_all() -> None:
    letters = Letters("abcdef")
    async with letters.audience.block():
        receiver = join(letters.audience, capacity=1)
    assert len(letters.audience) == 1
    assert "".join([x async for x in receiver]) == "abcdef"
    assert not letters.audience


async def test_who_is_over_when_it_joins_is_not_kept() -> None:
    letters = Letters("ab")
    sender, receiver = chanlink.pipe()
    receiver.close()
    letters.audience.join(sender, 0)
    assert not letters.audience
    with pytest.raises(ChannelMoved):
        letters.audience.join(sender, 0)
    assert not letters.audience


@pytest.mark.parametrize("cancelled", [False, True])
async def test_joining_that_fails_or_is_cancelled_leaves_no_end_open(cancelled: bool) -> None:
    """None of the two ends is forgotten: that would be a warning, which is an error here."""
    async with session_pair() as (client, _):
        if cancelled:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await joined(client, "x", None, Any)
        else:
            client.abort()
            await client.wait_closed()
            with pytest.raises(chanlink.SessionError):
                await joined(client, "x", None, Any)


async def test_a_service_takes_any_number_of_senders_and_refuses_what_is_none() -> None:
    letters = Letters("ab")
    requests, taken = chanlink.pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(letters.audience.serve, taken, lambda sender: letters.audience.join(sender, 0))
        receivers = []
        for _ in range(3):
            sender, receiver = chanlink.pipe()
            await requests.send(sender)
            receivers.append(receiver)
        with anyio.fail_after(PATIENCE):
            await until(lambda: len(letters.audience) == 3)
            await requests.send(chanlink.byte_pipe()[1])
            assert "bad-request" in str(await requests.wait_closed())
    letters.audience.end(END)
    for receiver in receivers:
        assert "".join([x async for x in receiver]) == "ab"
    requests.close()
    await settle()


async def test_a_session_that_drains_has_no_more_subscribers_and_the_others_go_on() -> None:
    """Whoever holds the channel of requests keeps no server from stopping."""
    letters = Letters("a")

    async def serve(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        await letters.audience.serve(requests, lambda sender: letters.audience.join(sender, 0))

    async with session_pair(services={"letters": serve}) as (client, server):
        requests = await client.open("letters")
        sender, receiver = chanlink.pipe()
        await requests.send(sender)
        await requests.flush()
        server.drain()
        with anyio.fail_after(PATIENCE):
            assert "draining" in str(await requests.wait_closed())
            assert await receiver.receive() == "a"
            letters.audience.end(END)
            assert [letter async for letter in receiver] == []
        requests.close()
