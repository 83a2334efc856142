"""``python -m tests.bench.returns [away] [herd]``: sessions that are away, and many that come back at once.

The server is a process of its own; so is a stranger that connects anew all the while. ``away``: by how much the server
grows when so many sessions are away, each with so much that is not acknowledged. ``herd``: how long it takes until all
of those whose connections broke in the same moment are back, and what a stranger waits meanwhile. The server has its
garbage collected as docs/explanation/capacity.md advises; ``--default-gc`` leaves that to Python. Linux only.
"""

import argparse
import gc
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.to_thread

import chanlink
from chanlink import Identity, Limits, PublicKey, SessionError, Trust
from chanlink.security.handshake import handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.resuming.agreement import Agreement
from chanlink.security.resuming.returning import TryFailed, return_as_client
from chanlink.security.statics import Statics
from chanlink.session.coming_back import pauses
from chanlink.transport.address import parse_address
from chanlink.transport.base import close_at_once
from chanlink.transport.reaching import connect_socket

PAGE = os.sysconf("SC_PAGE_SIZE")
SELDOM = (100_000, 50, 100)
"""When a server of thousands of sessions looks for garbage: while it looks through all it has, nothing else is done."""
UNACKNOWLEDGED = 64 * 1024
"""Bytes that each session that is away has not been told to have arrived."""
FAILED: Counter[str] = Counter()
"""Why tries have failed."""
LIMITS = Limits(stream_window=UNACKNOWLEDGED)
"""Of the clients, which take it all at once."""


# --- the server, and a stranger -----------------------------------------------------------------------------


async def run_server(folder: Path, sessions: int, threshold: tuple[int, int, int]) -> None:
    """Each session pours into its client as many bytes as it has a window for; then its size is printed on request."""
    gc.set_threshold(*threshold)
    limits = Limits(
        sessions=2 * sessions, sessions_per_key=2 * sessions, away=sessions, away_per_key=sessions, resume=600
    )
    me, trust = Identity.load(folder / "server"), Trust.anyone(["sink"])

    async def live(session: chanlink.Session) -> None:
        stream = await session.open_stream("sink")
        await stream.send(bytes(UNACKNOWLEDGED))
        await session.wait_closed()

    async with chanlink.listen("tcp://127.0.0.1:0", identity=me, trust=trust, limits=limits) as listener:
        print(listener.addresses[0], flush=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, live)
            while await anyio.to_thread.run_sync(sys.stdin.readline):
                states = [session.state for session in listener.sessions]
                print(size(), states.count("open"), states.count("away"), time.process_time(), flush=True)
            tasks.cancel_scope.cancel()


async def run_stranger(folder: Path, address: str) -> None:
    """Connect anew until stdin is closed; then print how long each took."""
    me, key = Identity.generate(), PublicKey.parse((folder / "server.pub").read_text())
    took: list[float] = []

    async def again_and_again() -> None:
        while True:
            began = time.perf_counter()
            try:
                async with chanlink.connect(address, identity=me, peer=key) as session:
                    took.append(time.perf_counter() - began)
                    session.abort()
                if len(took) == 1:
                    print("ready", flush=True)
            except SessionError:
                took.append(10.0)
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again_and_again)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        tasks.cancel_scope.cancel()
    print(*took)


