"""Channels that are opened, used and abandoned in every way, some thousands of times; nothing may stay behind.

Three sites with a session between A and R, and between R and B. Each way of abandoning is a function, which returns
how many channels it has made.
"""

import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import anyio
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import Receiver, Sender, Session
from chanlink.testing import session_pair
from tests.machine.driver import leftovers

EVERY = 200
"""Rounds between two cuts of a session."""


class Sites(NamedTuple):
    """The sessions, by site and the site on the other side, and a channel each way that ends travel by."""

    a_r: Session
    r_a: Session
    r_b: Session
    b_r: Session
    to_r: tuple[Sender[Any], Receiver[Any]]
    to_b: tuple[Sender[Any], Receiver[Any]]
    back: tuple[Sender[Any], Receiver[Any]]
    """From R to A."""

    @property
    def sessions(self) -> tuple[Session, ...]:
        return self.a_r, self.r_a, self.r_b, self.b_r


@asynccontextmanager
async def sites() -> AsyncIterator[Sites]:
    async with session_pair() as (a_r, r_a), session_pair() as (r_b, b_r):
        lines = [
            (await here.open("x"), (await there.accept()).end) for here, there in ((a_r, r_a), (r_b, b_r), (r_a, a_r))
        ]
        yield Sites(a_r, r_a, r_b, b_r, *lines)


Way = Callable[[Sites], Awaitable[int]]


async def over(way: tuple[Sender[Any], Receiver[Any]], message: Any) -> Any:
    await way[0].send(message)
    return await way[1].receive()


async def to_b(at: Sites, end: Any) -> Any:
    """From A through R, where it becomes a relay."""
    return await over(at.to_b, await over(at.to_r, end))


# --- the ways -------------------------------------------------------------------------------------


async def closed(at: Sites) -> int:
    sender = await at.a_r.open("x")
    receiver = (await at.r_a.accept()).end
    await sender.send(1)
    sender.close()
    assert [item async for item in receiver] == [1]
    return 1


async def failed(at: Sites) -> int:
    sender, receiver = chanlink.pipe()
    receiver = await over(at.to_r, receiver)
    await sender.send(1)
    sender.fail("gave-up")
    assert await receiver.receive() == 1
    return 1 + await _read_to_the_end(receiver)


async def refused(at: Sites) -> int:
    sender, receiver = chanlink.pipe(0)
    receiver = await over(at.to_r, receiver)
    receiver.refuse("no")
    assert isinstance(await sender.wait_closed(), chanlink.ChannelRefused)
    sender.close()
    return 1


async def forgotten_sender(at: Sites) -> int:
    sender, receiver = chanlink.pipe()
    receiver = await over(at.to_r, receiver)
    await sender.send(1)
    del sender
    return 1 + await _read_to_the_end(receiver)


async def forgotten_receiver(at: Sites) -> int:
    sender, receiver = chanlink.pipe()
    receiver = await to_b(at, receiver)
    await sender.send(1)
    del receiver
    await sender.wait_closed()
    sender.close()
    return 1


async def forgotten_both(at: Sites) -> int:
    sender, receiver = chanlink.pipe(3)
    sender = await over(at.to_r, sender)
    await sender.send([1, 2])
    del sender, receiver
    return 1


async def forgotten_in_memory(at: Sites) -> int:
    """With an end of another channel in a message that nobody takes."""
    sender, receiver = chanlink.pipe()
    inner, other = chanlink.pipe()
    await sender.send(other)
    await inner.send(1)
    del sender, receiver
    gc.collect(0)
    del inner, other
    return 2


async def never_taken(at: Sites) -> int:
    """Ends in messages that nobody takes, and in those more."""
    carrier = await at.a_r.open("x")
    receiver = (await at.r_a.accept()).end
    first, second, third = chanlink.pipe(), chanlink.pipe(), chanlink.byte_pipe()
    await first[0].send({"deeper": second[1]})
    await second[0].send([third[1]])
    await carrier.send({"ends": [first[1], second[0]]})
    receiver.close()
    await first[0].wait_closed()
    for end in (carrier, first[0], third[0]):
        end.close()
    return 4


async def never_read(at: Sites) -> int:
    sender, receiver = chanlink.pipe()
    receiver = await to_b(at, receiver)
    for _ in range(5):
        await sender.send(bytes(2_000))
    sender.close()
    receiver.close()
    return 1


