"""The first answer of a server that is 130 ms away: connect, ask, and have it, in round trips after TCP's own.

Both ends are in one process, and the way between them in a proxy that delays what passes. The client's connection to
the proxy is there at once, so that nothing of TCP's own is in the figure. Everybody proves a key: ours and asyncssh
both sides, TLS by certificates of both. The figure is the time by 130 ms: what the processor does is a hundredth of it.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import chanlink
from chanlink import Identity, KnownPrekeys, Trust
from tests.bench.harness import Row
from tests.bench.meter import Missing
from tests.bench.peers.link import Way
from tests.bench.results import Goal
from tests.bench.units import figure

from .handshakes import contexts

ROUND_TRIP, RATE = 0.130, 1e9
TIMES = 5


def rows() -> list[Row]:
    return [
        Row(
            "first-answer",
            "connect, ask and have the answer at 130 ms round trip, early=True",
            figure("round trips after TCP's"),
            lambda: asyncio.run(_ours(early=True)),
            {
                "without early": lambda: asyncio.run(_ours(early=False)),
                "mutual TLS 1.3": lambda: asyncio.run(_tls()),
                "asyncssh": lambda: asyncio.run(_ssh()),
            },
            (Goal("<=", 1.2),),
            repeats=3,
        )
    ]


@asynccontextmanager
async def _far_away(port: int) -> AsyncIterator[int]:
    """The port of a proxy: what is behind this port is 130 ms away."""
    running: set[asyncio.Task[object]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, there_writer), (there_reader, writer)):
            running.add(asyncio.create_task(Way(*pair, ROUND_TRIP / 2, RATE).run()))

    proxy = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()
        for way in running:
            way.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _measured(ask: Callable[[], Awaitable[float]]) -> float:
    """The median, in round trips. The first time is for what has to be learned."""
    await ask()
    return statistics.median([await ask() for _ in range(TIMES)]) / ROUND_TRIP


async def _answer(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for reply in requests:
        await reply.send("x")
        reply.close()


async def _ours(*, early: bool) -> float:
    server, me, known = Identity.generate(), Identity.generate(), KnownPrekeys()
    services: chanlink.Services = {"answer": chanlink.service(_answer, early=True)}
    options: dict[str, Any] = {"early": True, "known_prekeys": known} if early else {}
    async with (
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=server, trust=Trust.of(me.public_key), services=services
        ) as listener,
        _far_away(int(listener.addresses[0].rpartition(":")[2])) as port,
    ):

        async def ask() -> float:
            began = time.perf_counter()
            async with chanlink.connect(
                f"tcp://127.0.0.1:{port}", identity=me, peer=server.public_key, **options
            ) as session:
                requests = await session.open("answer")
                reply, answers = chanlink.pipe()
                await requests.send(reply)
                assert await answers.receive() == "x"
                took = time.perf_counter() - began
                session.abort()
            return took

        return await _measured(ask)


async def _tls() -> float:
    with TemporaryDirectory() as name:
        ours, theirs = contexts(Path(name))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ours)
    async with _far_away(server.sockets[0].getsockname()[1]) as port:

        async def ask() -> float:
            began = time.perf_counter()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=theirs, server_hostname="localhost")
            writer.write(b"x")
            await reader.readexactly(1)
            took = time.perf_counter() - began
            writer.transport.abort()
            return took

        try:
            return await _measured(ask)
        finally:
            server.close()


async def _ssh() -> float:
    try:
        import asyncssh
    except ImportError as exc:
        raise Missing("not installed: pip install --group bench") from exc
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    allowed = asyncssh.import_authorized_keys(client.export_public_key().decode())

    def answer(process: Any) -> None:
        process.stdout.write("x")
        process.exit(0)

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host],
        authorized_client_keys=allowed,
        kex_algs=["curve25519-sha256"],
        process_factory=answer,
    )
    known = ([host.convert_to_public()], [], [])
    options: Any = {"username": "me", "client_keys": [client], "known_hosts": known, "config": None, "agent_path": None}
    async with _far_away(server.get_port()) as port:

        async def ask() -> float:
            began = time.perf_counter()
            connection = await asyncssh.connect("127.0.0.1", port, **options)
            process = await connection.create_process("x")
            assert await process.stdout.read(1) == "x"
            took = time.perf_counter() - began
            connection.abort()
            return took

        try:
            return await _measured(ask)
        finally:
            server.close()
