"""Calls at a rate, while one server process after the other takes over."""

import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process

import chanlink
from chanlink import Identity, PublicKey

from .work import WORK, Work

ROOT = Path(__file__).parents[2]
SHORTEST, LONGEST = 0.01, 0.05
"""Seconds that a call takes."""


UNDER_WAY = 1_000
"""Calls of one client at a time, at most: a machine that can't do so many a second shall not fall behind for ever."""


class Seen:
    """What has become of the calls."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """How long there were calls."""
        self.by_server: Counter[int] = Counter()
        self.lost: list[Exception] = []
        self.longest = 0.0
        """Seconds that a caller has waited at most."""


@asynccontextmanager
async def server(folder: Path, port: int, number: int, backend: str) -> AsyncIterator[Process]:
    """A server process that listens; killed at the end, if it is still there."""
    arguments = [str(folder), str(port), str(number), backend]
    command = [sys.executable, "-m", "tests.rolling.server", *arguments]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
        try:
            assert process.stdout is not None
            assert (await process.stdout.receive()).startswith(b"listening")
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def one_call(work: Work, seen: Seen) -> None:
    began = time.monotonic()
    try:
        number = await work.work(random.uniform(SHORTEST, LONGEST))
    except chanlink.CallError as exc:
        seen.lost.append(exc)
    else:
        seen.by_server[number] += 1
    seen.longest = max(seen.longest, time.monotonic() - began)


async def call(work: Work, rate: float, seen: Seen, enough: anyio.Event) -> None:
    """So many calls a second, as far as the machine can; returns when all have ended."""
    began, begun, ended = anyio.current_time(), 0, 0

    async def one() -> None:
        nonlocal ended
        await one_call(work, seen)
        ended += 1

    async with anyio.create_task_group() as calls:
        while not enough.is_set():
            owed = int((anyio.current_time() - began) * rate) - begun
            for _ in range(min(owed, UNDER_WAY - (begun - ended))):
                calls.start_soon(one)
                begun += 1
            await anyio.sleep(0.005)


async def roll(folder: Path, *, rate: float, servers: int, seconds: float, backend: str, links: int = 1) -> Seen:
    """Each server works for so many seconds. Then the next one begins to listen, and it is asked to stop."""
    for name in ("server", "client"):
        Identity.generate(name).save(folder / name)
    seen, enough = Seen(), anyio.Event()
    with socket.socket() as holder:  # the port is ours, though nobody listens
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(server(folder, port, 1, backend))
            async with anyio.create_task_group() as clients:
                began = time.monotonic()
                for _ in range(links):
                    clients.start_soon(_client, folder, port, rate / links, seen, enough)
                for number in range(2, servers + 1):
                    await anyio.sleep(seconds)
                    new = await stack.enter_async_context(server(folder, port, number, backend))
                    old.send_signal(signal.SIGTERM)
                    assert await old.wait() == 0
                    old = new
                await anyio.sleep(seconds)
                enough.set()
            seen.seconds = time.monotonic() - began
    return seen


async def _client(folder: Path, port: int, rate: float, seen: Seen, enough: anyio.Event) -> None:
    identity, peer = Identity.load(folder / "client"), PublicKey.load(folder / "server.pub")
    async with chanlink.reconnecting(f"tcp://127.0.0.1:{port}", identity=identity, peer=peer) as link:
        await call(link.client(WORK, "work"), rate, seen, enough)
