"""Relays from inside: what one holds, what it tells both sides, and that nothing of it is left (protocol section 10).

The conformance suite sends everything through one and two relays. Here the two sessions differ, break and lie.
"""

import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    ByteStream,
    ChannelFailed,
    ChannelRefused,
    EndOfChannel,
    Limits,
    Receiver,
    Sender,
    Session,
)
from chanlink.testing import FaultyStream, session_pair
from chanlink.testing.promises import eventually
from chanlink.wire.opening import Opening
from tests.channels.pairs import settle
from tests.patience import PATIENCE, lines_run
from tests.wire.muxes import message

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

WINDOW = Limits().stream_window


class Relayed:
    """Three processes: near - relay - far."""

    def __init__(self, sessions: list[Session], wires: list[FaultyStream]) -> None:
        self.near, self.relay_near, self.relay_far, self.far = self.sessions = sessions
        self.wires = wires
        self.carriers: list[Any] = []

    async def begin(self) -> None:
        for one, other in ((self.near, self.relay_near), (self.relay_far, self.far)):
            self.carriers.append((await one.open("carrier"), (await other.accept()).end))

    async def carry(self, end: Any) -> Any:
        for sender, receiver in self.carriers:
            await sender.send(end)
            end = await receiver.receive()
        return end

    async def channel(self, capacity: int | None = None) -> tuple[Sender[Any], Receiver[Any]]:
        sender, receiver = chanlink.pipe(capacity)
        return sender, await self.carry(receiver)

    async def channel_back(self, capacity: int | None = None) -> tuple[Sender[Any], Receiver[Any]]:
        sender, receiver = chanlink.pipe(capacity)
        return await self.carry(sender), receiver

    async def byte_stream(self, *size: int) -> tuple[ByteStream, ByteStream]:
        near, far = chanlink.byte_pipe(*size)
        return near, await self.carry(far)

    def books(self) -> list[Any]:
        """Open channels and the budget of every session."""
        return [(one.statistics().channels, one.statistics().budget) for one in self.sessions]

    async def check_books(self, before: list[Any]) -> None:
        """Nothing is left of what was opened since then."""
        with contextlib.suppress(TimeoutError), anyio.fail_after(PATIENCE):
            await eventually(lambda: self.books() == before)
        assert self.books() == before

    def held(self) -> int:
        """Bytes that the relay has of all its streams: arrived and not moved, moved and not gone."""
        streams = [*self.relay_near._mux.streams.values(), *self.relay_far._mux.streams.values()]
        return sum(
            (one.incoming.size if one.carries_in else 0) + (one.outgoing.queued if one.carries_out else 0)
            for one in streams
        )


@asynccontextmanager
async def relayed(
    first: Limits | None = None,
    second: Limits | None = None,
    far: Limits | None = None,
    *,
    cut_after: int | None = None,
    features: Collection[str] | None = None,
) -> AsyncIterator[Relayed]:
    """`cut_after`: the second connection breaks after this many bytes from the relay's side; `features` of it."""
    wires: list[FaultyStream] = []

    def wire(stream: Any) -> FaultyStream:
        wires.append(FaultyStream(stream, cut_after=cut_after if len(wires) == 0 else None))
        return wires[-1]

    async with session_pair(second, far, wire=wire, features=features) as two, session_pair(first) as one:
        yield Relayed([*one, *two], wires)


async def fill(sender: Any, item: Any) -> int:
    """Send until nothing is accepted any more, also once all is settled."""
    count, before = 0, -1
    while before < count:
        before = count
        with contextlib.suppress(anyio.WouldBlock):
            while True:
                sender.send_nowait(item)
                count += 1
        await settle()
    return count


# --- pressure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
async def test_a_slow_receiver_stops_the_sender_and_the_relay_holds_one_window(turned: bool) -> None:
    async with relayed() as link:
        await link.begin()
        sender, receiver = await (link.channel_back() if turned else link.channel())
        accepted = await fill(sender, bytes(1_000))
        assert accepted * 1_000 <= WINDOW + 1_000  # the window of one session, not of two
        assert link.held() <= WINDOW + 2_000
        assert sender.taken == 0
        for taken in range(1, accepted + 1):
            assert await receiver.receive() == bytes(1_000)
            assert receiver.statistics().taken == taken
        await sender.flush()
        assert sender.taken == accepted
        await settle()
        assert link.held() == 0
        for n in range(200):  # any number of windows
            await sender.send([n, bytes(1_000)])
            assert (await receiver.receive())[0] == n


