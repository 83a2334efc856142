"""Relays where it is hard: small windows, long pauses, many senders besides them, deep nesting, sessions that are lost.

What a relay does when all is well is in the conformance suite and in `test_relays`.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ByteStream, ChannelRefused, EndOfChannel, Limits, Sender, Session, SessionLost
from chanlink.testing import session_pair
from chanlink.testing.promises import eventually
from tests.channels.pairs import settle
from tests.patience import PATIENCE

from .test_relay import fill

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

"""Seconds; a guard against what hangs, nothing waits for it."""


class Hop:
    """One session, from a client to a server, and a channel each way to carry ends over it."""

    def __init__(self, client: Session, server: Session) -> None:
        self.client, self.server = client, server
        self._ends: list[Any] = []

    async def begin(self) -> None:
        for one, other in ((self.client, self.server), (self.server, self.client)):
            self._ends.append((await one.open("carrier"), (await other.accept()).end))

    async def there(self, value: Any) -> Any:
        return await self._carry(value, *self._ends[0])

    async def back(self, value: Any) -> Any:
        return await self._carry(value, *self._ends[1])

    async def _carry(self, value: Any, sender: Any, receiver: Any) -> Any:
        await sender.send(value)
        return await receiver.receive()


@asynccontextmanager
async def hop(client: Limits | None = None, server: Limits | None = None) -> AsyncIterator[Hop]:
    async with session_pair(client or Limits(), server or Limits()) as pair:
        one = Hop(*pair)
        await one.begin()
        yield one


def close_all(ends: list[Any]) -> None:
    """Nobody waits for these when the sessions close."""
    for end in ends:
        end.close()


# --- byte streams -----------------------------------------------------------------------------------


async def write(writer: ByteStream, size: int, piece: int) -> None:
    left = size
    while left:
        await writer.send(bytes(min(left, piece)))
        left -= min(left, piece)
    await writer.send_eof()


async def read_slowly(reader: ByteStream, piece: int) -> int:
    """How many bytes came; all that is under way arrives before each of them is read."""
    size = 0
    while True:
        await settle()
        try:
            size += len(await reader.receive(piece))
        except EndOfChannel:
            return size


@pytest.mark.parametrize("sized", [False, True], ids=["open", "sized"])
@pytest.mark.parametrize(
    ("windows", "piece", "read"),
    [
        ([16_384, 16_384], 20_000, 10_000),
        ([1_024, 16_384], 700, 500),
        ([4_096, 16_384], 700, 500),
        ([16_384, 16_384, 16_384], 3_000, 10_000),
        ([4_096, 16_384, 1_024], 3_000, 700),
        ([16_384, 16_384, 16_384, 16_384], 3_000, 5_461),
        ([1_024, 4_096, 65_536, 16_384], 3_000, 5_461),
    ],
)
async def test_a_slow_reader_of_a_byte_stream_gets_all_of_it_through_any_windows(
    windows: list[int], piece: int, read: int, sized: bool
) -> None:
    """One relay, two or three; each keeps credit back, and so may the receiver at the end of each session."""
    size = 60_000
    async with AsyncExitStack() as stack:
        near, far = chanlink.byte_pipe(size if sized else None)
        for window in windows:
            limits = Limits(stream_window=window, session_budget=1)  # the windows can't grow
            far = await (await stack.enter_async_context(hop(Limits(), limits))).there(far)
        await settle()
        try:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write, near, size, piece)
                    assert await read_slowly(far, read) == size
        finally:
            close_all([near, far])


@pytest.mark.parametrize("window", [16_384, 131_072, 300_001, 1_048_576])
async def test_bytes_go_on_through_a_relay_though_messages_come_beside_them(window: int) -> None:
    """The receiver keeps credit back while it gets messages, and the relay has a small window of its own."""
    size = 2_000_000
    async with hop() as first, hop(Limits(), Limits(stream_window=window)) as second:
        near, far = chanlink.byte_pipe()
        far = await second.there(await first.there(far))
        got = 0
        try:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write, near, size, 10_000)
                    while got < size:
                        got += len(await far.receive())
                        await second.there("talk")
        finally:
            close_all([near, far])


# --- nested ends ------------------------------------------------------------------------------------


async def nest(outermost: Sender[Any], depth: int) -> list[Sender[Any]]:
    """Channels, each of which carries the receiver of the next one, all sent before anybody takes the first."""
    senders = [outermost]
    for _ in range(depth):
        sender, receiver = chanlink.pipe()
        await senders[-1].send(receiver)
        senders.append(sender)
    await settle()
    return senders


async def unnest(receiver: Any, depth: int) -> Any:
    for _ in range(depth):
        receiver = await receiver.receive()
    return receiver


async def test_a_receiver_with_200_channels_nested_in_it_can_be_sent_on() -> None:
    async with hop() as first, hop() as second:
        sender, receiver = chanlink.pipe()
        at_relay = await first.there(receiver)
        senders = await nest(sender, 200)
        with anyio.fail_after(PATIENCE):
            innermost = await unnest(await second.there(at_relay), 200)
            await senders[-1].send("from the bottom")
            assert await innermost.receive() == "from the bottom"
        close_all(senders)


async def test_200_nested_channels_that_a_relay_held_back_kill_no_session() -> None:
    """They pass from within the session that has room again, and which has channels of others."""
    async with hop() as first, hop() as second:
        sender, receiver = chanlink.pipe(1)
        clone = await first.back(sender.clone())
        far = await second.there(receiver)
        other, other_receiver = chanlink.pipe()
        other_far = await second.there(other_receiver)
        await sender.send("of the relay's own")
        await settle()
        senders = await nest(clone, 200)
        with anyio.fail_after(PATIENCE):
            assert await far.receive() == "of the relay's own"
            await settle()
            await other.send("unharmed")
            assert await other_far.receive() == "unharmed"
            innermost = await unnest(far, 200)
            await senders[-1].send("from the bottom")
            assert await innermost.receive() == "from the bottom"
        close_all([*senders, sender])


async def test_a_limit_that_a_relay_reaches_does_not_hold_back_the_ends_of_the_message_that_moved_it() -> None:
    """All ends of a message leave, or none; what its relays have to pass on has only what room is left then."""
    async with hop() as first, hop(Limits(), Limits(open_channels=5)) as second:
        assert second.client._mux.slots() == 4
        sender, receiver = chanlink.pipe()
        at_relay = await first.there(receiver)
        inner_sender, inner_receiver = chanlink.pipe()
        await sender.send([inner_receiver])
        await settle()
        pairs = [chanlink.pipe() for _ in range(3)]
        receivers = [one for _, one in pairs]
        with anyio.fail_after(PATIENCE):
            far, *others = await second.there([at_relay, *receivers])
            assert all(one.is_void for one in (at_relay, *receivers))
            for (one, _), other in zip(pairs, others, strict=True):
                await one.send("has its place")
                assert await other.receive() == "has its place"
            for one, code in ((sender, "limit-reached"), (inner_sender, "not-taken")):
                reason = await one.wait_closed()
                assert isinstance(reason, ChannelRefused)
                assert reason.code == code
            with pytest.raises(chanlink.ChannelFailed, match="limit-reached"):
                await far.receive()


async def test_an_end_behind_a_full_window_waits_for_it_as_long_as_the_reader_pauses() -> None:
    """The message that mentions a nested stream may lie on the other side of a window that nobody empties."""
    async with hop(Limits(), Limits(unmentioned=0.2)) as first, hop() as second:
        sender, receiver = chanlink.pipe(1_000)
        count = 16
        for _ in range(count):
            await sender.send("x" * 1_017)
        inner_sender, inner_receiver = chanlink.pipe()
        await sender.send(inner_receiver)
        far = await second.there(await first.there(receiver))
        await anyio.sleep(0.6)  # several times what an end may be unmentioned
        with anyio.fail_after(PATIENCE):
            for _ in range(count):
                await far.receive()
            inner_far = await far.receive()
            await inner_sender.send("taken")
            assert await inner_far.receive() == "taken"
        close_all([sender, far])


async def test_a_stream_is_opened_before_a_relay_mentions_it_in_the_same_turn() -> None:
    """The first relay's side goes on as the queue of its session empties: in the middle of a turn of that session."""
    async with hop() as first, hop(Limits(send_queue=1_100)) as second, hop() as third:
        sender, receiver = chanlink.pipe()
        at_first = await first.there(receiver)
        inner: list[Sender[Any]] = []

        async def send_ends(count: int) -> None:
            for _ in range(count):
                one, other = chanlink.pipe()
                inner.append(one)
                await sender.send(["x" * 600, other])
            await settle()

        await send_ends(8)
        far = await third.there(await second.there(at_first))
        with anyio.fail_after(PATIENCE):
            for count in (8, 15):
                for n in range(count):
                    _, end = await far.receive()
                    await inner[n].send(n)
                    assert await end.receive() == n
                close_all(inner)
                inner.clear()
                if count == 8:
                    await send_ends(15)
        close_all([sender])


