"""``python -m tests.bench.hostile [name ...]``: floods, and what they cost (docs/explanation/security.md).

The server is a process of its own, on a core of its own. A good client is another one, which connects anew (against
strangers) or calls on an open session (against peers that passed the handshake) all the while. Printed for each: closed
after, processor time of the server, growth of its memory, and the 99th percentile of the good client. Linux only.
"""

import argparse
import itertools
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel

import chanlink
from chanlink import Identity, Limits, PublicKey, SessionError, Trust
from chanlink.directory import SQLiteStore, directory_services
from chanlink.security.handshake import handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.reaching import connect_socket
from chanlink.transport.sockets import SocketTransport
from chanlink.wire.h2 import frames
from tests.security.wires import HELLO, prefixed
from tests.wire.muxes import Transcript

from .hostile_directory import AT_A_DIRECTORY, flood_directory

SECONDS = 4.0
SAME = 0
"""The number of an address that the good client has, too: 127.0.0.2, since 127.0.0.1 is charged for nothing."""
NEIGHBOURS = "1,000 silent, 20 failing, same"
PAGE = os.sysconf("SC_PAGE_SIZE")


# --- the server and the good client -----------------------------------------------------------------------


async def echo(requests: Any, peer: chanlink.Peer) -> None:
    async for request in requests:
        await request["reply"].send(request["n"])


async def pour(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    while True:
        await stream.send(bytes(65_536))


async def run_server(folder: Path) -> None:
    keys = [PublicKey.parse((folder / f"{name}.pub").read_text()) for name in ("good", "bad")]
    me, services = Identity.load(folder / "server"), {"echo": echo, "pour": chanlink.streams(pour)}
    async with directory_services(SQLiteStore(folder / f"{os.getpid()}.db")) as more:
        options: Any = {"identity": me, "trust": Trust.of(*keys), "services": {**services, **more}}
        async with chanlink.listen("tcp://127.0.0.1:0", **options) as listener:
            print(listener.addresses[0], flush=True)
            await anyio.sleep_forever()


async def run_good(folder: Path, address: str, kind: str) -> None:
    """Measure until stdin is closed; then print how long each took."""
    me, key = Identity.load(folder / "good"), PublicKey.parse((folder / "server.pub").read_text())
    took: list[float] = []

    async def call(session: chanlink.Session) -> None:
        async with await session.open("echo") as requests:
            reply, replies = chanlink.pipe()
            await requests.send({"n": 1, "reply": reply})
            await replies.receive()

    async def again_and_again() -> None:
        if kind == "calls":
            async with chanlink.connect(address, identity=me, peer=key) as session:
                while True:
                    began = time.perf_counter()
                    await call(session)
                    took.append(time.perf_counter() - began)
                    await anyio.sleep(0.01)
        while True:
            began = time.perf_counter()
            with suppress(SessionError):
                where = SocketTransport(dial(address, SAME)) if kind == "neighbour" else address
                async with chanlink.connect(where, identity=me, peer=key) as session:
                    await call(session)
                    took.append(time.perf_counter() - began)
                    began = 0.0
            if began:
                took.append(10.0)  # it was not let in
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again_and_again)
        await anyio.to_thread.run_sync(sys.stdin.read)
        tasks.cancel_scope.cancel()
    print(json.dumps(sorted(took)))


# --- floods of a peer that passed the handshake -----------------------------------------------------------


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return frames.FRAME_HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream_id) + payload


def odd() -> Iterator[int]:
    return itertools.count(1, 2)


def opened_and(then: Callable[[Transcript, int], bytes]) -> Callable[[Transcript], Iterator[bytes]]:
    return lambda script: (script.opening(number) + then(script, number) for number in odd())


def hpack_bomb(script: Transcript) -> Iterator[bytes]:
    """One field of 4,000 bytes goes into the table, and is then said thousands of times by one byte each."""
    big = b"\x40\x01x" + b"\x7f" + b"\xa1\x1e" + bytes(4_000)
    yield raw(1, 4, 1, big)
    for number in itertools.count(3, 2):
        yield raw(1, 4, number, b"\xbe" * 16_000)


def stall(script: Transcript) -> Iterator[bytes]:
    """A thousand streams that pour out bytes, and never any credit."""
    openings = (script.opening(number, "bytes", service="pour") for number in range(1, 2_000, 2))
    return itertools.chain([script.window(0, 2**30)], openings)


