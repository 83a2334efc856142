"""The four ways in which a channel is over: end, failed, refused, lost. The same over every route."""

import gc
import warnings
from typing import Any

import anyio
import pytest

from chanlink import (
    ChannelBroken,
    ChannelFailed,
    ChannelRefused,
    EndOfChannel,
    SessionLost,
)

from .routes import Route, every_direct_session, every_route, every_session

pytestmark = pytest.mark.anyio

both_ways = pytest.mark.parametrize("back", [False, True], ids=["there", "back"])


async def channel(places: Any, back: bool, capacity: int | None = None) -> Any:
    return await (places.channel_back(capacity) if back else places.channel(capacity))


# --- end, failed, refused ---------------------------------------------------------------------------


@every_route
@both_ways
async def test_end_comes_after_all_messages_and_stays(route: Route, back: bool) -> None:
    async with route() as places:
        sender, receiver = await channel(places, back)
        for n in range(20):
            await sender.send(n)
        sender.close()
        await places.settle()
        for n in range(20):
            assert await receiver.receive() == n
        for _ in range(2):
            with pytest.raises(EndOfChannel):
                await receiver.receive()
            with pytest.raises(EndOfChannel):
                receiver.receive_nowait()


@every_route
@both_ways
async def test_failed_comes_after_all_messages_with_code_and_text(route: Route, back: bool) -> None:
    async with route() as places:
        sender, receiver = await channel(places, back)
        for n in range(20):
            await sender.send(n)
        sender.fail("disk-full", "no space left on žluťoučký")
        for n in range(20):
            assert await receiver.receive() == n
        for _ in range(2):
            with pytest.raises(ChannelFailed) as caught:
                await receiver.receive()
            assert (caught.value.code, caught.value.text) == ("disk-full", "no space left on žluťoučký")


@every_route
@both_ways
async def test_refused_reaches_an_idle_sender_with_code_and_reason(route: Route, back: bool) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = await channel(places, back)
        reasons: list[Any] = []

        async def wait() -> None:
            reasons.append(await sender.wait_closed())

        tasks.start_soon(wait)
        await places.settle()
        assert reasons == []
        receiver.refuse("quota", "10 a day")
        await places.settle()
        assert [(type(one), one.code, one.reason) for one in reasons] == [(ChannelRefused, "quota", "10 a day")]
        for _ in range(2):
            with pytest.raises(ChannelRefused):
                sender.send_nowait("too late")


@every_route
@both_ways
async def test_refused_reaches_every_blocked_sender(route: Route, back: bool) -> None:
    async with route() as places:
        sender, receiver = await channel(places, back, 1)
        await sender.send("fills the channel")
        refused: list[str] = []

        async def send() -> None:
            with pytest.raises(ChannelRefused) as caught:
                await sender.send("waits")
            refused.append(caught.value.reason)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(send)
            await places.settle()
            assert refused == []
            receiver.close("enough")
        assert refused == ["enough"] * 3


