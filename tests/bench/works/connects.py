"""Connect, handshake, one request and its reply, close, one after the other, both ends in one process over TCP.

Counted from before the connect to when the client knows that it is closed. Of ours: a session, with a service that
echoes. Of TLS: asyncio's with Ed25519 certificates on both sides, a byte each way. Of CURVE: REQ and REP of pyzmq, a
socket for each, in threads of its own; what remains of a socket after its close is not waited for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

import chanlink
from chanlink import Identity, Trust
from tests.bench.ends import BACKENDS
from tests.bench.harness import Row
from tests.bench.meter import Missing
from tests.bench.results import Goal
from tests.bench.units import figure

from .handshakes import contexts

COUNT = 200


def rows() -> list[Row]:
    peers = {"mutual TLS 1.3": lambda: asyncio.run(_tls()), "CURVE": _curve}
    return [
        Row(
            f"connect-call/{backend}",
            "connect, handshake, one call, close, one after another",
            figure("ms"),
            partial(_run, backend),
            peers,
            (Goal("<=", 1.2, "mutual TLS 1.3"),),
            repeats=5,
        )
        for backend in BACKENDS
    ] + [
        Row(
            f"tls-connect/{backend}",
            "the same in TLS (`nacl_tls`), beside Noise",
            figure("ms"),
            partial(_run, backend, True),
            {"Noise": partial(_run, backend)},
            (Goal("<=", 1.5, "Noise"),),
            repeats=5,
        )
        for backend in BACKENDS
    ]


def _run(backend: str, in_tls: bool = False) -> float:
    name, options = BACKENDS[backend]
    return anyio.run(_ours, in_tls, backend=name, backend_options=options)


async def _echo(requests: Any, peer: object) -> None:
    async with requests:
        async for value, reply in requests:
            async with reply:
                await reply.send(value)


async def _timed(one: Callable[[], Awaitable[None]]) -> float:
    """Milliseconds for each."""
    for _ in range(COUNT // 10):
        await one()
    began = time.perf_counter()
    for _ in range(COUNT):
        await one()
    return (time.perf_counter() - began) / COUNT * 1_000


async def _ours(in_tls: bool) -> float:
    server, client = Identity.generate(), Identity.generate()
    security = chanlink.nacl_tls if in_tls else None
    options = {"identity": server, "trust": Trust.of(client.public_key), "services": {"echo": _echo}}
    async with chanlink.listen("tcp://127.0.0.1:0", security=security, **options) as listener:

        async def one() -> None:
            async with chanlink.connect(
                listener.addresses[0], identity=client, peer=server.public_key, security=security
            ) as session:
                sender = await session.open("echo")
                reply, receiver = chanlink.pipe()
                await sender.send((1, reply))
                assert await receiver.receive() == 1

        return await _timed(one)


async def _tls() -> float:
    with TemporaryDirectory() as name:
        server_side, client_side = contexts(Path(name))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side) as server:
        port = server.sockets[0].getsockname()[1]

        async def one() -> None:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_side, server_hostname="localhost"
            )
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()
            await writer.wait_closed()

        return await _timed(one)


def _curve() -> float:
    try:
        import zmq.asyncio
    except ImportError as exc:
        raise Missing("not installed: pip install --group bench") from exc
    return asyncio.run(_curve_in(zmq))


async def _curve_in(zmq: Any) -> float:
    context, (public, secret), ours = zmq.asyncio.Context(), zmq.curve_keypair(), zmq.curve_keypair()
    server = context.socket(zmq.REP)
    server.curve_server, server.curve_secretkey, server.linger = True, secret, 0
    port = server.bind_to_random_port("tcp://127.0.0.1")

    async def serve() -> None:
        while True:
            await server.send(await server.recv())

    async def one() -> None:
        with context.socket(zmq.REQ) as client:
            (client.curve_publickey, client.curve_secretkey), client.curve_serverkey, client.linger = ours, public, 0
            client.connect(f"tcp://127.0.0.1:{port}")
            await client.send(b"x")
            assert await client.recv() == b"x"

    serving = asyncio.create_task(serve())
    try:
        return await _timed(one)
    finally:
        serving.cancel()
        server.close()
        context.term()
