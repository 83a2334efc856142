"""Floods of a trusted peer at a directory that is served beside other things: what it forges, registers and asks."""

import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import anyio

from chanlink import CallError, Identity, PublicKey, Session, connect
from chanlink.directory.entries import MAX_LIFE, Signed, sign
from chanlink.directory.interface import LOOKING_UP, REGISTERING, looking_up, registering

AT_ONCE = 50
"""Calls in flight."""

Turn = Callable[[int], Awaitable[object]]


async def entry(who: Identity, name: str, services: int = 1) -> Signed:
    services_named = [f"service-{number}" for number in range(services)]
    return await sign(who, name, ["tcp://192.0.2.1:9323"], services_named, time.time_ns(), MAX_LIFE)


async def forge(session: Session, who: Identity) -> Turn:
    """Entries as long as can be, whose last bit is another one: all of the work, and nothing is kept."""
    client = registering().client(session, REGISTERING)
    made = await entry(who, "web1", 250)
    forged = made.sshsig[:-1] + bytes([made.sshsig[-1] ^ 1])
    return lambda number: client.register(made.entry, forged)


async def register(session: Session, who: Identity) -> Turn:
    """Good ones, one after the other, each of which is written to the disk and told to who follows."""
    client = registering().client(session, REGISTERING)

    async def turn(number: int) -> None:
        made = await entry(who, f"web{number % 100}")
        await client.register(made.entry, made.sshsig)

    return turn


async def remove(session: Session, who: Identity) -> Turn:
    """A name that comes and goes."""
    client = registering().client(session, REGISTERING)

    async def turn(number: int) -> None:
        made = await entry(who, f"web{number % AT_ONCE}")
        await client.register(made.entry, made.sshsig)
        await client.remove(f"web{number % AT_ONCE}")

    return turn


async def ask(session: Session, who: Identity) -> Turn:
    """Names that are not there, each only once."""
    client = looking_up().client(session, LOOKING_UP)
    return lambda number: client.lookup(f"nobody-{number}")


async def follow(session: Session, who: Identity) -> Turn:
    """Everything, again and again, from the beginning."""
    client = looking_up().client(session, LOOKING_UP)

    async def turn(number: int) -> None:
        async with aclosing(client.changes()) as changes:
            await anext(changes)

    return turn


AT_A_DIRECTORY = {
    "entries forged": forge,
    "entries registered": register,
    "names removed": remove,
    "unknown names asked for": ask,
    "changes begun": follow,
}


async def flood_directory(folder: Path, address: str, name: str, seconds: float) -> str:
    """Call as fast as it goes; says how many a second came through, or failed."""
    who, key = Identity.load(folder / "bad"), PublicKey.parse((folder / "server.pub").read_text())
    counted: Iterator[int] = itertools.count()
    async with connect(address, identity=who, peer=key) as session:
        turn = await AT_A_DIRECTORY[name](session, who)

        async def again_and_again() -> None:
            while True:
                with suppress(CallError):
                    await turn(next(counted))

        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(AT_ONCE):
                    tasks.start_soon(again_and_again)
    return f"{next(counted) / seconds:.0f}/s"