# --- pauses of the reader ---------------------------------------------------------------------------


async def test_a_reader_that_pauses_does_not_make_a_message_too_slow() -> None:
    """Half of a message has arrived at the relay, and the rest waits for credit that the reader has to give."""
    async with hop(Limits(), Limits(progress=0.15)) as first, hop() as second:
        sender, receiver = chanlink.pipe()
        far = await second.there(await first.there(receiver))
        accepted = await fill(sender, bytes(9_000))
        await anyio.sleep(0.5)  # several times what a message may make no progress
        with anyio.fail_after(PATIENCE):
            for _ in range(accepted):
                assert await far.receive() == bytes(9_000)
            await sender.send("goes on")
            assert await far.receive() == "goes on"
        close_all([sender, far])


async def test_a_message_that_waits_for_the_budget_of_the_session_is_not_too_slow() -> None:
    limits = Limits(message_size=200_000, session_budget=200_000, progress=0.15)
    async with hop(limits, limits) as only:
        channels = [chanlink.pipe() for _ in range(2)]
        receivers = [await only.there(receiver) for _, receiver in channels]
        for sender, _ in channels:
            await sender.send(bytes(190_000))
            await settle()
        await anyio.sleep(0.5)  # several times what a message may make no progress
        with anyio.fail_after(PATIENCE):
            for receiver in receivers:
                assert await receiver.receive() == bytes(190_000)
        close_all([sender for sender, _ in channels])


