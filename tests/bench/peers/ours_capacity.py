"""chanlink: what clients cost their server, each by its processor time alone, and its memory."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskStatus

import chanlink
from tests.bench.meter import Meter, Missing
from tests.bench.payload import message, pour

from . import ours, ours_broadcast, ours_calls, ours_crowded
from .services import SERVICES

Where = dict[str, Any]
Work = Callable[..., Awaitable[None]]
KIB = 1_024
MEGABYTE = 1e6
AT_ONCE = 50
"""Sessions that are being opened at a time."""
PATIENCE = 120.0
"""Seconds for a link to find the next server."""


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    """As the other servers of ours, and on one more port a server that can be told to make room for its successor."""
    SERVICES["calls"] = ours_calls.ANSWERS.serving(ours_calls.Answering())
    async with ours_broadcast.serve(folder) as where, anyio.create_task_group() as tasks:
        successions = _Successions(chanlink.PublicKey.load(folder / "client.pub"))
        port = await tasks.start(successions.run)
        yield {**where, "successions": port, "successor": str(successions.identity.public_key)}
        tasks.cancel_scope.cancel()


class _Successions:
    """Servers on one port, one after the other: the next one listens, and then the one before it drains."""

    def __init__(self, client: chanlink.PublicKey) -> None:
        self.identity = chanlink.Identity.generate("bench-successor")
        self._trust = chanlink.Trust.of(client)
        self._asked = anyio.Event()

    async def run(self, *, task_status: TaskStatus[int]) -> None:
        port = 0
        async with anyio.create_task_group() as draining:
            while True:
                stream_listener = await anyio.create_tcp_listener(
                    local_host="127.0.0.1", local_port=port, reuse_port=True
                )
                self._asked = anyio.Event()
                serving = chanlink.listen(
                    stream_listener,
                    identity=self.identity,
                    trust=self._trust,
                    services={"succeed": self._succeed},
                    limits=ours.MANY,
                )
                listener = await draining.start(_until_asked, serving, self._asked)
                if not port:
                    port = int(listener.addresses[0].rpartition(":")[2])
                    task_status.started(port)
                await self._asked.wait()

    async def _succeed(self, requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        self._asked.set()


async def _until_asked(serving: Any, asked: anyio.Event, *, task_status: TaskStatus[chanlink.Listener]) -> None:
    async with serving as listener:
        task_status.started(listener)
        await asked.wait()
        await listener.drain(30)


# --- what the server uses for each ----------------------------------------------------------------


def by_server(work: Work, times: float = 1.0) -> Work:
    """The same work; what is found is the server's processor time for each thing, or so many, in microseconds."""

    async def measured(where: Where, meter: Meter, **options: Any) -> None:
        await work(where, meter, **options)
        if meter.server_cpu is None:
            raise Missing("measuring processor time needs Linux")
        meter.found(meter.server_cpu / meter.count * times * 1e6)

    return measured


async def connections(where: Where, meter: Meter, *, count: int) -> None:
    """Sessions that are opened and closed, some at a time."""

    async def some(number: int) -> None:
        for _ in range(number, count, AT_ONCE):
            async with ours.connect(where):
                pass

    with meter.over(count):
        async with anyio.create_task_group() as tasks:
            for number in range(AT_ONCE):
                tasks.start_soon(some, number)


async def channels(where: Where, meter: Meter, *, count: int) -> None:
    async with ours.connect(where) as session:
        await ours_crowded.open_and_close(session, meter, count)


async def bytes_in(where: Where, meter: Meter, *, count: int) -> None:
    async with ours.connect(where) as session:
        await pour(await session.open_stream("discard"), meter, count)


async def bytes_out(where: Where, meter: Meter, *, count: int) -> None:
    async with ours.connect(where) as session, await session.open_stream("pour") as stream:
        read = len(await stream.receive())
        with meter.over(count):
            while read < count:
                read += len(await stream.receive())