def greed(script: Transcript) -> Iterator[bytes]:
    """The same with more credit than the connection can carry, and what comes is not read."""
    return itertools.chain(stall(script), (script.window(number, 10**7) for number in range(1, 2_000, 2)))


def drip(script: Transcript) -> Iterator[bytes]:
    """Credit byte by byte: each is answered by a frame with one byte."""
    return itertools.chain([script.opening(1, "bytes", service="pour")], itertools.repeat(script.window(1, 1)))


FLOODS: dict[str, Callable[[Transcript], Iterator[bytes]]] = {
    "rapid reset": opened_and(lambda script, number: script.reset(number)),
    "MadeYouReset": opened_and(lambda script, number: raw(8, 0, number, bytes(4))),
    "CONTINUATION": lambda script: itertools.chain([raw(1, 0, 1, b"")], itertools.repeat(raw(9, 0, 1, b""))),
    "HPACK bomb": hpack_bomb,
    "PING": lambda script: itertools.repeat(raw(6, 0, 0, bytes(8))),
    "SETTINGS": lambda script: itertools.repeat(raw(4, 0, 0)),
    "empty DATA": lambda script: itertools.chain([script.opening(1)], itertools.repeat(raw(0, 0, 1))),
    "WINDOW_UPDATE": lambda script: itertools.repeat(script.window(0, 1)),
    "WINDOW_UPDATE, one byte": drip,
    "window stall": stall,
    "window stall, nothing read": greed,
    "over-long frame": lambda script: itertools.chain(
        [b"\xff\xff\xff\0\0" + bytes(4)], itertools.repeat(bytes(60_000))
    ),
    "even stream ids": lambda script: (script.opening(number) for number in itertools.count(2, 2)),
    "falling stream ids": lambda script: (script.opening(number) for number in itertools.count(2**31 - 1, -2)),
    "unknown frames": lambda script: itertools.repeat(raw(0xEE, 0, 0, bytes(100))),
    "more channels than allowed": opened_and(lambda script, number: b""),
}


async def flood(folder: Path, address: str, name: str) -> str:
    """Send until the server has closed; returns how long that took."""
    make, patience = FLOODS[name], 40 if "nothing read" in name else 10
    transport = await connect_socket(parse_address(address))
    authenticated = await handshake_as_client(
        transport, Statics(Identity.load(folder / "bad"), Role.CLIENT), lambda presented: Grant("", None), Limits()
    )
    stream, script = authenticated.stream, Transcript(greet=False)
    await stream.send(frames.PREFACE + script.settings(Limits()))
    parts = make(script)
    began = time.perf_counter()
    closed = anyio.Event()

    async def send() -> None:
        with suppress(SessionError):
            while some := b"".join(itertools.islice(parts, 200)):
                await stream.send(some)
                await anyio.lowlevel.checkpoint()  # a send that need not wait would never let `receive` look
            while True:  # a word now and then finds out whether somebody still hears it
                await anyio.sleep(0.2)
                await stream.send(raw(6, 0, 0, bytes(8)))
        closed.set()

    async def receive() -> None:
        with suppress(SessionError, anyio.EndOfStream):
            while True:
                await stream.receive()
        closed.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        if "nothing read" not in name:
            tasks.start_soon(receive)
        with anyio.move_on_after(patience):
            await closed.wait()
        took = time.perf_counter() - began
        tasks.cancel_scope.cancel()
    await anyio.aclose_forcefully(stream)
    return f"{took:.2f} s" if closed.is_set() else "no"


# --- floods of strangers ----------------------------------------------------------------------------------