@every_route
async def test_a_sender_that_closed_is_not_told_of_a_refusal_but_flush_is(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        await sender.send(1)
        await sender.send(2)
        sender.close()
        assert await receiver.receive() == 1
        receiver.close("enough")
        with pytest.raises(ChannelRefused):
            await sender.flush()
        assert sender.taken == 1


@every_route
async def test_leaving_the_block_by_cancellation_fails_as_cancelled(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        with anyio.CancelScope() as scope:
            async with sender:
                await sender.send("before")
                scope.cancel()
                await anyio.sleep_forever()
        assert await receiver.receive() == "before"
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert (caught.value.code, caught.value.text) == ("cancelled", "")


@every_route
async def test_leaving_the_block_by_an_exception_says_its_class_and_no_internals(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        with pytest.raises(LookupError):
            async with sender:
                raise LookupError("internal details")
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert (caught.value.code, caught.value.text) == ("lookup-error", "")


@every_route
async def test_a_sender_that_is_forgotten_has_failed_as_abandoned(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        await sender.send("before")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            places.forget(sender)
            del sender
            gc.collect()
        assert [one.category for one in caught] == [ResourceWarning]
        assert await receiver.receive() == "before"
        with pytest.raises(ChannelFailed) as failed:
            await receiver.receive()
        assert failed.value.code == "abandoned"


@every_route
async def test_a_receiver_that_is_forgotten_has_refused_as_abandoned(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            places.forget(receiver)
            del receiver
            gc.collect()
        assert [one.category for one in caught] == [ResourceWarning]
        reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "abandoned"


@every_route
async def test_an_end_that_is_closed_or_moved_is_forgotten_in_silence(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        one, other = places.pipe()
        await sender.send(other)
        moved = await receiver.receive()
        places.forget(other)
        places.forget(one)
        one.close()
        moved.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del one, other, moved
            gc.collect()


# --- lost -------------------------------------------------------------------------------------------


@every_session
@both_ways
async def test_lost_comes_after_what_arrived_and_says_what_was_taken(route: Route, back: bool) -> None:
    async with route() as places:
        sender, receiver = await channel(places, back, 8)
        for n in range(4):
            await sender.send(n)
        await places.settle()
        assert [await receiver.receive(), await receiver.receive()] == [0, 1]
        await places.settle()
        assert sender.taken == 2
        await places.cut()
        for _ in range(2):
            with pytest.raises(SessionLost) as lost:
                await sender.send("too late")
            assert lost.value.taken == 2
        arrived = []
        with pytest.raises(SessionLost):
            while True:
                arrived.append(await receiver.receive())
        assert arrived == [2, 3][: len(arrived)]
        with pytest.raises(SessionLost):
            await receiver.receive()


@every_direct_session
async def test_what_has_arrived_before_the_connection_died_is_delivered(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        for n in range(4):
            await sender.send(n)
        await places.settle()
        await places.cut()
        assert [await receiver.receive() for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(SessionLost):
            await receiver.receive()


@every_session
@both_ways
async def test_a_session_that_is_lost_is_never_an_end(route: Route, back: bool) -> None:
    async with route() as places:
        sender, receiver = await channel(places, back)
        near, far = await places.byte_stream()
        writer, reader = (far, near) if back else (near, far)
        await places.cut()
        with pytest.raises(SessionLost):
            await receiver.receive()
        with pytest.raises(SessionLost):
            await reader.receive()
        with pytest.raises(SessionLost):
            await writer.send(b"x")
        assert isinstance(await sender.wait_closed(), SessionLost)


@every_session
async def test_the_death_of_a_session_on_the_way_cancels_no_block(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        await places.cut()
        await anyio.lowlevel.checkpoint()  # a cancelled block could not do this
        with pytest.raises(SessionLost):
            await receiver.receive()
        assert isinstance(await sender.wait_closed(), SessionLost)


@every_session
async def test_an_exception_leaves_the_blocks_of_all_sessions_unwrapped(route: Route) -> None:
    problem = KeyError("of the block")
    with pytest.raises(KeyError) as caught:
        async with route() as places:
            await places.channel()
            raise problem
    assert caught.value is problem


@every_session
@both_ways
async def test_what_was_accepted_is_delivered_when_the_session_is_closed(route: Route, back: bool) -> None:
    async with route() as places:
        sender, receiver = await channel(places, back)
        for n in range(100):
            await sender.send(n)
        await (places.far if back else places.near).aclose()
        received = []
        with pytest.raises(SessionLost):
            while True:
                received.append(await receiver.receive())
        assert received == list(range(100))


@every_session
@both_ways
async def test_everything_that_waits_returns_when_the_connection_dies(route: Route, back: bool) -> None:
    """Receive, send, flush and wait_closed, of messages and of bytes."""
    async with route() as places:
        sender, _receiver = await channel(places, back, 1)
        idle, quiet = await channel(places, back)
        near, far = await places.byte_stream()
        writer, reader = (far, near) if back else (near, far)
        await sender.send("never taken")
        outcomes: list[Any] = []

        async def run(function: Any, *args: Any) -> None:
            try:
                outcomes.append(type(await function(*args)))
            except ChannelBroken as exc:
                outcomes.append(type(exc))

        async def write() -> None:
            while True:
                await writer.send(bytes(10_000))

        async with anyio.create_task_group() as tasks:
            waiting = [
                (sender.send, 1),
                (sender.flush,),
                (quiet.receive,),
                (idle.wait_closed,),
                (reader.wait_closed,),
                (write,),
            ]
            for function, *args in waiting:
                tasks.start_soon(run, function, *args)
            await places.settle()
            assert outcomes == []
            await places.cut()
        assert outcomes == [SessionLost] * len(waiting)


@every_direct_session
async def test_accept_returns_when_the_connection_dies(route: Route) -> None:
    async with route() as places:
        ended: list[Any] = []

        async def accept(session: Any) -> None:
            with pytest.raises(Exception) as caught:  # noqa: PT011  (which error, depends on the side)
                await session.accept()
            ended.append(type(caught.value))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept, places.near)
            tasks.start_soon(accept, places.far)
            await places.settle()
            assert ended == []
            await places.cut()
        assert len(ended) == 2


@every_session
async def test_a_lost_relay_leaves_the_other_channels_of_a_process_alone(route: Route) -> None:
    async with route() as first, route() as second:
        sender, receiver = await first.channel()
        other_sender, other_receiver = await second.channel()
        await first.cut()
        assert isinstance(await sender.wait_closed(), SessionLost)
        with pytest.raises(SessionLost):
            await receiver.receive()
        await other_sender.send("still there")
        assert await other_receiver.receive() == "still there"
