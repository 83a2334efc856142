"""Ends where it is hard: moved while something waits at them, lost in the middle of a rendezvous, copied, forgotten."""

import asyncio
import copy
import gc
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    ByteStream,
    ChannelClosed,
    ChannelFailed,
    ChannelMoved,
    ChannelRefused,
    EndOfChannel,
    Receiver,
    Sender,
    Session,
)
from chanlink.testing import session_pair
from tests.conformance.routes import Route, memory, one_relay, session
from tests.patience import PATIENCE, until

from .pairs import settle
from .test_abandoned import WORDS

pytestmark = pytest.mark.anyio

three_routes = pytest.mark.parametrize("route", [memory, session, one_relay], ids=lambda one: one.__name__)
by_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
"""With asyncio's own `Task.cancel`: it also reaches a task that was woken and has not run yet."""


# --- byte streams with a size -----------------------------------------------------------------------


async def waiting_and_moved(tasks: Any, places: Any, size: int, waiting: int) -> tuple[ByteStream, ByteStream, int]:
    """A stream whose writer went to the far side while a task waited to send there, its reader, and what was sent."""
    writer, reader = chanlink.byte_pipe(size)
    sent = 0
    moved = anyio.Event()

    async def write() -> None:
        nonlocal sent
        await writer.send(bytes(70_000))  # more than fits
        sent = 70_000
        with pytest.raises(ChannelMoved):
            await writer.send(bytes(waiting))
        moved.set()

    tasks.start_soon(write)
    await settle()
    far = await places.carry(writer)
    await moved.wait()
    return far, reader, sent


async def read_all(reader: ByteStream) -> int:
    size = 0
    while True:
        try:
            size += len(await reader.receive())
        except EndOfChannel:
            return size


async def test_what_waited_when_a_sized_byte_stream_was_moved_does_not_count_as_sent() -> None:
    size = 200_000
    async with session() as places, anyio.create_task_group() as tasks:
        far, reader, sent = await waiting_and_moved(tasks, places, size, 50_000)

        async def write_the_rest() -> None:
            await far.send(bytes(1_000))
            await far.send(bytes(size - sent - 1_000))
            await far.send_eof()

        tasks.start_soon(write_the_rest)
        assert await read_all(reader) == size
        reader.close()
        far.close()


async def test_a_sized_byte_stream_that_was_moved_while_a_send_waited_still_has_its_size() -> None:
    async with session() as places, anyio.create_task_group() as tasks:
        far, reader, sent = await waiting_and_moved(tasks, places, 80_000, 10_000)
        with pytest.raises(ChannelFailed, match="wrong-size: 1 bytes more"):
            await far.send(bytes(80_000 - sent + 1))
        received = 0
        with pytest.raises(ChannelFailed, match="wrong-size"):
            while True:
                received += len(await reader.receive())
        assert received == sent
        reader.close()


# --- tasks that wait for the other side -------------------------------------------------------------


