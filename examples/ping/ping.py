"""Ping, both ways: the two sides of one session call each other, and each sees how long an answer takes."""

import argparse
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from signal import SIGINT, SIGTERM
from typing import Protocol

import anyio
import chanlink

MOST = 100
"""Pings that one side does for the other: what comes from there is bounded here."""


class Pinger(Protocol):
    async def ping(self) -> None: ...
    def ping_me(self, count: int) -> AsyncGenerator[float, None]: ...  # milliseconds, each as soon as it is known


PINGER = chanlink.Interface(Pinger)


class Here:
    """What either side serves."""

    async def ping(self) -> None:
        pass

    async def ping_me(self, count: int) -> AsyncGenerator[float, None]:
        caller = PINGER.client(chanlink.current_session(), "pinger")
        for _ in range(min(count, MOST)):
            yield await milliseconds(caller)


SERVICES = {"pinger": PINGER.serving(Here())}


async def milliseconds(pinger: Pinger) -> float:
    begin = time.perf_counter()
    await pinger.ping()
    return 1_000 * (time.perf_counter() - begin)


async def serve(options: argparse.Namespace) -> None:
    await chanlink.serve(
        SERVICES,
        options.address,
        identity=chanlink.Identity.load(options.identity),
        trust=chanlink.Trust.load(options.trust),
        signals=(SIGINT, SIGTERM),
    )


async def call(options: argparse.Namespace) -> None:
    async with chanlink.connect(
        options.address,
        identity=chanlink.Identity.load(options.identity),
        peer=chanlink.PublicKey.load(options.peer),
        services=SERVICES,
        wait=options.wait,
    ) as session:
        there = PINGER.client(session, "pinger")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping, there, options.count, session.peer.name)
            async with aclosing(there.ping_me(options.count)) as times:
                async for time_taken in times:
                    print(f"{session.peer.name} pings us: {time_taken:.2f} ms", flush=True)


async def ping(there: Pinger, count: int, name: str) -> None:
    for _ in range(count):
        print(f"we ping {name}: {await milliseconds(there):.2f} ms", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ping, both ways, over one session.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="answer, and ping whoever asks for it")
    serving.add_argument("--trust", metavar="FILE", required=True, help="the public keys of those who may connect")
    serving.set_defaults(run=serve)
    calling = commands.add_parser("call", help="ping a server, and have it ping us")
    calling.add_argument("--peer", metavar="FILE", required=True, help="the server's public key")
    calling.add_argument("--count", metavar="N", type=int, default=3, help="how often (default: 3)")
    calling.add_argument("--wait", metavar="SECONDS", type=float, default=0, help="for a server that is being started")
    calling.set_defaults(run=call)
    for command in (serving, calling):
        command.add_argument("--identity", metavar="FILE", required=True, help="our private key")
        command.add_argument("address", nargs="?", default="tcp://127.0.0.1:9323", help="tcp://HOST:PORT or unix:/PATH")
    return parser.parse_args()


def main() -> None:
    options, status = parse(), 0
    try:
        anyio.run(options.run, options)
    except* chanlink.ChanlinkError as errors:
        print(f"ping: {errors.exceptions[0]}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
