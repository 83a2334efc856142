"""Sessions that a daemon hands over, beside others: what they carry, and what they cost to begin.

All is in one process and one event loop: the daemon, the server that it connects to, and the client. So what the daemon
does counts in full; on a machine of its own kind it has another core.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

import chanlink
from tests.bench.ends import BACKENDS
from tests.bench.harness import Row
from tests.bench.results import Goal
from tests.bench.units import MEGABYTES, figure

COUNT = 200
MIB = 1024 * 1024
STREAMED = 256 * MIB
DIRECT = "without a daemon"

Connects = Callable[[], AbstractAsyncContextManager[chanlink.Session]]


def rows() -> list[Row]:
    return [row for backend in BACKENDS for row in _rows(backend)]


def _rows(backend: str) -> list[Row]:
    return [
        Row(
            f"handed-bytes/{backend}",
            "byte stream over a session that was handed over",
            MEGABYTES,
            partial(_run, backend, _streamed, True),
            {DIRECT: partial(_run, backend, _streamed, False)},
            (Goal(">=", 0.95, DIRECT),),
        ),
        Row(
            f"handed-connect/{backend}",
            "connect by a daemon, handshake, close, one after another",
            figure("ms"),
            partial(_run, backend, _connected, True),
            {DIRECT: partial(_run, backend, _connected, False)},
            (Goal("<=", 1.5, DIRECT),),
            repeats=5,
        ),
    ]


def _run(backend: str, work: Callable[[Connects], Awaitable[float]], by_daemon: bool) -> float:
    name, options = BACKENDS[backend]

    async def run() -> float:
        with TemporaryDirectory() as folder:
            async with _world(Path(folder), by_daemon) as connects:
                return await work(connects)

    return anyio.run(run, backend=name, backend_options=options)


@asynccontextmanager
async def _world(folder: Path, by_daemon: bool) -> AsyncIterator[Connects]:
    """A server with a service that only reads, and the way to it."""
    from tests.daemon.places import Host  # Linux alone has what a daemon needs

    server, host = chanlink.Identity.generate(), Host(folder)
    user = chanlink.Identity.generate()
    options = {"identity": server, "trust": chanlink.Trust.of(host.user_key, user.public_key)}
    services = {"ping": chanlink.streams(_read)}
    async with chanlink.listen("tcp://127.0.0.1:0", services=services, **options) as listener, host.running():
        host.know(web1=(listener.addresses[0], server.public_key))
        if by_daemon:
            yield partial(chanlink.connect, chanlink.Local("web1", service="ping", folder=host.run))
        else:
            yield partial(chanlink.connect, listener.addresses[0], identity=user, peer=server.public_key)


async def _read(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    size = 0
    async for chunk in stream:
        size += len(chunk)
    await stream.send(b"%d" % size)


async def _streamed(connects: Connects) -> float:
    """Bytes a second."""
    chunk = bytes(MIB)
    async with connects() as session, await session.open_stream("ping") as stream:
        began = time.perf_counter()
        for _ in range(STREAMED // MIB):
            await stream.send(chunk)
        await stream.send_eof()
        assert int(await stream.receive()) == STREAMED
        return STREAMED / (time.perf_counter() - began)


async def _connected(connects: Connects) -> float:
    """Milliseconds for each."""
    for number in range(COUNT + COUNT // 10):
        if number == COUNT // 10:
            began = time.perf_counter()
        async with connects():
            pass
    return (time.perf_counter() - began) / COUNT * 1_000