@three_routes
async def test_wait_closed_of_a_byte_stream_returns_also_after_its_end_was_read(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        near, far = await places.byte_stream()
        await near.send(b"all there is")
        await near.send_eof()
        assert await read_all(far) == 12
        reasons: list[Any] = []

        async def wait() -> None:
            reasons.append(await near.wait_closed())

        tasks.start_soon(wait)
        await places.settle()
        assert reasons == []  # nobody has closed it
        far.close()
        with anyio.fail_after(PATIENCE):
            while not reasons:
                await settle()
        assert isinstance(reasons[0], ChannelRefused)
        assert reasons[0].code == "closed"
        assert isinstance(await near.wait_closed(), ChannelRefused)


# --- copies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda one: one.__name__)
@pytest.mark.parametrize("where", ["in memory", "of a session"])
async def test_an_end_can_be_neither_copied_nor_pickled(act: Callable[[Any], Any], where: str) -> None:
    async with session() as places:
        sender, receiver = places.pipe()
        near, far = places.byte_pipe()
        ends = [sender, sender.clone(), receiver, near, far]
        if where == "of a session":
            ends = [await places.carry(end) for end in ends]
        for end in ends:
            with pytest.raises(TypeError, match="can't be copied or pickled"):
                act(end)
            assert not end.is_void
        sender, clone, receiver, near, far = ends
        sender.close()
        await clone.send("nobody else has closed the channel")
        assert await receiver.receive() == "nobody else has closed the channel"
        await near.send(b"nor this")
        assert await far.receive() == b"nor this"
        places.keep(ends)


# --- a rendezvous, a cancellation and a move at once ------------------------------------------------


async def given_and_moved(
    places: Any, message: object, meanwhile: Callable[[Sender[Any]], object]
) -> tuple[Receiver[Any], Sender[Any]]:
    """A receiver that is sent away after `message` was given to its task, which is cancelled before it runs.

    Returns what the receiver is carried by, and the sender.
    """
    carrier, carried = places.hops[0].there
    sender, receiver = chanlink.pipe(0)
    task = asyncio.ensure_future(receiver.receive())
    await settle()
    sender.send_nowait(message)
    carrier.send_nowait(receiver)
    meanwhile(sender)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return carried, sender


def close(end: Any) -> None:
    end.close()


def leave_open(end: Any) -> None:
    pass


each_way_on = pytest.mark.parametrize("meanwhile", [close, leave_open], ids=lambda one: one.__name__)


@by_asyncio
@each_way_on
async def test_a_message_given_to_a_cancelled_task_goes_where_its_receiver_went(meanwhile: Any) -> None:
    async with session() as places:
        carried, sender = await given_and_moved(places, "not lost", meanwhile)
        far = await carried.receive()
        assert await far.receive() == "not lost"
        sender.close()
        with pytest.raises(EndOfChannel):
            await far.receive()


@by_asyncio
@pytest.mark.parametrize(
    "meanwhile",
    [
        close,
        leave_open,
    ],
    ids=lambda one: one.__name__,
)
async def test_a_message_given_to_a_cancelled_task_that_can_not_follow_its_receiver_fails_the_channel(
    meanwhile: Any,
) -> None:
    """Such a value passes in memory only. The task is cancelled, as it should be; a task that receives now is told."""
    async with session() as places:
        inner_sender, inner_receiver = chanlink.pipe()
        carried, sender = await given_and_moved(places, [inner_receiver, object()], meanwhile)
        far = await carried.receive()
        with anyio.fail_after(PATIENCE):
            sender.close()
            with pytest.raises(ChannelFailed) as caught:
                await far.receive()
            assert caught.value.code == "not-sent"
            reason = await inner_sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "not-taken"


@by_asyncio
@each_way_on
async def test_a_message_given_to_a_cancelled_task_whose_receiver_is_lost_refuses_its_ends(meanwhile: Any) -> None:
    async with session() as places:
        inner_sender, inner_receiver = chanlink.pipe()

        def lose(sender: Sender[Any]) -> None:
            meanwhile(sender)
            places.near.abort()

        _, sender = await given_and_moved(places, ["given", inner_receiver], lose)
        with anyio.fail_after(PATIENCE):
            reason = await inner_sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "not-taken"
        sender.close()


# --- ends in a message that is offered --------------------------------------------------------------


@pytest.mark.parametrize("way", ["select", "selector"])
async def test_an_end_closed_while_its_message_is_offered_is_an_error_of_the_message_not_of_the_channel(
    way: str,
) -> None:
    """`Selected.error` would say that the channel is over, which it is not: as with `send`, it is raised."""
    sender, receiver = chanlink.pipe(0)
    inner_sender, inner_receiver = chanlink.pipe()
    done = anyio.Event()

    async def offer() -> None:
        with pytest.raises(ChannelClosed):
            if way == "select":
                await chanlink.select(sender.sending([inner_sender]))
            else:
                async with chanlink.Selector() as selector:
                    selector.add(sender.sending([inner_sender]))
                    await selector.__anext__()
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(offer)
        await settle()
        inner_sender.close()
        with pytest.raises(anyio.WouldBlock):
            receiver.receive_nowait()
        with anyio.fail_after(PATIENCE):
            await done.wait()
        assert not sender.is_void
        tasks.start_soon(sender.send, "goes on")
        assert await receiver.receive() == "goes on"
    for end in (sender, receiver, inner_receiver):
        end.close()


# --- what nobody accepted ---------------------------------------------------------------------------


async def leave_unaccepted(kind: str, over: str) -> None:
    async with session_pair() as (client, server):
        end = await (client.open("service") if kind == "channel" else client.open_stream("service"))
        await end.send(b"for nobody")
        await settle()
        end.close()
        await settle()
        if over == "aborted":
            client.abort()
            await _all_closed(client, server)


async def _all_closed(*sessions: Session) -> None:
    for one in sessions:
        await one.wait_closed()


@pytest.mark.parametrize("over", ["closed", "aborted"])
@pytest.mark.parametrize("kind", ["channel", "byte stream"])
async def test_ends_that_nobody_accepted_are_gone_with_their_session_in_silence(kind: str, over: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # what was lying around
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await leave_unaccepted(kind, over)
        gc.collect()
    assert [str(one.message) for one in caught if WORDS in str(one.message)] == []


# --- books ------------------------------------------------------------------------------------------


def refuse(end: Any) -> None:
    end.refuse()


@pytest.mark.parametrize("act", [refuse, close])
async def test_nothing_is_queued_in_a_byte_pipe_that_nobody_reads_any_more(act: Callable[[Any], None]) -> None:
    writer, reader = chanlink.byte_pipe()
    credit = writer.statistics().credit
    await writer.send(bytes(100))
    await writer.send(bytes(50))
    await reader.receive(30)
    assert writer.statistics().queued == 120
    act(reader)
    statistics = writer.statistics()
    assert statistics.queued == 0
    assert statistics.credit == credit
    assert statistics.sent == 150
    writer.close()
    reader.close()


# --- what depends on when it is sent ----------------------------------------------------------------


@three_routes
async def test_what_is_sent_late_is_made_when_there_is_room(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        made: list[int] = []

        def make(number: int) -> Any:
            made.append(number)
            return [number, bytes(10_000)]

        async def send(number: int) -> None:
            await sender._send_late(lambda: make(number))

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(send, number)
            await places.settle()
            assert len(made) == sender.statistics().sent < 100
            assert [(await receiver.receive())[0] for _ in range(100)] == made
        assert set(made) == set(range(100))


@three_routes
async def test_a_late_send_that_is_cancelled_makes_nothing_and_passes_its_turn_on(route: Route) -> None:
    async with route() as places:
        sender, receiver = await places.channel()
        made: list[int] = []
        async with anyio.create_task_group() as others:

            async def send(number: int) -> None:
                await sender._send_late(lambda: made.append(number) or [number, bytes(10_000)])  # type: ignore[func-returns-value]

            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(send, number)
                await places.settle()
                sent = len(made)
                for number in range(100, 110):
                    others.start_soon(send, number)
                await places.settle()
                tasks.cancel_scope.cancel()
            assert len(made) == sent < 100
            arrived = [(await receiver.receive())[0] for _ in range(sent + 10)]
            assert arrived == made
            assert set(made[sent:]) == set(range(100, 110))


@three_routes
async def test_a_late_send_sees_that_the_receiver_is_gone_or_this_end_closed(route: Route) -> None:
    for close, error in (("receiver", ChannelRefused), ("sender", ChannelClosed)):
        async with route() as places:
            sender, receiver = await places.channel()
            async with anyio.create_task_group() as tasks:

                async def send(sender: Sender[Any] = sender, error: type[Exception] = error) -> None:
                    with pytest.raises(error):
                        while True:
                            await sender._send_late(lambda: bytes(10_000))

                for _ in range(10):
                    tasks.start_soon(send)
                await places.settle()
                (receiver if close == "receiver" else sender).close()


async def test_what_is_made_late_and_can_not_be_passes_its_turn_on() -> None:
    sender, receiver = chanlink.pipe(1)
    await sender.send(0)
    outcomes: list[str] = []

    async def send(name: str, item: object) -> None:
        def make() -> object:
            if item is None:
                raise LookupError
            return item

        try:
            await sender._send_late(make)
            outcomes.append(name)
        except LookupError:
            outcomes.append(f"{name} failed")

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, "the first", None)
            await until(lambda: len(sender._send_core.senders) == 1)
            tasks.start_soon(send, "the second", 2)
            await until(lambda: len(sender._send_core.senders) == 2)
            assert await receiver.receive() == 0
        assert await receiver.receive() == 2
    assert outcomes == ["the first failed", "the second"]
    sender.close()
    receiver.close()