@pytest.mark.parametrize("turned", [False, True])
async def test_a_slow_reader_of_a_byte_stream_stops_its_writer(turned: bool) -> None:
    async with relayed() as link:
        await link.begin()
        pair = await link.byte_stream()
        writer, reader = reversed(pair) if turned else pair
        accepted = 0
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                nonlocal accepted
                while True:
                    await writer.send(bytes(1_000))
                    accepted += 1_000

            tasks.start_soon(write)
            await settle()
            tasks.cancel_scope.cancel()
        assert accepted <= WINDOW + 1_000
        assert link.held() <= WINDOW + 1_000
        received = 0
        while received < accepted:
            received += len(await reader.receive())
        await writer.send(bytes(3 * WINDOW // 4))
        for one in pair:
            one.close()


@pytest.mark.parametrize("capacity", [0, 1, 3])
async def test_a_capacity_is_that_of_the_whole_way_and_many_senders_share_it(capacity: int) -> None:
    async with relayed() as link, anyio.create_task_group() as tasks:
        await link.begin()
        sender, receiver = await link.channel(capacity)
        clone = sender.clone()
        sent: list[int] = []

        async def send(one: Any, n: int) -> None:
            await one.send(n)
            sent.append(n)

        for n in range(8):
            tasks.start_soon(send, (sender, clone)[n % 2], n)
        await settle()
        for taken in range(8):
            assert len(sent) == min(taken + capacity, 8)
            assert sender.statistics().sent - sender.taken <= max(capacity, 1)
            await receiver.receive()
            await settle()
        clone.close()
        sender.close()


async def test_a_capacity_holds_beyond_a_relay_that_several_processes_feed() -> None:
    """One clone is near, one at the relay, and the receiver is far: each session has the capacity once."""
    async with relayed() as link, anyio.create_task_group() as tasks:
        (there, near_end), (onward, far_end) = [
            (await one.open("service"), (await other.accept()).end)
            for one, other in ((link.relay_near, link.near), (link.relay_far, link.far))
        ]
        sender, receiver = chanlink.pipe(1)
        await there.send(sender.clone())
        near = await near_end.receive()
        await onward.send(receiver)
        far = await far_end.receive()
        for n in range(3):
            tasks.start_soon(near.send, ["near", n])
            tasks.start_soon(sender.send, ["relay", n])
        received = []
        for _ in range(6):
            await settle()
            statistics = sender.statistics()
            assert statistics.sent - statistics.taken == 1
            received.append(await far.receive())
        assert len({tuple(one) for one in received}) == 6
        near.close()
        sender.close()
        with pytest.raises(EndOfChannel):
            await far.receive()


# --- what cannot be passed on -----------------------------------------------------------------------


async def test_a_message_larger_than_the_windows_passes_in_pieces_and_gives_the_budget_back() -> None:
    async with relayed() as link, anyio.create_task_group() as tasks:
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        small, small_there = await link.channel()
        data = bytes(range(256)) * 4_096  # a megabyte
        tasks.start_soon(sender.send, data)
        for n in range(20):
            await small.send(n)
            assert await small_there.receive() == n
        assert await receiver.receive() == data
        sender.close()
        small.close()
        for one in (receiver, small_there):
            with pytest.raises(EndOfChannel):
                await one.receive()
        await link.check_books(before)


async def test_a_message_too_large_for_the_next_session_fails_the_channel_on_both_sides() -> None:
    async with relayed(second=Limits(message_size=10_000)) as link:
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        other, other_there = await link.channel()
        await sender.send("small")
        await sender.send(bytes(12_000))
        with anyio.fail_after(PATIENCE):
            reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "too-large"
        assert await receiver.receive() == "small"
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert caught.value.code == "too-large"
        await other.send("goes on")
        assert await other_there.receive() == "goes on"
        other.close()
        with pytest.raises(EndOfChannel):
            await other_there.receive()
        await link.check_books(before)


async def test_a_message_of_too_many_values_for_the_far_side_is_refused_there_by_name() -> None:
    """A relay looks into no message."""
    async with relayed(far=Limits(message_values=4_096)) as link:
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        await sender.send([0] * 4_095)
        await sender.send([0] * 4_096)
        assert await receiver.receive() == [0] * 4_095
        with anyio.fail_after(PATIENCE), pytest.raises(chanlink.DecodeError, match="message_values"):
            await receiver.receive()
        with anyio.fail_after(PATIENCE):
            reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "bad-message"
        assert "message_values" in reason.reason
        await link.check_books(before)


@pytest.mark.parametrize("limit", ["open_channels", "message_ends"])
async def test_ends_for_which_the_next_session_has_no_room_are_refused_with_their_channel(limit: str) -> None:
    async with relayed(far=Limits(**{limit: 4})) as link:  # type: ignore[arg-type]
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        pairs = [chanlink.pipe() for _ in range(5)]
        await sender.send([one for one, _ in pairs])
        with anyio.fail_after(PATIENCE):
            reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "limit-reached"
        with pytest.raises(ChannelFailed, match="limit-reached"):
            await receiver.receive()
        for _, other in pairs:
            with anyio.fail_after(PATIENCE), pytest.raises(ChannelFailed) as caught:
                await other.receive()
            assert caught.value.code == "not-taken"
        await link.check_books(before)
        sender, receiver = await link.channel()  # the session goes on, and has its room
        await sender.send("works")
        assert await receiver.receive() == "works"


@pytest.mark.parametrize(
    "frame",
    [
        message(b"\xc0", ("receiver", 99)),
        message(b"\xc0", ("receiver", 1)),
        message(b"\xd4\x01\x00")[:4].replace(b"\x00\x00\x00\x03", b"\x80\x00\x00\x03") + b"\x00\x01\xc0",
        (0x8000_0002).to_bytes(4, "big") + b"\x05\x01",
        (0x8000_0007).to_bytes(4, "big") + b"\x01\x09\x00\x00\x00\x03\xc0",
    ],
    ids=["a stream that is not there", "the carrier itself", "an empty table", "a table cut short", "no such kind"],
)
async def test_a_table_that_lies_fails_its_channel_on_both_sides_and_nothing_else(frame: bytes) -> None:
    async with relayed() as link:
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        other, other_there = await link.channel()
        await sender.send("honest")
        sender._send_core.outlet.stream.outgoing.write(frame)
        with anyio.fail_after(PATIENCE):
            reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "bad-message"
        assert await receiver.receive() == "honest"
        with pytest.raises(ChannelFailed, match="bad-message"):
            await receiver.receive()
        await other.send("goes on")
        assert await other_there.receive() == "goes on"
        other.close()
        with pytest.raises(EndOfChannel):
            await other_there.receive()
        await link.check_books(before)


async def test_an_end_beside_one_that_is_a_lie_is_told() -> None:
    async with relayed() as link:
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        stream = sender._send_core.outlet.stream
        honest = link.near._mux.open(Opening("receiver", parent=stream.id))
        stream.outgoing.write(message(b"\xc0", ("receiver", honest.id), ("receiver", 99)))
        with pytest.raises(ChannelFailed, match="bad-message"):
            await receiver.receive()
        await settle()
        assert honest.out_reason is not None
        assert honest.out_reason.code == "bad-message"
        await link.check_books(before)


async def test_ends_without_a_body_do_not_pass() -> None:
    """An empty part, at the end of a full record, would be a record of its own, of which no peer takes many."""
    async with relayed() as link:
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        stream = sender._send_core.outlet.stream
        child = link.near._mux.open(Opening("receiver", parent=stream.id))
        stream.outgoing.write(message(b"", ("receiver", child.id)))
        with pytest.raises(ChannelFailed, match="bad-message"):
            await receiver.receive()
        await settle()
        await link.check_books(before)


async def test_a_body_that_is_no_message_passes_unread_and_fails_where_it_is_read() -> None:
    async with relayed() as link:
        await link.begin()
        sender, receiver = await link.channel()
        sender._send_core.outlet.stream.outgoing.write(message(b"\xc1"))
        with pytest.raises(chanlink.DecodeError):
            await receiver.receive()
        with anyio.fail_after(PATIENCE):
            reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "bad-message"


async def test_a_session_that_drains_takes_ends_from_a_relay() -> None:
    async with relayed() as link:
        await link.begin()
        sender, receiver = await link.channel()
        link.far.drain()
        await settle()
        one, other = chanlink.pipe()
        await sender.send(one)
        arrived = await receiver.receive()
        await arrived.send("by an end that came later")
        assert await other.receive() == "by an end that came later"


async def test_a_session_that_is_closed_by_a_peer_of_version_0_1_takes_no_ends_from_a_relay() -> None:
    quick = Limits(close=0.05)
    async with relayed(second=quick, features=()) as link:
        await link.begin()
        sender, receiver = await link.channel()
        link.far._mux.conclude()  # no new streams, open ones go on
        await settle()
        await sender.send("an open channel goes on")
        assert await receiver.receive() == "an open channel goes on"
        one, other = chanlink.pipe()
        await sender.send(one)
        with anyio.fail_after(PATIENCE):
            assert isinstance(await sender.wait_closed(), ChannelRefused)
            with pytest.raises(ChannelFailed):
                await receiver.receive()
            with pytest.raises(ChannelFailed, match="not-taken"):
                await other.receive()


async def test_what_a_relay_remembers_of_short_messages_is_no_more_than_the_window_in_which_they_came() -> None:
    async with relayed() as link:
        await link.begin()
        channels = [await link.channel() for _ in range(3)]
        tracemalloc.start()
        try:
            for sender, _ in channels:
                with contextlib.suppress(anyio.WouldBlock):
                    while True:
                        sender.send_nowait(None)
            await settle()
            taken = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
        here = [tracemalloc.Filter(True, f"*chanlink/{name}.py") for name in ("relay", "outlets", "port")]
        assert sum(one.size for one in taken.filter_traces(here).statistics("filename")) < 2 * WINDOW * len(channels)
        for sender, receiver in channels:
            sender.close()
            assert [one async for one in receiver] == [None] * sender._send_core.sent


async def test_what_a_relay_remembers_of_single_bytes_is_not_each_of_them() -> None:
    async with relayed() as link:
        await link.begin()
        writer, reader = await link.byte_stream()
        (passed,) = [stream for stream in link.relay_far._mux.streams.values() if stream.is_bytes]
        for number in range(2_000):
            await writer.send(b"x")
            await eventually(lambda number=number: passed.outgoing.sent_bytes > number)  # type: ignore[misc]
        core = passed.outgoing.owner
        assert len(core.under_way._runs) < 5
        await writer.send_eof()
        assert b"".join([data async for data in reader]) == b"x" * 2_000
        for end in (writer, reader):
            await end.aclose()


async def test_a_relay_has_no_more_messages_under_way_than_it_remembers_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chanlink.session.ends.remote.MAX_UNDER_WAY", 3)
    async with relayed() as link:
        await link.begin()
        sender, receiver = await link.channel()
        for n in range(20):
            await sender.send(n)
        sender.close()
        await settle()
        assert receiver.receive_nowait() == 0
        assert receiver.receive_nowait() == 1
        assert receiver.receive_nowait() == 2
        with pytest.raises(anyio.WouldBlock):  # the others wait until these are known to be taken
            receiver.receive_nowait()
        with anyio.fail_after(PATIENCE):
            assert [n async for n in receiver] == list(range(3, 20))


@pytest.mark.parametrize("kind", ["receiver", "sender", "bytes"])
async def test_the_type_of_an_end_goes_where_the_end_goes(kind: Any) -> None:
    """Opaque to us and to relays (protocol section 5)."""
    async with relayed() as link:
        await link.begin()
        mux, carrier = link.near._mux, link.carriers[0][0]._send_core.outlet.stream
        opened = mux.open(Opening(kind, parent=carrier.id, item_type=b"\x00\xffint"))
        carrier.outgoing.write(message(b"\xd4\1\0", (kind, opened.id)))
        (sender, _), (_, receiver) = link.carriers[1], link.carriers[0]
        await sender.send(await receiver.receive())
        arrived = await link.carriers[1][1].receive()
        (last,) = [one for one in link.far._mux.streams.values() if one.parent is not None]
        assert last.opening.item_type == b"\x00\xffint"
        arrived.close()
        opened.discard("closed", "")


@pytest.mark.parametrize("waiting", [False, True], ids=["under way", "waiting for room"])
async def test_what_a_report_of_the_far_side_costs_does_not_grow_with_the_number_of_relays(waiting: bool) -> None:
    """A program gives clones of one sender to all who ask: each comes back through a relay of its own."""

    async def costs(clones: int) -> list[int]:
        async with session_pair() as (far, relay_far), session_pair() as (relay_near, near):
            to_relay, at_relay = await far.open("join"), (await relay_far.accept()).end
            mine, receiver = chanlink.pipe()  # type: ignore[var-annotated]
            await to_relay.send(mine)
            shared = await at_relay.receive()
            to_near, at_near = await relay_near.open("clones"), (await near.accept()).end
            senders = []
            for number in range(clones):
                await to_near.send(shared.clone())
                senders.append(await at_near.receive())
                await senders[-1].send(bytes([number % 256]) * (WINDOW - 7 if waiting else 1))
            core, stream = shared._send_core, shared._send_core.outlet.stream
            await eventually(
                lambda: (stream.outgoing.sent, len(core.senders)) == ((1, clones - 1) if waiting else (clones, 0))
            )
            found = [lines_run(lambda: stream.outgoing.credited(1)), lines_run(lambda: stream.outgoing.peer_took(1))]
            stream.outgoing.credit -= 1  # which the far side had not given
            assert sorted([(await receiver.receive())[0] for _ in senders]) == sorted(n % 256 for n in range(clones))
            for end in (*senders, shared, receiver, to_relay, at_relay, to_near, at_near):
                await end.aclose()
        return found

    for few, many in zip(await costs(5), await costs(100), strict=True):
        assert 0 < many < 2 * few
