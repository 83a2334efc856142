"""Remote commands through anyio's TCP without encryption: ``python -m tests.bench.peers.plain_pump PORT COMMAND...``.

What rexec would be if nothing were protected, multiplexed or promised. The request is a line of JSON, then the
connection is the command's standard input, and its outputs, together, go back.
"""

import fcntl
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from .commands import WORKS

__all__ = ["WORKS", "serve"]

PIECE = 65_536
PIPE_SIZE = 1024 * 1024
"""So much fits into a pipe while the event loop is elsewhere."""


def prepare(file: int) -> int:
    os.set_blocking(file, False)
    with suppress(OSError, AttributeError):
        fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return file


async def from_file(file: int, stream: ByteStream) -> None:
    while True:
        try:
            data = os.read(file, PIECE)
        except BlockingIOError:
            await anyio.wait_readable(file)
            continue
        if not data:
            return
        await stream.send(data)


async def to_file(stream: Any, file: int) -> None:
    async for data in stream:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(file, rest) :]
            except BlockingIOError:
                await anyio.wait_writable(file)


async def handle(stream: ByteStream) -> None:
    async with stream:
        buffered = BufferedByteReceiveStream(stream)
        command = json.loads(await buffered.receive_until(b"\n", 10_000))
        process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, bufsize=0)
        assert process.stdin is not None
        assert process.stdout is not None

        async def feed() -> None:
            assert process.stdin is not None
            await to_file(buffered, prepare(process.stdin.fileno()))
            process.stdin.close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed)
            await from_file(prepare(process.stdout.fileno()), stream)
            await stream.send_eof()
        process.wait()


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[dict[str, Any]]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        port = listener.extra(SocketAttribute.local_port)
        yield {"command": [sys.executable, "-m", "tests.bench.peers.plain_pump", str(port)]}
        tasks.cancel_scope.cancel()


async def run(port: int, command: list[str]) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream, anyio.create_task_group() as tasks:
        await stream.send(json.dumps(command).encode() + b"\n")

        async def feed() -> None:
            await from_file(prepare(0), stream)
            await stream.send_eof()

        tasks.start_soon(feed)
        await to_file(stream, prepare(1))


if __name__ == "__main__":
    anyio.run(run, int(sys.argv[1]), sys.argv[2:])
