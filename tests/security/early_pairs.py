"""Both sides of a handshake by a prekey, over connections in memory that keep what was said on them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteStream

from chanlink import Identity, Limits, PublicKey, SessionError, UntrustedPeer
from chanlink.security.early.prekey import Prekey
from chanlink.security.early_client import EarlyHandshake
from chanlink.security.early_server import PrekeyMaker, meet_either
from chanlink.security.early_stream import EarlyStream
from chanlink.security.handshake import Authenticated
from chanlink.security.handshake_server import welcome
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.resuming.agreement import Terms
from chanlink.security.statics import Statics
from tests.patience import PATIENCE

from .handshakes import ALICE, SERVER
from .wires import Wire, wires


class Server:
    """A process that takes first messages with data."""

    def __init__(self, identity: Identity = SERVER, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.statics = Statics(identity, Role.SERVER)
        self.is_loaded = False
        self.trusts_nobody = False
        self.admitted: list[PublicKey] = []
        self.maker = PrekeyMaker(identity, self.limits, is_loaded=lambda: self.is_loaded)

    def admit(self, presented: Presented) -> Grant:
        if self.trusts_nobody:
            raise UntrustedPeer(presented.key.fingerprint)
        self.admitted.append(presented.key)
        return Grant("somebody", None)

    async def prekey(self) -> Prekey:
        prekey = await self.maker.newest()
        assert prekey is not None
        return prekey

    async def meet(self, end: ByteStream) -> Authenticated:
        met = await meet_either(end, self.statics, self.maker, self.admit, self.limits)
        if isinstance(met, Authenticated):
            return met
        return await welcome(met, self.admit, Terms.made(0), await self.maker.newest())


class Client:
    """A process that has a prekey."""

    def __init__(self, prekey: Prekey, identity: Identity = ALICE, limits: Limits | None = None) -> None:
        self.prekey = prekey
        self.limits = limits or Limits()
        self.statics = Statics(identity, Role.CLIENT)

    async def handshake(self) -> EarlyHandshake:
        return await EarlyHandshake.prepared(self.prekey, self.statics, self.limits)

    async def stream(self, end: ByteStream, patience: float = PATIENCE) -> EarlyStream:
        return EarlyStream(end, await self.handshake(), patience)


Outcome = Authenticated | Exception


@asynccontextmanager
async def met(
    server: Server, *ends: ByteStream, then: Callable[[Authenticated], Awaitable[object]] | None = None
) -> AsyncIterator[list[Outcome]]:
    """What the server makes of these connections, one after the other, by the end of the block.

    It hangs up on those of which nothing comes, and does ``then`` with the others.
    """
    outcomes: list[Outcome] = []

    async def serve() -> None:
        for end in ends:
            try:
                outcomes.append(await server.meet(end))
                if then is not None:
                    await then(taken(outcomes[-1]))
            except Exception as exc:
                outcomes.append(exc)
                await end.aclose()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            yield outcomes


async def answer(server: Authenticated) -> None:
    """Say what has come first."""
    await server.stream.send(b"you said " + await server.stream.receive())


def taken(outcome: Outcome) -> Authenticated:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def ask(stream: EarlyStream, *parts: bytes) -> bytes:
    """Send at once, as whoever waits for an answer does, and receive it. Raises the problem."""
    problem: list[SessionError] = []
    replies: list[bytes] = []

    async def write() -> None:
        with suppress(SessionError):  # it is the reader's, too
            stream.send_now(parts)
            await stream.send_parts([])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        try:
            replies.append(await stream.receive())
        except SessionError as exc:
            problem.append(exc)
    if problem:
        raise problem[0]
    return replies[0]


async def told(server: Authenticated, size: int) -> bytes:
    """So many bytes of what the client has sent."""
    data = b""
    while len(data) < size:
        data += await server.stream.receive()
    return data


def connection(*, patient: bool = True) -> tuple[Wire, Wire]:
    return wires(patient=patient)
