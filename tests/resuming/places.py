"""A client, a server, and the man between them, who can keep them apart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio

import chanlink
from chanlink import Limits, Session
from chanlink.testing import LocalServer, local_server
from tests.attacker.man import Man, attacker
from tests.patience import PATIENCE, until

LIMITS = Limits(resume=PATIENCE)


class Place(NamedTuple):
    """A session that may be resumed, and both sides of it."""

    server: LocalServer
    man: Man
    near: Session
    """The client's."""
    far: Session

    async def part(self) -> None:
        """Cut the connection, and let no other one through; both sides have noticed."""
        self.man.reaches = False
        self.man.last.cut()
        for session in (self.near, self.far):
            await until(lambda session=session: session.state == "away")  # type: ignore[misc]

    async def join(self) -> None:
        """Let the client come back, and wait until it has."""
        self.man.reaches = True
        while "away" in (self.near.state, self.far.state):
            self.near.check()  # it tries again at once
            await anyio.sleep(0.01)

    async def be_apart(self, seconds: float) -> None:
        """For so long."""
        await self.part()
        await anyio.sleep(seconds)
        await self.join()


@asynccontextmanager
async def place(
    limits: Limits | None = None, server_limits: Limits | None = None, resume: float = PATIENCE
) -> AsyncIterator[Place]:
    """``limits`` are of both sides, unless the server has its own."""
    with anyio.fail_after(PATIENCE):
        async with (
            local_server(limits=server_limits or limits or LIMITS) as server,
            attacker(server.address) as man,
            chanlink.connect(
                man.address,
                identity=server.identity("client"),
                peer=server.public_key,
                limits=limits,
                resume=resume,
            ) as near,
        ):
            yield Place(server, man, near, await server.listener.accept())


async def talk(near: Session, far: Session) -> None:
    """A message each way, over channels of its own."""
    for opener, acceptor in ((near, far), (far, near)):
        sender, receiver = await opener.open("talk"), (await acceptor.accept()).end
        async with sender, receiver:
            await sender.send("said")
            assert await receiver.receive() == "said"
