"""The two sides of ``chanlink bench``: a service that takes, gives and echoes, and what measures it.

Each run is a message to the service, with the ends that it needs. What is counted is what the other side's application
has taken, and time runs until it has said so: queues and buffers on the way don't count as sent.
"""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

import chanlink
from chanlink import Peer, Receiver, Sender, Session

SERVICE = "chanlink.bench"
PIECE = 64 * 1024
LONGEST = 3_600.0
"""Seconds of one run, for the service."""

logger = logging.getLogger("chanlink.bench")
logger.addFilter(chanlink.PrintableLog())


# --- the service --------------------------------------------------------------------------------


async def serve(requests: Receiver[Any], peer: Peer) -> None:
    """``take`` bytes or messages, ``give`` bytes, ``echo`` messages; each request in a task of its own."""
    async with anyio.create_task_group() as tasks:
        async for request in requests:
            match request:
                case {"take": chanlink.ByteStream() as stream}:
                    tasks.start_soon(_guard, _take_bytes, stream)
                case {"give": chanlink.ByteStream() as stream}:
                    tasks.start_soon(_guard, _give_bytes, stream)
                case {"take": Receiver() as receiver, "reply": Sender() as reply}:
                    tasks.start_soon(_guard, _take_messages, receiver, reply)
                case {"echo": Receiver() as receiver, "reply": Sender() as reply}:
                    tasks.start_soon(_guard, _echo, receiver, reply)
                case _:
                    requests.refuse("bad-request", "none that this version knows")
                    break


async def _guard(function: Any, *ends: Any) -> None:
    """What becomes of one run is told at its ends, and touches no other one."""
    try:
        with anyio.move_on_after(LONGEST):
            await function(*ends)
    except chanlink.ChannelError:
        pass  # the client has gone, or wants no more
    finally:
        for end in ends:
            with anyio.CancelScope(shield=True):
                await end.aclose()


async def _take_bytes(stream: chanlink.ByteStream) -> None:
    count = 0
    async for data in stream:
        count += len(data)
    await stream.send(b"%d" % count)
    await stream.send_eof()


async def _give_bytes(stream: chanlink.ByteStream) -> None:
    piece = bytes(PIECE)
    while True:
        await stream.send(piece)


async def _take_messages(receiver: Receiver[Any], reply: Sender[Any]) -> None:
    count = 0
    async for _ in receiver:
        count += 1
    await reply.send(count)


async def _echo(receiver: Receiver[Any], reply: Sender[Any]) -> None:
    async for message in receiver:
        await reply.send(message)


# --- the client ---------------------------------------------------------------------------------


class Client:
    """Measures over a session."""

    def __init__(self, requests: Sender[Any], session: Session, seconds: float) -> None:
        self._requests = requests
        self._session = session
        self._seconds = seconds

    async def pings(self) -> float:
        """Seconds of the shortest of some round trips of the session itself."""
        return min([await self._session.ping() for _ in range(10)])

    async def round_trips(self, size: int) -> float:
        """Seconds from a message to its echo, in the middle of all."""
        there, receiver = chanlink.pipe()
        reply, back = chanlink.pipe()
        await self._requests.send({"echo": receiver, "reply": reply})
        message, took = bytes(size), []
        async with there, back:
            end = time.monotonic() + self._seconds
            while (began := time.monotonic()) < end:
                await there.send(message)
                await back.receive()
                took.append(time.monotonic() - began)
        return sorted(took)[len(took) // 2]

    async def messages(self, size: int) -> float:
        """Messages a second, one way."""
        sender, receiver = chanlink.pipe()
        reply, counted = chanlink.pipe()
        await self._requests.send({"take": receiver, "reply": reply})
        message = bytes(size)
        async with sender, counted:
            began = time.monotonic()
            while time.monotonic() < began + self._seconds:
                await sender.send(message)
            await sender.aclose()
            count = await counted.receive()
            return _number(count) / (time.monotonic() - began)

    async def bytes_there(self) -> float:
        """Bytes a second, to the server."""
        async with self._stream("take") as stream:
            piece, began = bytes(PIECE), time.monotonic()
            while time.monotonic() < began + self._seconds:
                await stream.send(piece)
            await stream.send_eof()
            count = await stream.receive(32)
            return _number(int(count) if count.isdigit() else None) / (time.monotonic() - began)

    async def bytes_back(self) -> float:
        """Bytes a second, from the server."""
        async with self._stream("give") as stream:
            count, began = 0, time.monotonic()
            while time.monotonic() < began + self._seconds:
                count += len(await stream.receive(4 * PIECE))
            return count / (time.monotonic() - began)

    @asynccontextmanager
    async def _stream(self, what: str) -> AsyncGenerator[chanlink.ByteStream, None]:
        here, there = chanlink.byte_pipe()
        await self._requests.send({what: there})
        async with here:
            yield here


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise chanlink.ChannelFailed("bad-answer", "the server did not count")
    return value
