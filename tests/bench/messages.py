"""Messages, round trips, nested channels, byte streams and handshakes over a session, beside bare TCP with anyio."""

import time
from functools import partial

import anyio
import msgpack
from anyio.abc import SocketStream

import chanlink

from .harness import BACKENDS, Bench, Goal, Row, Server, run
from .server import LENGTH, MANY, PIECE

ONE_WAY = 60_000
ROUND_TRIPS = 2_000
NESTED = 1_000
CONNECTIONS = 200
STREAMED = 512 * 1024 * 1024
JOINED = 600
"""Messages that the peer who joins them puts in one write: about 64 KiB."""
FIRST = 100_000  # so that each number has as many bytes as the others
TEXT = "y" * 85
TINY = b"z" * 100


def message(n: int) -> dict[str, object]:
    """A map of 100 bytes."""
    return {"n": FIRST + n, "text": TEXT}


def connect(bench: Bench, backend: str):  # type: ignore[no-untyped-def]
    server = bench.server(backend)
    return chanlink.connect(server.address, identity=bench.identity, peer=server.key, limits=MANY)


async def raw_connect(server: Server, work: bytes) -> SocketStream:
    stream = await anyio.connect_tcp("127.0.0.1", server.raw_port)
    await stream.send(work)
    return stream


# --- one way ------------------------------------------------------------------------------------


async def one_way(bench: Bench, backend: str, service: str) -> float:
    async with connect(bench, backend) as session:
        sender = await session.open(service)
        began = time.perf_counter()
        for n in range(ONE_WAY):
            await sender.send(message(n))
        sender.close()
        await sender.flush()
        return ONE_WAY / (time.perf_counter() - began)


async def raw_one_way(bench: Bench, backend: str, joined: int) -> float:
    async with await raw_connect(bench.server(backend), b"n" if joined == 1 else b"j") as stream:
        began = time.perf_counter()
        for first in range(0, ONE_WAY, joined):
            bodies = [msgpack.packb(message(n)) for n in range(first, first + joined)]
            await stream.send(b"".join([LENGTH.pack(len(body)) + body for body in bodies]))
        await stream.send_eof()
        await stream.receive()
        return ONE_WAY / (time.perf_counter() - began)


# --- there and back -----------------------------------------------------------------------------


async def round_trip(bench: Bench, backend: str) -> float:
    async with connect(bench, backend) as session:
        sender = await session.open("echo")
        answers_to, answers = chanlink.pipe()
        await sender.send({"reply": answers_to})
        await sender.send(message(0))
        await answers.receive()
        began = time.perf_counter()
        for n in range(ROUND_TRIPS):
            await sender.send(message(n))
            await answers.receive()
        return (time.perf_counter() - began) / ROUND_TRIPS * 1e6


async def raw_round_trip(bench: Bench, backend: str) -> float:
    async with await raw_connect(bench.server(backend), b"e") as stream:
        await stream.send(TINY)
        await stream.receive()
        began = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            await stream.send(TINY)
            await stream.receive()
        return (time.perf_counter() - began) / ROUND_TRIPS * 1e6


async def nested(bench: Bench, backend: str) -> float:
    async with connect(bench, backend) as session:
        sender = await session.open("answer")
        began = time.perf_counter()
        for n in range(NESTED):
            answer_to, answers = chanlink.pipe()
            await sender.send({"n": n, "reply": answer_to})
            await answers.receive()
        return (time.perf_counter() - began) / NESTED * 1e3


# --- byte streams, connections ------------------------------------------------------------------


async def byte_stream(bench: Bench, backend: str) -> float:
    async with connect(bench, backend) as session:
        return await _stream(await session.open_stream("discard"))


async def raw_byte_stream(bench: Bench, backend: str) -> float:
    async with await raw_connect(bench.server(backend), b"d") as stream:
        return await _stream(stream)


async def _stream(stream: anyio.abc.ByteStream) -> float:
    piece = bytes(PIECE)
    began = time.perf_counter()
    for _ in range(STREAMED // PIECE):
        await stream.send(piece)
    await stream.send_eof()
    await stream.receive()
    return STREAMED / (time.perf_counter() - began) / 1e6


async def handshakes(bench: Bench, backend: str) -> float:
    began = time.perf_counter()
    for _ in range(CONNECTIONS):
        async with connect(bench, backend):
            pass
    return CONNECTIONS / (time.perf_counter() - began)


async def raw_connections(bench: Bench, backend: str) -> float:
    began = time.perf_counter()
    for _ in range(CONNECTIONS):
        async with await raw_connect(bench.server(backend), b"e") as stream:
            await stream.send(b".")
            await stream.receive()
    return CONNECTIONS / (time.perf_counter() - began)


def rows(bench: Bench) -> list[Row]:
    return [row for backend in BACKENDS for row in _rows(bench, backend)]


def _rows(bench: Bench, backend: str) -> list[Row]:
    def on(function, *args):  # type: ignore[no-untyped-def]
        return partial(run, backend, function, bench, backend, *args)

    raw_messages = {"TCP, joined": on(raw_one_way, JOINED), "TCP, one by one": on(raw_one_way, 1)}
    fast, per_second = Goal("ours", ">=", 150_000), "messages/s"
    return [
        Row(
            f"messages/{backend}",
            "100-byte maps one way, async for",
            per_second,
            on(one_way, "count"),
            raw_messages,
            fast,
        ),
        Row(f"messages-many/{backend}", "the same, receive_many", per_second, on(one_way, "count-many"), {}, fast),
        Row(
            f"roundtrip/{backend}",
            "100 bytes there and back",
            "us",
            on(round_trip),
            {"TCP": on(raw_round_trip)},
            Goal("ratio", "<=", 2.5),
        ),
        Row(
            f"nested/{backend}",
            "message with a reply channel, and the reply",
            "ms",
            on(nested),
            {},
            Goal("ours", "<=", 0.8),
        ),
        Row(
            f"bytes/{backend}",
            "byte stream one way, pieces of 64 KiB",
            "MB/s",
            on(byte_stream),
            {"TCP": on(raw_byte_stream)},
        ),
        Row(
            f"connect/{backend}",
            "connect, handshake, close, one after another",
            "a second",
            on(handshakes),
            {"TCP": on(raw_connections)},
            repeats=3,
        ),
    ]
