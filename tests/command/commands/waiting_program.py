"""A program that takes one channel and sends on another: three of these, with a relay between them, can wait for ever.

    python waiting_program.py NAME LOOP

It prints its address, reads lines that say what to do, and prints a line when that is done:

    to NAME ADDRESS      connect to another one
    relay NAME           pass on what is opened here to that one
    open NAME            open a channel to it; the one that is taken is the first that comes
    send | slow          send on it without taking; or take as well, slowly
"""

import sys
from typing import Any

import anyio
from anyio import to_thread

import chanlink
from chanlink import Identity, Peer, PublicKey, Receiver, Sender, Session

TRUST = chanlink.Trust.load("trust")


class Node:
    def __init__(self, inspection: chanlink.Inspection) -> None:
        self.inspection = inspection
        self.sessions: dict[str, Session] = {}
        self.beyond: str | None = None

    async def work(self, receiver: Receiver[Any], peer: Peer) -> None:
        """Give the channel to the main task, or to another program."""
        if self.beyond is None:
            await self.given.send(receiver)
        else:
            async with await self.sessions[self.beyond].open("pass") as carrier:
                await carrier.send(receiver)
                await carrier.flush()

    async def passed(self, carrier: Receiver[Any], peer: Peer) -> None:
        async for receiver in carrier:
            await self.given.send(receiver)

    async def main(self, name: str) -> None:
        services = {self.inspection.SERVICE: self.inspection, "work": self.work, "pass": self.passed}
        self.given, given = chanlink.pipe()
        identity = Identity.load(name)
        async with (
            given,
            chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=TRUST, services=services) as listener,
            anyio.create_task_group() as tasks,
        ):
            self.inspection.watch(listener)
            print(*listener.addresses, flush=True)
            opened: list[Sender[Any]] = []
            while words := (await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)).split():
                match words:
                    case ["to", other, address]:
                        ready = anyio.Event()
                        tasks.start_soon(self.connect, identity, other, address, ready)
                        await ready.wait()
                    case ["relay", other]:
                        self.beyond = other
                    case ["open", other]:
                        opened.append(await self.sessions[other].open("work", capacity=0))
                    case ["send"]:
                        tasks.start_soon(exchange, opened.pop(), await given.receive())
                    case ["slow"]:
                        tasks.start_soon(take_slowly, opened.pop(), await given.receive())
                print("done", flush=True)
            tasks.cancel_scope.cancel()

    async def connect(self, identity: Identity, other: str, address: str, ready: anyio.Event) -> None:
        async with chanlink.connect(address, identity=identity, peer=PublicKey.load(f"{other}.pub")) as session:
            self.inspection.watch(session)
            self.sessions[other] = session
            ready.set()
            await session.wait_closed()


async def exchange(sender: Sender[Any], receiver: Receiver[Any]) -> None:
    """Sends first, and takes then: two of these wait for each other."""
    async with sender, receiver:
        await sender.send("ping")
        await receiver.receive()


async def take_slowly(sender: Sender[Any], receiver: Receiver[Any]) -> None:
    async with sender, receiver:
        await anyio.sleep(3_600)
        await receiver.receive()


if __name__ == "__main__":
    _, NAME, LOOP = sys.argv
    anyio.run(
        Node(chanlink.Inspection()).main,
        NAME,
        backend="trio" if LOOP == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if LOOP == "uvloop" else {},
    )
