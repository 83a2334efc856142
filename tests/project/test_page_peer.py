"""A peer that was built from the protocol page alone exchanges messages with ours: in both roles, in every pattern."""

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chanlink import ChannelError, ChannelFailed, ChannelRefused, Limits, Receiver, byte_pipe, pipe
from chanlink.testing import session_over
from chanlink.wire.opening import Opening
from tests.channels.pairs import PEER
from tests.patience import PATIENCE
from tests.security.wires import wires
from tests.wire.muxes import Side, frames_of, message, read_all, take

from .page_peer import PagePeer, drain

pytestmark = pytest.mark.anyio

WINDOW = 16_384
PATTERNS = {
    "less than half a window, then more than the rest": [8_000, 10_000],
    "that again and again": [8_000, 10_000] * 4,
    "just half a window and just less": [8_188, 8_187, 8_188, 8_188, 8_187, 8_187],
    "a window to the byte": [16_380, 16_380, 16_379, 16_381, 1, 16_380],
    "longer than the window": [100_000, 1, 40_000, 16_384],
    "short, then long, then what is left": [100, 70_000, 8_000, 10_000, 100],
    "many short ones": [500] * 200,
    "empty ones": [0] * 50 + [16_380] + [0] * 50,
}


class Conversation:
    """Our mux and the page's peer, and the bytes between them."""

    def __init__(self, *, ours_client: bool, window: int = WINDOW) -> None:
        limits = Limits(stream_window=window)
        self.side = Side(client_side=ours_client, limits=limits, peer=limits.announced())
        self.peer = PagePeer(client=not ours_client, window=window, peer_window=window)
        self.now = 1_000.0

    def carry(self) -> int:
        """One turn of each side."""
        there, back = frames_of(self.side.mux, self.now), self.peer.output()
        if there:
            self.peer.receive(there)
        if back:
            self.side.mux.receive_data(back, self.now)
        return len(there) + len(back)

    def channel(self, *, by_us: bool, we_send: bool) -> "Channel":
        kind: Any = "receiver" if we_send == by_us else "sender"
        if by_us:
            ours = self.side.mux.open(Opening(kind, service="service"))
            self.carry()
        else:
            self.peer.open(kind, service="service")
            self.carry()
            ours = self.side.opened[-1]
        return Channel(self, ours, we_send)


class Channel:
    """One channel, whichever side sends."""

    def __init__(self, conversation: Conversation, ours: Any, we_send: bool) -> None:
        self.conversation, self.ours, self.we_send = conversation, ours, we_send
        self.sent: deque[int] = deque()

    def send(self, sizes: deque[int]) -> bool:
        """The next message, if there is credit for it."""
        peer = self.conversation.peer
        if not sizes or not (self.ours.outgoing.can_write() if self.we_send else peer.may_send(self.ours.id)):
            return False
        size = sizes.popleft()
        body = bytes(size)
        self.ours.outgoing.write(message(body)) if self.we_send else peer.send(self.ours.id, body)
        self.sent.append(size)
        return True

    def take(self) -> bool:
        """What the application does."""
        got = self.conversation.peer.take(self.ours.id) if self.we_send else take(self.ours)
        if got is None:
            return False
        assert len(got[0] if isinstance(got, tuple) else got) == self.sent.popleft()
        return True


