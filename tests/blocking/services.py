"""The services of the tests' server, and async functions that threads have done in their event loop."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio

import chanlink
from chanlink import ByteStream, Peer, Receiver
from tests.echo import echo


async def upper(stream: ByteStream, peer: Peer) -> None:
    """Bytes come back in capitals."""
    async for data in stream:
        await stream.send(data.upper())
    await stream.send_eof()


async def numbers(requests: Receiver[Any], peer: Peer) -> None:
    """Each request gets as many numbers as it says."""
    async for request in requests:
        async with request["to"] as sender:
            for number in range(request["count"]):
                await sender.send(number)


SERVICES = {"echo": echo, "upper": chanlink.streams(upper), "numbers": numbers}


async def add(one: int, other: int) -> int:
    await anyio.sleep(0)
    return one + other


async def fail() -> None:
    raise LookupError("so it is")


async def count(to: int, said: list[str]) -> AsyncGenerator[int, None]:
    """Numbers; says how far it went, and that it was closed. It holds a task group open meanwhile."""
    try:
        async with anyio.create_task_group():
            for number in range(to):
                said.append(f"{number}")
                yield number
    finally:
        said.append("closed")