async def sender_through_a_relay(at: Sites) -> int:
    sender, receiver = chanlink.pipe(2)
    sender = await to_b(at, sender)
    await sender.send(1)
    sender.close()
    return 1 + await _read_to_the_end(receiver)


async def clones(at: Sites) -> int:
    """Of one receiver, at all sites; they end in any order."""
    sender, receiver = chanlink.pipe()
    here, there, beyond = sender.clone(), sender.clone(), sender.clone()
    there, beyond = await over(at.to_r, there), await to_b(at, beyond)
    await there.send(1)
    await beyond.send(2)
    await here.send(3)
    beyond.fail("gave-up")
    sender.close()
    here.close()
    del there
    return 1 + await _read_to_the_end(receiver)


async def bytes_both_ways(at: Sites) -> int:
    left, right = chanlink.byte_pipe()
    right = await to_b(at, right)
    await left.send(bytes(3_000))
    await right.send(bytes(3_000))
    await left.send_eof()
    while True:
        try:
            await right.receive()
        except chanlink.EndOfChannel:
            break
    right.close()
    left.close()
    return 1


async def home_again(at: Sites) -> int:
    sender, receiver = chanlink.pipe()
    sender = await over(at.back, await over(at.to_r, sender))
    await sender.send(1)
    sender.close()
    return 1 + await _read_to_the_end(receiver)


async def cancelled(at: Sites) -> int:
    sender, receiver = chanlink.pipe(1)
    receiver = await over(at.to_r, receiver)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await receiver.receive()
    await sender.send(1)
    with anyio.move_on_after(0):
        await sender.send(2)
    sender.close()
    return 1 + await _read_to_the_end(receiver)


async def _read_to_the_end(receiver: Receiver[Any]) -> int:
    try:
        async for _ in receiver:
            pass
    except chanlink.ChannelFailed:
        pass
    return 0


async def cut(at: Sites) -> int:
    """A session of its own, which breaks while all sorts of ends are open: between A and a site Z beyond R."""
    async with session_pair() as (here, there):
        carrier = await here.open("x")
        end = (await there.accept()).end
        pairs = [chanlink.pipe(), chanlink.pipe(0), chanlink.byte_pipe()]
        relayed = chanlink.pipe()
        await carrier.send([pairs[0][1], pairs[1][0], pairs[2][1], await over(at.to_r, relayed[1])])
        taken = await end.receive()
        await pairs[0][0].send(pairs[2][0])
        here.abort()
        await taken[0].aclose()
        await relayed[0].wait_closed()
        for one in (carrier, end, pairs[0][0], pairs[1][1], relayed[0], *taken[1:]):
            one.close()
    return 5


WAYS: tuple[Way, ...] = (
    closed,
    failed,
    refused,
    forgotten_sender,
    forgotten_receiver,
    forgotten_both,
    forgotten_in_memory,
    never_taken,
    never_read,
    sender_through_a_relay,
    clones,
    bytes_both_ways,
    home_again,
    cancelled,
)


# --- the soak -------------------------------------------------------------------------------------


class Figures(NamedTuple):
    channels: int
    memory: tuple[int, int]
    """Bytes that Python objects take, after a fifth of the rounds and at the end."""


async def soak(count: int) -> Figures:
    """Make and abandon `count` channels. Raises AssertionError if something is left but memory, which is returned."""
    tracemalloc.start()
    try:
        return await _soak(count)
    finally:
        tracemalloc.stop()


async def _soak(count: int) -> Figures:
    channels, early = 0, 0
    tasks = _tasks()
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(sites())
        idle = _tasks()
        turn = 0
        while channels < count:
            channels += await WAYS[turn % len(WAYS)](at)
            turn += 1
            if turn % EVERY == 0:
                channels += await cut(at)
            if not early and channels >= count // 5:
                early = await _memory()
        late = await _memory()
        assert _tasks() == idle, "tasks are left"
        for sender, receiver in (at.to_r, at.to_b, at.back):
            sender.close()
            receiver.close()
        await _rest()
        for session in at.sessions:
            left = leftovers(session)
            assert not left, f"a session has something left: {left}"
    assert _tasks() == tasks, "tasks are left"
    return Figures(channels, (early, late))


async def _memory() -> int:
    await _rest()
    return tracemalloc.get_traced_memory()[0]


async def _rest() -> None:
    for _ in range(3):
        for _ in range(100):
            await checkpoint()
        gc.collect()


def _tasks() -> int:
    return len(anyio.get_running_tasks())