async def messages_of_many(where: Where, meter: Meter, *, count: int, sessions: int) -> None:
    """Messages that come alone: each is the only one of its session just then."""
    async with _open(where, sessions) as clients:
        senders = [await client.open("count") for client in clients]
        await _in_turn(senders, 1)
        with meter.over(count // sessions * sessions):
            await _in_turn(senders, count // sessions)


async def _in_turn(senders: list[chanlink.Sender[Any]], rounds: int) -> None:
    for n in range(rounds):
        for sender in senders:
            await sender.send(message(n))
        for sender in senders:
            await sender.flush()


async def calls_of_many(where: Where, meter: Meter, *, count: int, sessions: int) -> None:
    """Calls, one at a time of each session."""
    async with _open(where, sessions) as clients:

        async def calls(client: chanlink.Session, number: int) -> None:
            answers = ours_calls.ANSWERS.client(client, "calls")
            for n in range(number):
                await answers.answer(n)

        async def all_calls(number: int) -> None:
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(calls, client, number)

        await all_calls(1)
        with meter.over(count // sessions * sessions):
            await all_calls(count // sessions)


# --- what sessions cost while nothing happens -----------------------------------------------------


@asynccontextmanager
async def _open(where: Where, count: int) -> AsyncIterator[list[chanlink.Session]]:
    """So many sessions, until the block is left."""
    clients: list[chanlink.Session] = []

    async def keep(*, task_status: TaskStatus[None]) -> None:
        async with ours.connect(where) as session:
            clients.append(session)
            task_status.started()
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        for begun in range(0, count, AT_ONCE):
            async with anyio.create_task_group() as starting:
                for _ in range(min(AT_ONCE, count - begun)):
                    starting.start_soon(tasks.start, keep)
        yield clients
        async with anyio.create_task_group() as closing:
            for client in clients:
                closing.start_soon(client.aclose)


async def memory(where: Where, meter: Meter, *, count: int) -> None:
    """KiB of each side for a session that does nothing."""
    async with _open(where, AT_ONCE):
        pass  # what the first ones need is not theirs
    first = meter.both_memories()
    async with _open(where, count):
        client, server = (used - before for used, before in zip(meter.both_memories(), first, strict=True))
    meter.found(server / KIB / count, client=client / KIB / count, server=server / KIB / count)


async def idle(where: Where, meter: Meter, *, count: int, seconds: float) -> None:
    """Milliseconds of the server's processor time in an hour, for each session that does nothing.

    Over two minutes each session renews its keys once, and asks eight times whether the other side is there.
    """
    async with _open(where, count) as clients:
        before = meter.spent_by_server()
        await anyio.sleep(seconds)
        if before is None:
            raise Missing("measuring processor time needs Linux")
        alive = sum(not client.closed for client in clients)
        if alive < count:
            raise RuntimeError(f"only {alive} of {count} sessions have lived on")
        spent = (meter.spent_by_server() or 0.0) - before
    meter.found(spent / count / seconds * 3_600 * 1e3)


async def succession(where: Where, meter: Meter, *, count: int) -> None:
    """What the two servers use for each link that goes over from the one to the next; and how long all took."""
    options: dict[str, Any] = {
        "identity": chanlink.Identity.load(where["identity"]),
        "peer": chanlink.PublicKey.parse(where["successor"]),
        "limits": ours.MANY,
    }
    address = f"tcp://{where['host']}:{where['successions']}"
    went_over: list[float] = []

    async def keep(*, task_status: TaskStatus[None]) -> None:
        async with chanlink.reconnecting(address, **options) as link:
            first = await link.session()
            task_status.started()
            async for state in first.states():
                if state != "open":
                    break
            with anyio.fail_after(PATIENCE):
                await link.session()
            went_over.append(time.perf_counter())

    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        last = await stack.enter_async_context(chanlink.connect(address, **options))
        for begun in range(0, count, AT_ONCE):
            async with anyio.create_task_group() as starting:
                for _ in range(min(AT_ONCE, count - begun)):
                    starting.start_soon(partial(tasks.start, keep))
        began = time.perf_counter()
        with meter.over(count):
            async with await last.open("succeed") as requests:
                await requests.send(None)
            while len(went_over) < count:
                await anyio.sleep(0.01)
    assert meter.server_cpu is not None
    meter.found(meter.server_cpu / count * 1e6, seconds=max(went_over) - began)


WORKS = {
    "connections": by_server(connections),
    "channels": by_server(channels),
    "nested": by_server(ours.nested),
    "calls": by_server(ours_calls.call),
    "calls_of_many": by_server(calls_of_many),
    "messages": by_server(ours.one_way),
    "messages_of_many": by_server(messages_of_many),
    "broadcast": by_server(ours_broadcast.many),
    "bytes_in": by_server(bytes_in, MEGABYTE),
    "bytes_out": by_server(bytes_out, MEGABYTE),
    "memory": memory,
    "memory_of_channels": ours_crowded.channels,
    "idle": idle,
    "succession": succession,
}
