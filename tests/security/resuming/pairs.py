"""Two resumable streams over connections of their own making, which break when and where a test wants it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream

from chanlink import SessionError
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import Secrets, Thresholds
from chanlink.security.resuming.resumable import ResumableStream
from chanlink.testing import FaultyStream
from tests.patience import PATIENCE
from tests.security.handshakes import stream_over
from tests.security.wires import sealed_pair, wires

MOST = 65_536
Make = Callable[[], tuple[NoiseStream, NoiseStream]]


def over_sockets(thresholds: Thresholds | None = None) -> Make:
    return lambda: sealed_pair(thresholds)


def over_wires(*, piece: int = 65_536, faults: Callable[[ByteStream], ByteStream] = lambda wire: wire) -> Make:
    """In memory; the client's side of each has these faults."""

    def make() -> tuple[NoiseStream, NoiseStream]:
        one, two = wires(piece, patient=True)
        secrets = Secrets(*(os.urandom(32) for _ in range(4)))
        return stream_over(faults(one), secrets, True), stream_over(two, secrets, False)

    return make


def cut_after(sizes: list[int]) -> Callable[[ByteStream], ByteStream]:
    """One connection after the other breaks after so many bytes; those behind them don't."""

    def fault(wire: ByteStream) -> ByteStream:
        return FaultyStream(wire, cut_after=sizes.pop(0)) if sizes else wire

    return fault


class Pair:
    """A client and a server; the client comes back as soon as it may."""

    def __init__(
        self,
        make: Make,
        *,
        unacknowledged: int = MOST,
        patience: float = PATIENCE,
        unheard: float | None = None,
        tick: float = 0.02,
        progress: float = PATIENCE,
    ) -> None:
        self.make = make
        self.connections = 0
        self.may_return = anyio.Event()
        self.may_return.set()
        self.ends: list[SessionError | None] = []
        self.near = make()
        settings = {"patience": patience, "progress": progress, "tick": tick}
        self.client = ResumableStream(
            self.near[0],
            unacknowledged=unacknowledged,
            peer_unacknowledged=unacknowledged,
            come_back=self.come_back,
            ended=self.ends.append,
            **settings,
        )
        self.server = ResumableStream(
            self.near[1],
            unacknowledged=unacknowledged,
            peer_unacknowledged=unacknowledged,
            ended=self.ends.append,
            unheard=unheard,
            **settings,
        )

    async def come_back(self) -> None:
        await self.may_return.wait()
        self.return_()

    def return_(self) -> None:
        """As two sides do that have agreed: both freeze before either goes on."""
        counts = self.client.freeze(), self.server.freeze()
        self.near = self.make()
        self.connections += 1
        self.server.attach(self.near[1], counts[0])
        self.client.attach(self.near[0], counts[1])

    async def cut(self, side: int = 0) -> None:
        """Break the connection that there is."""
        await anyio.aclose_forcefully(self.near[side])

    def hold(self) -> None:
        """From now on, who is away stays so."""
        self.may_return = anyio.Event()


@asynccontextmanager
async def joined(make: Make | None = None, **settings: float) -> AsyncIterator[Pair]:
    """Two streams that are kept, and closed in the end."""
    pair = Pair(make or over_sockets(), **settings)  # type: ignore[arg-type]
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pair.client.keep)
            tasks.start_soon(pair.server.keep)
            try:
                yield pair
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(pair.client)
                    await anyio.aclose_forcefully(pair.server)
                tasks.cancel_scope.cancel()


async def together(*calls: Callable[[], Awaitable[object]]) -> None:
    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(call)
