"""A chat: whoever is in the room sees what everybody says, and is told when it was too slow to see all of it."""

import argparse
import sys
from contextlib import suppress
from signal import SIGINT, SIGTERM

import anyio
import chanlink
from chanlink.patterns import Subscription, broadcast, drop_oldest, subscribe

KEPT = 100
"""Lines that are kept for those who are slow."""
LONGEST = 1_000
"""Characters of a line."""


async def serve(options: argparse.Namespace) -> None:
    """The room: a broadcast, and a service by which one speaks to it."""
    async with broadcast(drop_oldest(KEPT), list[str]) as room:

        async def say(lines: chanlink.Receiver[str], peer: chanlink.Peer) -> None:
            with chanlink.current_session().cancel_when_draining():
                async for line in lines:
                    await room.send([peer.name, line[:LONGEST]])  # the name is that of the key

        services: chanlink.Services = {"room": room, "say": say}
        await chanlink.serve(
            services,
            options.address,
            identity=chanlink.Identity.load(options.identity),
            trust=chanlink.Trust.load(options.trust),
            signals=(SIGINT, SIGTERM),
        )


async def join(options: argparse.Namespace) -> None:
    async with (
        chanlink.connect(
            options.address,
            identity=chanlink.Identity.load(options.identity),
            peer=chanlink.PublicKey.load(options.peer),
            wait=options.wait,
        ) as session,
        await subscribe(session, "room", list[str]) as room,
        await session.open("say", str) as say,
        anyio.create_task_group() as tasks,
    ):
        await say.send("is here")
        tasks.start_soon(speak, say, tasks.cancel_scope)
        await show(room)
        tasks.cancel_scope.cancel()


async def show(room: Subscription[list[str]]) -> None:
    """Print what is said, until the room is closed."""
    while True:
        try:
            name, line = await room.receive()
        except chanlink.Lagged as gap:
            print(f"({gap.count} lines are missing)", flush=True)
        except chanlink.SessionLost as lost:
            if not lost.orderly:
                raise
            print("(the room is closed)", flush=True)
            return
        else:
            print(chanlink.printable(f"{name}: {line}"), flush=True)


async def speak(say: chanlink.Sender[str], enough: anyio.CancelScope) -> None:
    """Say what is typed, a line at a time, until the end of it."""
    with open(0, "rb", buffering=0, closefd=False) as typed:  # which reads no more than it gives
        while True:
            with suppress(PermissionError):  # of a file, which is always ready
                await anyio.wait_readable(typed)  # a thread that waits in `readline` could not be cancelled
            line = typed.readline()
            if not line:
                break
            await say.send(line.decode(errors="replace").rstrip("\n"))
    await say.flush()
    enough.cancel()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A chat room, and those who are in it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="open a room")
    serving.add_argument("--trust", metavar="FILE", required=True, help="the public keys of those who may come in")
    serving.set_defaults(run=serve)
    joining = commands.add_parser("join", help="come in; what is typed is said, until Ctrl-D")
    joining.add_argument("--peer", metavar="FILE", required=True, help="the room's public key")
    joining.add_argument("--wait", metavar="SECONDS", type=float, default=0, help="for a room that is being opened")
    joining.set_defaults(run=join)
    for command in (serving, joining):
        command.add_argument("--identity", metavar="FILE", required=True, help="our private key")
        command.add_argument("address", nargs="?", default="tcp://127.0.0.1:9323", help="tcp://HOST:PORT or unix:/PATH")
    return parser.parse_args()


def main() -> None:
    options, status = parse(), 0
    try:
        anyio.run(options.run, options)
    except* chanlink.ChanlinkError as errors:
        print(f"chat: {errors.exceptions[0]}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