# --- others that send besides a relay ---------------------------------------------------------------


async def test_three_relays_do_not_starve_a_sender_that_is_where_they_are() -> None:
    async with hop() as one, hop() as two, hop() as three, hop() as onward:
        sender, receiver = chanlink.pipe(4)
        clones = [await away.back(sender.clone()) for away in (one, two, three)]
        far = await onward.there(receiver)
        received: Counter[str] = Counter()

        async def flood(end: Sender[Any], name: str) -> None:
            while True:
                await end.send([name, "x" * 500])

        async with anyio.create_task_group() as tasks:
            for n, clone in enumerate(clones):
                tasks.start_soon(flood, clone, f"away {n}")
            await settle()  # they fill the way before the other one begins
            tasks.start_soon(flood, sender, "here")
            with anyio.fail_after(PATIENCE):
                for _ in range(120):
                    received[(await far.receive())[0]] += 1
                    await settle()
            tasks.cancel_scope.cancel()
        assert len(received) == 4
        assert min(received.values()) >= 15
        close_all([sender, *clones])


@asynccontextmanager
async def full_way(second: Limits | None = None) -> AsyncIterator[tuple[Sender[Any], Sender[Any], Any]]:
    """A sender here, a clone of it away and the receiver far away, with one message that is not taken and no room."""
    async with hop() as first, hop(Limits(), second) as onward:
        sender, receiver = chanlink.pipe(1)
        away = await first.back(sender.clone())
        far = await onward.there(receiver)
        await sender.send("first")
        await settle()
        yield sender, away, far
        close_all([sender, away, far])


async def test_a_relay_that_fails_while_it_waits_leaves_its_place_to_the_next_one() -> None:
    async with full_way(Limits(message_size=1_000)) as (sender, away, far), anyio.create_task_group() as tasks:
        await away.send(bytes(5_000))  # too large for the last session, which is seen when there is room
        await settle()
        tasks.start_soon(sender.send, "second")
        await settle()
        with anyio.fail_after(PATIENCE):
            assert await far.receive() == "first"
            assert await far.receive() == "second"
            reason = await away.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "too-large"


async def test_a_relay_whose_sender_is_over_keeps_its_turn_and_takes_nobody_elses() -> None:
    async with full_way() as (sender, away, far), anyio.create_task_group() as tasks:
        tasks.start_soon(sender.send, "second")
        await settle()
        await away.send("third")
        away.close()
        await settle()
        tasks.start_soon(sender.send, "fourth")
        await settle()
        with anyio.fail_after(PATIENCE):
            for message in ("first", "second", "third", "fourth"):
                assert await far.receive() == message
                await settle()


# --- others that are lost ---------------------------------------------------------------------------


@asynccontextmanager
async def one_clone_lost(keep: str) -> AsyncIterator[tuple[Sender[Any], Any]]:
    """A sender that has sent three messages and is closed, here or away, and its receiver; another clone was lost."""
    async with hop() as away, hop() as onward:
        async with hop() as lost:
            sender, receiver = chanlink.pipe(10)
            clone = await lost.back(sender.clone())
            kept = sender
            if keep == "away":
                kept = await away.back(sender.clone())
                sender.close()
            far = await onward.there(receiver)
            for n in range(3):
                await kept.send(n)
            kept.close()
            await settle()
            lost.client.abort()
            await lost.server.wait_closed()
            await settle()
        assert clone.statistics().taken == 0
        yield kept, far


@pytest.mark.parametrize("keep", ["here", "away"])
async def test_a_clone_that_is_lost_does_not_stop_the_flush_of_another(keep: str) -> None:
    async with one_clone_lost(keep) as (kept, far), anyio.create_task_group() as tasks:
        flushed = anyio.Event()

        async def flush() -> None:
            await kept.flush()
            flushed.set()

        tasks.start_soon(flush)
        await settle()
        with anyio.fail_after(PATIENCE):
            for n in range(3):
                assert not flushed.is_set()
                assert await far.receive() == n
                await settle()
            await eventually(flushed.is_set)
            with pytest.raises(SessionLost):
                await far.receive()
        assert kept.taken == 3