def dial(address: str, number: int) -> socket.socket:
    """From one of 253 addresses; never waits."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((f"127.0.0.{2 + number % 253}", 0))
    parsed = parse_address(address)
    sock.connect_ex((parsed.host, parsed.port))
    return sock


async def silent(address: str) -> None:
    socks = [dial(address, number) for number in range(5_000)]
    await anyio.sleep(SECONDS)
    for sock in socks:
        sock.close()


async def dribbling(address: str) -> None:
    socks = [dial(address, number) for number in range(500)]
    until = time.monotonic() + SECONDS
    for byte in itertools.cycle(b"chanlink\1\0\xff"):
        await anyio.sleep(0.5)
        for sock in socks:
            with suppress(OSError):
                sock.send(bytes([byte]))
        if time.monotonic() > until:
            break
    for sock in socks:
        sock.close()


async def junk(address: str, said: bytes = b"GET / HTTP/1.1\r\n\r\n") -> None:
    """3,000 connections a second that say something, and go."""
    socks: list[socket.socket] = []
    began = time.monotonic()
    for number in itertools.count():
        ahead = number / 3_000 - (time.monotonic() - began)
        if ahead > 0:
            await anyio.sleep(ahead)
        if number / 3_000 > SECONDS:
            break
        socks.append(dial(address, number))
        if len(socks) > 300:
            sock = socks.pop(0)
            with suppress(OSError):
                sock.send(said)
            sock.close()
    for sock in socks:
        sock.close()


async def half(address: str) -> None:
    """A hello and a good first message cost the server two operations on the curve, and the stranger nothing."""
    await junk(address, HELLO + prefixed(generate_keypair().public))


async def replaced(address: str) -> None:
    """As many dribblers as there is room for, and 500 more a second."""
    socks = [dial(address, number) for number in range(1_000)]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        await anyio.sleep(0.1)
        socks += [dial(address, number) for number in range(50)]
        for sock in socks[-1_050:]:
            with suppress(OSError):
                sock.send(b"c")
    for sock in socks:
        sock.close()


async def neighbours(address: str) -> None:
    """From the address of the good client: 1,000 silent ones a second, and 20 that fail; more have failed before."""
    socks: list[socket.socket] = []
    began = time.monotonic()
    for number in itertools.count(-101):
        ahead = number / 1_000 - (time.monotonic() - began)
        if ahead > 0:
            await anyio.sleep(ahead)
        if number / 1_000 > SECONDS:
            break
        socks.append(dial(address, SAME))
        if number < 0 or number % 50 == 0:
            await anyio.wait_writable(socks[-1])
            with suppress(OSError):
                socks[-1].send(HELLO + prefixed(generate_keypair().public))
            socks.pop().close()
        if len(socks) > 2_000:
            socks.pop(0).close()
    for sock in socks:
        sock.close()


STRANGERS = {
    NEIGHBOURS: neighbours,
    "5,000 silent": silent,
    "500 dribbling": dribbling,
    "1,000 dribbling, 500 a second": replaced,
    "3,000 junk a second": junk,
    "3,000 half a second": half,
}


# --- measuring --------------------------------------------------------------------------------------------


def take_cores(*, server: bool) -> None:
    """The server has the first core, if there are two, and all else the others."""
    cores = range(os.cpu_count() or 1)
    with suppress(OSError):  # where we may not choose
        os.sched_setaffinity(0, {0} if server or len(cores) == 1 else set(cores[1:]))


def processor(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.hostile", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def measure(name: str, folder: Path) -> str:
    async with child("--server", str(folder)) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        kind = "neighbour" if name == NEIGHBOURS else "connects" if name in STRANGERS else "calls"
        async with child("--good", str(folder), address, kind) as good:
            await anyio.sleep(1.0)
            cpu, rss = processor(server.pid), memory(server.pid)
            began, closed = time.perf_counter(), "-"
            if name in STRANGERS:
                await STRANGERS[name](address)
            elif name in AT_A_DIRECTORY:
                closed = await flood_directory(folder, address, name, SECONDS)
            else:
                closed = await flood(folder, address, name)
            cpu, took = processor(server.pid) - cpu, time.perf_counter() - began
            await anyio.sleep(1.0)
            rss = memory(server.pid) - rss
            latencies = json.loads((await anyio.to_thread.run_sync(good.communicate, ""))[0])
    worst = latencies[int(len(latencies) * 0.99)] * 1_000 if latencies else float("nan")
    share = f"{cpu * 1_000:7.0f} ms in {took:4.1f} s"
    return f"{name:30} {closed:>8} {share:>18} {rss / 1_024:8.0f} KiB   {worst:7.1f} ms of {len(latencies)} {kind}"


async def main(names: list[str]) -> None:
    print(f"{'flood':30} {'closed':>8} {'server processor':>18} {'memory':>12}   good client, 99th percentile")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for who in ("server", "good", "bad"):
            Identity.generate(who).save(folder / who)
        for flood_name in names or [*STRANGERS, *FLOODS, *AT_A_DIRECTORY]:
            print(await measure(flood_name, folder), flush=True)


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--server", help=argparse.SUPPRESS)
    parser.add_argument("--good", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    take_cores(server=bool(options.server))
    if options.server:
        anyio.run(run_server, Path(options.server))
    elif options.good:
        anyio.run(run_good, Path(options.good[0]), *options.good[1:])
    else:
        anyio.run(main, options.names)