def exchange(conversation: Conversation, works: Iterable[tuple[Channel, list[int]]], *, lazy: bool) -> None:
    """Until everything has arrived. A `lazy` application takes only when nothing else goes on."""
    queues = [(channel, deque(sizes)) for channel, sizes in works]
    while any(sizes or channel.sent for channel, sizes in queues):
        goes_on = bool(conversation.carry())
        for channel, sizes in queues:
            while channel.send(sizes):
                goes_on = True
            while (not lazy or not goes_on) and channel.take():
                goes_on = True
                if lazy:
                    break
        assert goes_on, "both sides wait for each other"


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("we_send", [True, False], ids=["we send", "it sends"])
@pytest.mark.parametrize("by_us", [True, False], ids=["opened by us", "by it"])
@pytest.mark.parametrize("ours_client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize("name", PATTERNS)
def test_messages_of_any_lengths_get_through_by_the_rules_of_the_page(
    name: str, ours_client: bool, by_us: bool, we_send: bool, lazy: bool
) -> None:
    conversation = Conversation(ours_client=ours_client)
    exchange(conversation, [(conversation.channel(by_us=by_us, we_send=we_send), PATTERNS[name])], lazy=lazy)


LENGTHS = st.lists(
    st.one_of(st.integers(0, 1_100), st.integers(500, 3_000), st.sampled_from([508, 1_020])), max_size=12
)


@given(LENGTHS, LENGTHS, LENGTHS, st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_channels_both_ways_do_not_hold_each_other_up(
    one: list[int], two: list[int], three: list[int], ours_client: bool, lazy: bool
) -> None:
    conversation = Conversation(ours_client=ours_client, window=1_024)
    channels = [
        conversation.channel(by_us=True, we_send=True),
        conversation.channel(by_us=True, we_send=False),
        conversation.channel(by_us=False, we_send=True),
    ]
    exchange(conversation, zip(channels, (one, two, three), strict=True), lazy=lazy)


@pytest.mark.parametrize("ours_client", [True, False], ids=["client", "server"])
def test_bytes_both_ways_get_through_by_the_rules_of_the_page(ours_client: bool) -> None:
    conversation = Conversation(ours_client=ours_client)
    stream = conversation.peer.open("bytes", service="service", size=200_000)
    conversation.carry()
    (ours,) = conversation.side.opened
    assert ours.opening.size == 200_000
    got = back = sent = written = 0
    random.seed(1)
    while got < 200_000 or back < 200_000:
        if sent < 200_000 and conversation.peer.may_send(stream):
            sent += (size := min(random.randrange(1, 9_000), 200_000 - sent))
            conversation.peer.send(stream, bytes(size))
        if written < 200_000 and ours.outgoing.can_write():
            written += (size := min(random.randrange(1, 9_000), 200_000 - written))
            ours.outgoing.write(bytes(size))
        moved = conversation.carry()
        got += (came := len(read_all(ours)))
        back += (went := len(conversation.peer.read(stream)))
        assert moved or came or went, "both sides wait for each other"
    assert (got, back) == (200_000, 200_000)


# --- with sessions ------------------------------------------------------------------------------------


async def echo(requests: Receiver[Any], peer: Any) -> None:
    """Answers each message by the sender in it, at some length."""
    async with requests:
        async for request in requests:
            async with request["reply"] as reply:
                for value in request["values"]:
                    await reply.send(value)


class Live:
    """The page's peer at one end of a connection in memory, a session at the other."""

    def __init__(self, end: Any, *, client: bool) -> None:
        self.end = end
        self.peer = PagePeer(client=client)

    async def until(self, ready: Any) -> Any:
        """Exchange bytes until `ready()` returns something."""
        while (found := ready()) is None:
            if output := self.peer.output():
                await self.end.send(output)
            else:
                self.peer.receive(await self.end.receive())
        return found

    async def take(self, stream_id: int) -> tuple[bytes, list[Any]]:
        return await self.until(lambda: self.peer.take(stream_id))  # type: ignore[no-any-return]


def packed(values: int, size: int) -> bytes:
    """{"reply": the first end of the table, "values": [bin, ...]}, by the specification of msgpack."""
    value = b"\xc5" + size.to_bytes(2, "big") + bytes(size)
    return b"\x82\xa5reply\xd4\1\0\xa6values\xdc" + values.to_bytes(2, "big") + value * values


@pytest.mark.parametrize("ours_client", [True, False], ids=["client", "server"])
async def test_a_session_serves_a_peer_that_was_built_from_the_page(ours_client: bool) -> None:
    ours, theirs = wires(patient=True)
    session = session_over(ours, client_side=ours_client, peer=PEER, services={"echo": echo})
    live = Live(theirs, client=not ours_client)
    with anyio.fail_after(PATIENCE):
        async with session:
            channel = live.peer.open("receiver", service="echo", capacity=1)
            for values, size in ((1, 10), (2, 8_000), (1, 10_000), (3, 30_000), (0, 0)):
                await live.until(lambda: live.peer.may_send(channel) or None)
                reply = live.peer.open("sender", parent=channel)
                live.peer.send(channel, packed(values, size), ("sender", reply))
                for _ in range(values):
                    body, entries = await live.take(reply)
                    assert (body[-size:], len(body) - size <= 3, entries) == (bytes(size), True, [])
                assert await live.until(lambda stream=live.peer.streams[reply]: stream.ended) == {}
            live.peer.end(channel)
            assert await live.until(lambda: live.peer.streams[channel].ended) == {"taken": "5"}
            refused = live.peer.open("receiver", service="nothing")
            assert (await live.until(lambda: live.peer.streams[refused].refused))["code"] == "no-such-service"
            await live.until(lambda: live.peer.output() or None)
            session.abort()


@pytest.mark.parametrize("sizes", [PATTERNS[name] for name in list(PATTERNS)[:6]], ids=list(PATTERNS)[:6])
@pytest.mark.parametrize("ours_client", [True, False], ids=["client", "server"])
async def test_a_session_sends_to_a_peer_that_was_built_from_the_page(ours_client: bool, sizes: list[int]) -> None:
    ours, theirs = wires(patient=True)
    session = session_over(ours, client_side=ours_client, peer=PEER)
    live = Live(theirs, client=not ours_client)
    with anyio.fail_after(PATIENCE):
        async with session, anyio.create_task_group() as tasks:

            async def send() -> None:
                async with await session.open("sink") as sender:
                    for size in sizes:
                        await sender.send(bytes(size))
                    await sender.flush()
                flushed.set()

            flushed = anyio.Event()
            tasks.start_soon(send)
            stream_id, fields = (await live.until(lambda: live.peer.opened or None))[0]
            assert fields == {"kind": "receiver", "service": "sink"}
            for size in sizes:
                body, _ = await live.take(stream_id)
                assert body[-size:] == bytes(size)
            assert await live.until(lambda: live.peer.streams[stream_id].ended) == {}
            await live.until(lambda: live.peer.output() or None)
            await flushed.wait()
            session.abort()


@pytest.mark.parametrize("ours_client", [True, False], ids=["client", "server"])
async def test_ends_in_messages_of_a_session_work_at_a_peer_that_was_built_from_the_page(ours_client: bool) -> None:
    """Nested ends of all kinds, a refusal of each, and the end of the session by DRAIN."""
    ours, theirs = wires(patient=True)
    session = session_over(ours, client_side=ours_client, peer=PEER)
    live = Live(theirs, client=not ours_client)
    peer = live.peer
    seen: list[Any] = []

    async def use() -> None:
        async with await session.open("ends") as sender:
            for _ in range(2):
                (reply, replies), (news, reader), (near, far) = pipe(), pipe(capacity=0), byte_pipe()
                await sender.send({"reply": reply, "news": reader, "body": far})
                try:
                    await news.send("news")
                    await near.send(b"bytes")
                    await near.send_eof()
                    seen.append((await replies.receive(), await near.receive()))
                except ChannelError as exc:
                    seen.append(exc)
                    with pytest.raises(ChannelFailed):
                        await replies.receive()
                    with pytest.raises(ChannelRefused):
                        await near.send(b"too late")
                for end in (replies, news, near):
                    end.close()
            await sender.flush()
        await session.aclose()

    with anyio.fail_after(PATIENCE):
        async with session, anyio.create_task_group() as tasks:
            tasks.start_soon(use)
            channel, _ = (await live.until(lambda: peer.opened or None))[0]
            body, entries = await live.take(channel)
            assert [kind for kind, _ in entries] == ["sender", "receiver", "bytes"]
            assert body == b"\x83\xa5reply\xd4\1\0\xa4news\xd4\1\1\xa4body\xd4\1\2"
            (_, reply), (_, news), (_, stream) = entries
            assert await live.take(news) == (b"\xa4news", [])
            await live.until(lambda: len(peer.streams[stream].inbox) == 5 or None)
            assert peer.read(stream) == b"bytes"
            peer.send(reply, b"\xa5reply")
            peer.end(reply)
            peer.send(stream, b"answer")
            peer.end(stream)
            _, entries = await live.take(channel)
            for kind, refused in entries:
                if kind == "receiver":
                    peer.refuse(refused, "no", "thanks")
                else:
                    if kind == "bytes":
                        peer.refuse(refused, "no", "thanks")
                    peer.fail(refused, "no", "thanks")
            await live.until(lambda: len(peer.drains) == 2 or None)
            assert peer.drains == [0, 0]
            peer.say(drain(0), drain(0))
            await theirs.send(peer.output())
            await theirs.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await live.until(lambda: None)
    assert seen[0] == ("reply", b"answer")
    assert (type(seen[1]), seen[1].code, seen[1].reason) == (ChannelRefused, "no", "thanks")
    assert peer.goaway is None