def size() -> int:
    """Of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Other:
    """A process of this file."""

    def __init__(self, *args: object) -> None:
        command = [sys.executable, "-m", "tests.bench.returns", *map(str, args)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()

    def ask(self) -> list[str]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@asynccontextmanager
async def server(
    folder: Path, sessions: int, threshold: tuple[int, int, int] = SELDOM
) -> AsyncIterator[tuple[Other, str]]:
    identity = Identity.generate("server")
    identity.save(folder / "server")
    other = Other("server", folder, sessions, *threshold)
    try:
        yield other, other.hear()[0]
    finally:
        other.end()


# --- clients that do as little as possible ----------------------------------------------------------------


class Client:
    """One that has a session, and comes back to it."""

    def __init__(self, address: str, statics: Statics) -> None:
        self.place = parse_address(address)
        self.statics = statics
        self.agreement: Agreement
        self.stream: Any = None
        self.attempts = 0
        self.count = 0

    async def begin(self) -> None:
        transport = await connect_socket(self.place)
        found = await handshake_as_client(transport, self.statics, anybody, LIMITS, resume=600)
        assert found.agreement is not None
        self.agreement, self.stream = found.agreement, found.stream

    async def cut(self) -> None:
        await close_at_once(self.stream)

    async def come_back(self) -> None:
        """As a client of chanlink does."""
        for pause in pauses():
            await anyio.sleep(pause)
            with anyio.move_on_after(10):
                try:
                    transport = await connect_socket(self.place)
                except SessionError as exc:
                    FAILED[str(exc)] += 1
                    continue
                self.attempts += 1
                try:
                    found = await return_as_client(
                        transport, self.statics, anybody, Limits(), self.agreement, self.attempts, lambda: self.count
                    )
                except TryFailed as exc:
                    await close_at_once(transport)
                    FAILED[str(exc)] += 1
                    continue
                self.stream = found.connection
                return


def anybody(presented: Presented) -> Grant:
    return Grant("", None)


async def begin(clients: list[Client], at_once: int = 50) -> None:
    waiting = list(clients)

    async def work() -> None:
        while waiting:
            await waiting.pop().begin()

    async with anyio.create_task_group() as tasks:
        for _ in range(at_once):
            tasks.start_soon(work)


async def cut(clients: list[Client]) -> None:
    for client in clients:
        await client.cut()


async def until_away(other: Other, number: int) -> list[str]:
    while True:
        said = other.ask()
        if int(said[2]) >= number:
            return said
        await anyio.sleep(0.1)


async def away(number: int) -> None:
    with TemporaryDirectory() as name:
        async with server(Path(name), number) as (other, address):
            statics = Statics(Identity.generate(), Role.CLIENT)
            warm = [Client(address, statics) for _ in range(20)]
            await begin(warm)
            before = int(other.ask()[0])
            clients = [Client(address, statics) for _ in range(number - 20)]
            await begin(clients)
            await anyio.sleep(1)
            at_work = int(other.ask()[0])
            await cut(warm + clients)
            after = int((await until_away(other, number))[0])
    there, gone = (at_work - before) / 1e6, (after - before) / 1e6
    print(f"{number} sessions: the server grows by {there:.1f} MB while they are there, and {gone:.1f} MB when away")


async def herd(number: int, threshold: tuple[int, int, int]) -> None:
    with TemporaryDirectory() as name:
        async with server(Path(name), number, threshold) as (other, address):
            statics = Statics(Identity.generate(), Role.CLIENT)
            clients = [Client(address, statics) for _ in range(number)]
            await begin(clients)
            await cut(clients)
            busy = float((await until_away(other, number))[3])
            stranger = Other("stranger", name, address)
            stranger.hear()
            took: list[float] = []
            began = time.perf_counter()

            async def come_back(client: Client) -> None:
                await anyio.sleep(clients.index(client) / number)  # in the course of one second
                await client.come_back()
                took.append(time.perf_counter() - began)

            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(come_back, client)
            waited = sorted(float(one) for one in stranger.ask())
            stranger.end()
            said = other.ask()
            tries = sum(client.attempts for client in clients) / number
            used = float(said[3]) - busy
            for why, times in FAILED.most_common(5):
                print(f"{times} tries have failed: {why}")
            percentile = statistics.quantiles(waited, n=100)[98]
            print(
                f"{number} come back within a second: all after {max(took):.1f} s, half after"
                f" {statistics.median(took):.1f} s, {tries:.2f} tries each, {used:.1f} s of the server's"
                f" processor; {len(waited)} strangers waited {percentile * 1e3:.0f} ms at the 99th percentile"
            )


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1:2] == ["server"]:
        sessions, young, middle, old = map(int, sys.argv[3:])
        anyio.run(run_server, Path(sys.argv[2]), sessions, (young, middle, old))
        return
    if sys.argv[1:2] == ["stranger"]:
        anyio.run(run_stranger, Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["away", "herd", []], help="both if none is named")
    parser.add_argument("--sessions", type=int, help="1,000 that are away, 10,000 that come back")
    parser.add_argument("--default-gc", action="store_true", help="leave it to Python when to look for garbage")
    args = parser.parse_args()
    if not args.what or "away" in args.what:
        anyio.run(away, args.sessions or 1_000)
    if not args.what or "herd" in args.what:
        anyio.run(herd, args.sessions or 10_000, gc.get_threshold() if args.default_gc else SELDOM)


if __name__ == "__main__":
    main()
