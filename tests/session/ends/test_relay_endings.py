"""Relays at the end: byte streams of which each half ends by itself, sessions that break, ends that come home."""

import contextlib
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed, ChannelRefused, ConnectionLost, EndOfChannel, Limits, SessionLost
from tests.channels.pairs import settle
from tests.patience import PATIENCE

from .test_relay import WINDOW, relayed

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

# --- byte streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("late", [0, WINDOW // 4, WINDOW])
async def test_a_byte_stream_gives_everything_back_however_late_its_rest_is_read(turned: bool, late: int) -> None:
    """The window grows meanwhile; what is read only after the writer has ended is part of the books, too."""
    total = 1_000_000
    async with relayed() as link:
        await link.begin()
        before = link.books()
        pair = await link.byte_stream()
        writer, reader = reversed(pair) if turned else pair
        received = 0
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                for _ in range(total // 10_000):
                    await writer.send(bytes(10_000))
                await writer.send_eof()

            tasks.start_soon(write)
            while received < total - late:
                received += len(await reader.receive(min(65_536, total - late - received)))
            await settle()
        with pytest.raises(EndOfChannel):
            while True:
                received += len(await reader.receive())
        assert received == total
        await reader.send(b"the other half goes on")
        await reader.send_eof()
        assert await writer.receive() == b"the other half goes on"
        with pytest.raises(EndOfChannel):
            await writer.receive()
        await link.check_books(before)


@pytest.mark.parametrize("turned", [False, True])
async def test_a_half_that_is_refused_beyond_the_relay_does_not_end_the_other(turned: bool) -> None:
    async with relayed() as link:
        await link.begin()
        before = link.books()
        pair = await link.byte_stream()
        one, other = reversed(pair) if turned else pair
        await one.send(bytes(5_000))
        other.refuse("enough", "words")
        with anyio.fail_after(PATIENCE):
            reason = await one.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert (reason.code, reason.reason) == ("enough", "words")
        await other.send(b"still open")
        assert await one.receive() == b"still open"
        other.fail("broken")
        with pytest.raises(ChannelFailed, match="broken"):
            await one.receive()
        one.close()
        other.close()
        await link.check_books(before)


@pytest.mark.parametrize("sent", [0, 99, 100])
@pytest.mark.parametrize("before_the_move", [0, 10])
async def test_a_size_is_kept_through_a_relay(sent: int, before_the_move: int) -> None:
    async with relayed() as link:
        await link.begin()
        near, far = chanlink.byte_pipe(100)
        early = min(sent, before_the_move)
        if early:
            await near.send(bytes(early))
        there = await link.carry(far)
        if sent > early:
            await near.send(bytes(sent - early))
        if sent == 100:
            with pytest.raises(ChannelFailed, match="wrong-size"):
                await near.send(b"x")
            expected: Any = "wrong-size"
        else:
            near.close()
            expected = "wrong-size"
        received = 0
        with pytest.raises(ChannelFailed, match=expected):
            while True:
                received += len(await there.receive())
        assert received == sent
        there.close()


async def test_a_peer_that_sends_more_than_the_size_is_found_out_beyond_the_relay() -> None:
    async with relayed() as link:
        await link.begin()
        near, there = await link.byte_stream(10)
        near._send_core.bytes_left = None
        await near.send(bytes(15))
        with pytest.raises(ChannelFailed, match="wrong-size"):
            while True:
                await there.receive()
        with anyio.fail_after(PATIENCE):
            assert isinstance(await near.wait_closed(), ChannelRefused)
        near.close()
        there.close()


# --- the death of a session -------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize("turned", [False, True])
async def test_what_is_lost_says_where_it_was_lost(which: str, turned: bool) -> None:
    async with relayed() as link:
        await link.begin()
        sender, receiver = await (link.channel_back() if turned else link.channel())
        near, there = await link.byte_stream()
        await sender.send("taken")
        assert await receiver.receive() == "taken"
        await sender.flush()
        (link.near if which == "first" else link.far).abort()
        beyond_sender = (which == "first") == turned
        with anyio.fail_after(PATIENCE):
            reason = await sender.wait_closed()
            with pytest.raises(SessionLost) as caught:
                await receiver.receive()
            stream_reason = await (near if which == "second" else there).wait_closed()
        assert isinstance(reason, SessionLost)
        assert reason.taken == caught.value.taken == 1
        relayed_error = reason if beyond_sender else caught.value
        for error in (relayed_error, stream_reason):
            assert isinstance(error, SessionLost)
            assert isinstance(error.cause, ConnectionLost)
            assert "the other side: " in str(error.cause)  # the name of the peer beyond the relay
        for one in (near, there):
            one.close()


async def test_a_connection_that_breaks_at_any_byte_tells_both_sides_and_leaves_nothing() -> None:
    """A message with an end, some without and bytes are under way when the second connection breaks."""
    whole = 0
    for cut_after in [*range(20, 700, 17), None]:
        with anyio.fail_after(PATIENCE):
            async with relayed(cut_after=cut_after) as link:
                first, carried = await link.near.open("first"), (await link.relay_near.accept()).end
                sender, receiver = chanlink.pipe()
                one, other = chanlink.pipe()
                near, far = chanlink.byte_pipe()
                received: list[Any] = []
                ends: list[Any] = []
                async with anyio.create_task_group() as tasks:

                    async def relay() -> None:
                        end = await carried.receive()  # noqa: B023
                        try:
                            await (await link.relay_far.open("second")).send(end)
                        except chanlink.ChanlinkError:
                            end.close()

                    async def take() -> None:
                        with contextlib.suppress(chanlink.ChanlinkError):
                            there = await (await link.far.accept()).end.receive()
                            async for message in there:
                                if isinstance(message, dict):
                                    ends.append(message)  # noqa: B023
                                else:
                                    received.append(message)  # noqa: B023

                    tasks.start_soon(relay)
                    tasks.start_soon(take)
                    await first.send(receiver)
                    error: Any = None
                    try:
                        for n in range(5):
                            await sender.send(n)
                        await sender.send({"one": one, "far": far})
                        await near.send(bytes(100))
                        for n in range(5, 10):
                            await sender.send(n)
                        sender.close()
                        await sender.flush()
                    except chanlink.ChannelError as exc:
                        error = exc
                        sender.close()
                    if cut_after is None:
                        assert error is None
                    await settle()
                    tasks.cancel_scope.cancel()
                assert received == list(range(len(received)))
                if error is None:
                    assert received == list(range(10))
                    whole += 1
                else:
                    assert isinstance(error, SessionLost | ChannelRefused)
                if not ends:  # the message with the ends was dropped: they are told
                    with pytest.raises(chanlink.ChannelBroken):
                        await other.receive()
                    assert isinstance(await near.wait_closed(), chanlink.ChannelBroken)
                else:
                    for end in ends[0].values():
                        end.close()
                near.close()
                other.close()
                await settle()
                assert link.relay_near.statistics().budget == Limits().session_budget
                left = {one.id for one in link.relay_near._mux.streams.values()}
                assert len(left) <= 1  # the carrier
    assert whole >= 1


@pytest.mark.parametrize("kind", ["sender", "receiver", "bytes"])
async def test_an_end_that_comes_home_works_and_leaves_nothing_when_it_is_over(kind: str) -> None:
    async with relayed() as link:
        await link.begin()
        before = link.books()
        sender, receiver = chanlink.pipe()
        one, other = chanlink.byte_pipe()
        there = await link.carry({"sender": sender, "receiver": receiver, "bytes": other}[kind])
        back, home = chanlink.pipe()
        away = await link.carry(back)
        await away.send(there)
        end = await home.receive()
        if kind == "sender":
            sender = end
        elif kind == "receiver":
            receiver = end
        if kind == "bytes":
            await one.send(bytes(50_000))
            await one.send_eof()
            received = 0
            with pytest.raises(EndOfChannel):
                while True:
                    received += len(await end.receive())
            assert received == 50_000
            end.close()
            one.close()
        else:
            async with anyio.create_task_group() as tasks:

                async def send() -> None:
                    async with sender:
                        for n in range(100):
                            await sender.send([n, bytes(500)])

                tasks.start_soon(send)
                assert [n async for n, _ in receiver] == list(range(100))
            await sender.flush()
        away.close()
        with pytest.raises(EndOfChannel):
            await home.receive()
        await link.check_books(before)
        for end in (sender, receiver, one, other):
            end.close()


# --- what it keeps for channels that are over ---------------------------------------------------------


async def close(sender: Any) -> None:
    sender.close()


async def fail(sender: Any) -> None:
    sender.fail("oops")


async def send_what_is_too_long_for_the_far_side(sender: Any) -> None:
    with contextlib.suppress(anyio.WouldBlock):
        sender.send_nowait(bytes(500_000))


@pytest.mark.parametrize("end", [close, fail, send_what_is_too_long_for_the_far_side])
async def test_what_a_relay_keeps_stays_within_the_budget_after_its_source_is_over(end: Any) -> None:
    """Else one peer could fill a relay, if another one takes nothing."""
    near = Limits(session_budget=1_000_000, message_size=600_000)
    far = Limits(session_budget=1, message_size=400_000)
    async with relayed(near, far=far) as link:
        await link.begin()
        before = link.books()
        channels = [await link.channel() for _ in range(12)]
        for sender, _ in channels:
            sender.send_nowait(bytes(399_000))
            await settle()
            await end(sender)
            await settle()
        assert 0 < link.held() <= near.session_budget + len(channels) * 2 * WINDOW
        for sender, receiver in channels:  # each gets through as the far side takes
            assert await receiver.receive() == bytes(399_000)
            sender.close()
            with pytest.raises((EndOfChannel, ChannelFailed)):
                await receiver.receive()
        await link.check_books(before)


async def test_what_a_relay_had_under_way_is_given_back_when_the_far_side_refuses() -> None:
    async with relayed() as link:
        await link.begin()
        before = link.books()
        sender, receiver = await link.channel()
        for _ in range(3):
            sender.send_nowait(bytes(5_000))
            await settle()
        await sender.send(bytes(500_000))
        await settle()
        receiver.close()
        assert (await sender.wait_closed()).code == "closed"  # type: ignore[attr-defined]
        sender.close()
        await link.check_books(before)
