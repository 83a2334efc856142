"""Every bound of `Limits` that concerns channels, by name: it is reached, and the sender is told first."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    ChannelFailed,
    ChannelRefused,
    ConnectionLost,
    EncodeError,
    LimitReached,
    Limits,
    MessageTooLarge,
    Receiver,
    Sender,
    Session,
    SessionLost,
)
from chanlink.testing import FaultyStream, session_pair
from chanlink.testing.promises import eventually
from chanlink.wire.opening import Opening
from tests.channels.pairs import settle
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio

NOT_OF_CHANNELS = {
    "handshake",
    "unauthenticated",
    "source_failures",
    "suspect_handshakes",
    "sessions",
    "sessions_per_key",
    "trust_interval",
    "keepalive",
    "peer_timeout",
    "client_stopped",
    "resume",
    "away",
    "away_per_key",
    "unacknowledged",
    "resumes",
    "sent_again",
    "handshake_load",
    "prekey",
}
"""Bounds of connections: the tests of the greeter, of admission, of liveness and of returns reach them."""

Pair = tuple[Session, Session, Sender[Any], Receiver[Any]]


@asynccontextmanager
async def limited(**limits: Any) -> AsyncIterator[Pair]:
    """A channel to a server that has these limits, which the client was told; the client's own are the default ones."""
    async with session_pair(Limits(), Limits(**limits)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        yield client, server, sender, receiver
        sender.close()
        receiver.close()


async def assert_usable(sender: Any, receiver: Any) -> None:
    await sender.send("goes on")
    assert await receiver.receive() == "goes on"


def close(*ends: Any) -> None:
    for end in ends:
        end.close()


# --- one test for each field ------------------------------------------------------------------------


async def message_size() -> None:
    """The sender raises, nothing is sent, the ends stay its own; a message just as long passes."""
    async with limited(message_size=1_000) as (_, _, sender, receiver):
        one, other = chanlink.pipe()
        with pytest.raises(MessageTooLarge):
            await sender.send({"data": bytes(1_000), "end": one})
        await assert_usable(one, other)
        largest = bytes(1_000 - 3)  # a bin of that length has a header of 3 bytes
        await sender.send(largest)
        assert await receiver.receive() == largest
        with pytest.raises(MessageTooLarge):
            sender.send_nowait(largest + b"x")
        await assert_usable(sender, receiver)
        close(one, other)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


async def message_depth() -> None:
    """The sender raises `EncodeError`; a value just as deep passes."""
    async with limited(message_depth=5) as (_, _, sender, receiver):
        with pytest.raises(EncodeError, match="deep"):
            await sender.send(nested(6))
        await sender.send(nested(5))
        assert await receiver.receive() == nested(5)
        await assert_usable(sender, receiver)


async def message_values() -> None:
    """The sender raises `LimitReached` by name; a message of just as many passes."""
    async with limited(message_values=5_000) as (_, _, sender, receiver):
        with pytest.raises(LimitReached) as caught:
            await sender.send([0] * 5_000)
        assert (caught.value.limit, caught.value.value) == ("message_values", 5_000)
        await sender.send([0] * 4_999)
        assert await receiver.receive() == [0] * 4_999
        await assert_usable(sender, receiver)


async def message_int_keys() -> None:
    """As `message_values`."""
    async with limited(message_int_keys=3_000) as (_, _, sender, receiver):
        with pytest.raises(LimitReached) as caught:
            await sender.send(dict.fromkeys(range(3_001)))
        assert (caught.value.limit, caught.value.value) == ("message_int_keys", 3_000)
        await sender.send(dict.fromkeys(range(3_000)))
        assert await receiver.receive() == dict.fromkeys(range(3_000))
        await assert_usable(sender, receiver)


async def message_ends() -> None:
    """The sender raises `LimitReached` by name, and every end stays its own."""
    async with limited(message_ends=3) as (client, _, sender, receiver):
        ends = [chanlink.pipe() for _ in range(4)]
        before = client.statistics().channels
        with pytest.raises(LimitReached) as caught:
            await sender.send([one for one, _ in ends])
        assert (caught.value.limit, caught.value.value) == ("message_ends", 3)
        assert client.statistics().channels == before
        for one, other in ends:
            await assert_usable(one, other)
        await sender.send([one for one, _ in ends[:3]])
        close(*await receiver.receive(), *(end for pair in ends for end in pair))


async def open_channels() -> None:
    """Opening and sending raise `LimitReached` by name; no send waits for slots; what is over gives its slot back."""
    async with limited(open_channels=3) as (client, _, sender, receiver):
        ends = [chanlink.pipe() for _ in range(3)]
        with pytest.raises(LimitReached) as caught:
            await sender.send([one for one, _ in ends])
        assert (caught.value.limit, caught.value.value) == ("open_channels", 3)
        for one, other in ends:
            await assert_usable(one, other)
        await sender.send([one for one, _ in ends[:2]])
        for call in (client.open, client.open_stream):
            with pytest.raises(LimitReached):
                await call("another")
        close(*await receiver.receive())
        await settle()
        await sender.send(ends[2][0])
        close(await receiver.receive(), *(end for pair in ends for end in pair))


async def unaccepted() -> None:
    """More top-level channels than may wait are refused `busy`; those that wait are accepted, nested ones flow."""
    async with limited(unaccepted=2) as (client, server, sender, receiver):
        waiting = [await client.open(f"number {n}") for n in range(2)]
        refused = await client.open("one too many")
        reason = await refused.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "busy"
        one, other = chanlink.pipe()
        await sender.send(one)
        there = await receiver.receive()
        await assert_usable(there, other)
        accepted = [await server.accept() for _ in range(2)]
        assert [incoming.service for incoming in accepted] == ["number 0", "number 1"]
        close(*waiting, refused, one, other, there, *(incoming.end for incoming in accepted))


async def unmentioned() -> None:
    """A stream that no message mentions is refused after the time; what a message mentions is not, taken or not."""
    async with limited(unmentioned=0.2) as (client, server, sender, receiver):
        stray_parent = await client.open("service")
        stray_end = (await server.accept()).end
        one, other = chanlink.pipe()
        await sender.send(other)  # mentioned, and not taken for long
        parent = stray_parent._send_core.outlet.stream.id
        stray = client._mux.open(Opening("receiver", parent=parent))  # an honest peer never does that
        with anyio.fail_after(PATIENCE):
            await eventually(lambda: stray.out_reason is not None)
        assert (stray.out_reason.kind, stray.out_reason.code) == ("refused", "not-taken")
        there = await receiver.receive()
        await assert_usable(one, there)
        close(one, other, there, stray_parent, stray_end)


async def fill(sender: Any, message: bytes) -> int:
    count = before = 0
    while True:
        try:
            if isinstance(sender, Sender):
                sender.send_nowait(message)
            else:
                sender._put_nowait(message)
            count += 1
        except anyio.WouldBlock:
            if count == before:
                return count
            before = count
            await settle()


async def stream_window() -> None:
    """A channel that nobody reads takes one window, and at most one message more."""
    async with limited(stream_window=4_096) as (_, _, sender, receiver):
        count = await fill(sender, bytes(500))
        assert 4_096 <= count * (500 + 3 + 4) <= 4_096 + 2 * 507
        for _ in range(count):
            assert await receiver.receive() == bytes(500)
        await assert_usable(sender, receiver)


async def grow(client: Session, sender: Any, receiver: Any) -> int:
    """Send and take much; return what one channel that nobody reads any more takes after that."""
    client._mux.credit.round_trip = 1.0
    async with anyio.create_task_group() as tasks:

        async def send() -> None:
            for _ in range(1_500):
                await sender.send(bytes(1_000))

        tasks.start_soon(send)
        for _ in range(1_500):
            await receiver.receive()
    await settle()
    return await fill(sender, bytes(1_000)) * 1_000


async def stream_window_max() -> None:
    """A window grows with use, and not beyond this."""
    async with session_pair(Limits(), Limits(stream_window_max=65_536)) as (client, server):
        server._mux.credit.round_trip = 1.0  # a long way: all windows would like to be large
        sender, receiver = await client.open("service"), (await server.accept()).end
        assert 16_384 < await grow(client, sender, receiver) <= 65_536 + 2_000
        close(sender, receiver)


async def session_budget() -> None:
    """All windows together grow by no more than this, and what it lends comes back."""
    async with session_pair(Limits(), Limits(session_budget=100_000)) as (client, server):
        server._mux.credit.round_trip = 1.0
        ends = [(await client.open("service"), (await server.accept()).end) for _ in range(4)]
        taken = [await grow(client, sender, receiver) for sender, receiver in ends]
        assert 4 * 16_384 < sum(taken) <= 4 * (16_384 + 2_000) + 100_000
        close(*(end for pair in ends for end in pair))
        await settle()
        assert server.statistics().budget == 100_000


async def send_queue() -> None:
    """Our side queues no more than this for one stream, however wide the peer's window is."""
    limits = Limits(send_queue=10_000)
    stuck = [True]

    class Stuck(FaultyStream):
        async def send(self, item: bytes) -> None:
            while stuck[0]:
                await anyio.lowlevel.checkpoint()
            await super().send(item)

    wires: list[Any] = []

    def wire(stream: Any) -> Any:
        wires.append(stream)
        return Stuck(stream) if len(wires) == 1 else stream

    async with session_pair(limits, Limits(stream_window=1_000_000), wire=wire) as (client, server):
        sender = await client.open("service")
        count = await fill(sender, bytes(1_000))
        assert 10 <= count <= 21  # what the writer has taken already, and the queue
        stuck[0] = False
        receiver = (await server.accept()).end
        for _ in range(count):
            await receiver.receive()
        await assert_usable(sender, receiver)
        close(sender, receiver)


class Deaf(FaultyStream):
    """Takes nothing any more, once it is told so."""

    deaf = False

    async def send(self, item: bytes) -> None:
        if self.deaf:
            await anyio.sleep_forever()
        await super().send(item)


@asynccontextmanager
async def deaf(**limits: Any) -> AsyncIterator[tuple[Session, Sender[Any]]]:
    """A session whose peer takes nothing any more, and a channel on it."""
    wires: list[Deaf] = []

    def wire(stream: Any) -> Deaf:
        wires.append(Deaf(stream))
        return wires[-1]

    async with session_pair(Limits(**limits), wire=wire) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        wires[0].deaf = True
        yield client, sender
        receiver.close()


async def close_in_time() -> None:
    """Closing waits no longer than this for what was accepted to leave; then it is lost, and said to be."""
    async with deaf(close=0.2) as (client, sender):
        await sender.send("never leaves")
        await client.aclose()
        assert isinstance(await sender.wait_closed(), SessionLost)
    async with deaf(close=600) as (client, sender):
        await sender.send("never leaves")
        with anyio.move_on_after(0.4) as scope:  # longer than that
            await client.aclose()
        assert scope.cancelled_caught


async def progress() -> None:
    """A peer that takes nothing for so long is lost; a large message that stops arriving fails its channel only."""
    async with deaf(progress=0.2) as (_, sender):
        with pytest.raises(SessionLost) as lost:
            while True:
                await sender.send(bytes(1_000))
        assert isinstance(lost.value.cause, ConnectionLost)
    async with limited(progress=0.2) as (_, _, sender, receiver):
        stream = sender._send_core.outlet.stream
        stream.outgoing.write((100).to_bytes(4, "big") + b"\xc4")  # an honest peer would send the rest
        with pytest.raises(ChannelFailed) as failed:
            await receiver.receive()
        assert failed.value.code == "too-slow"
        reason: Any = await sender.wait_closed()
        assert (type(reason), reason.code) == (ChannelRefused, "too-slow")


TESTS: dict[str, Callable[[], Awaitable[None]]] = {
    "close": close_in_time,
} | {
    function.__name__: function
    for function in (
        message_size,
        message_depth,
        message_values,
        message_int_keys,
        message_ends,
        open_channels,
        unaccepted,
        unmentioned,
        stream_window,
        stream_window_max,
        session_budget,
        send_queue,
        progress,
    )
}
FIELDS = [field.name for field in dataclasses.fields(Limits) if field.name not in NOT_OF_CHANNELS]


@pytest.mark.parametrize("field", FIELDS)
async def test_the_bound_is_reached_and_the_sender_is_told_first(field: str) -> None:
    with anyio.fail_after(PATIENCE):
        await TESTS[field]()


def test_no_bound_is_excused_that_is_not_there() -> None:
    assert {field.name for field in dataclasses.fields(Limits)} >= NOT_OF_CHANNELS | set(TESTS)
