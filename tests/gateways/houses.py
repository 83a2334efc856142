"""A gateway with a trust file, servers behind it, and clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import chanlink
from chanlink import Behind, Hop, Identity, Listener, Trust
from chanlink.gateways.serving import Gateway
from tests.patience import PATIENCE, until
from tests.session.endpoints import ALICE, BOB, SERVER, SERVICES, TCP, connect

GATEWAY, OTHER = Identity.generate("gateway"), Identity.generate("other")
LINES = (
    f'offers="build" {SERVER.public_key}',
    f'offers="build,test" {OTHER.public_key}',
    f'services="via:build" {ALICE.public_key}',
    f'services="via:test" {BOB.public_key}',
)


class House(NamedTuple):
    """A gateway."""

    gateway: Gateway
    listener: Listener
    trust: Path

    @property
    def hop(self) -> Hop:
        return self.hop_of(SERVER)

    def hop_of(self, identity: Identity) -> Hop:
        return Hop(self.listener.addresses[0], peer=GATEWAY.public_key, identity=identity)

    def address(self, name: str = "build") -> str:
        return f"via:{self.listener.addresses[0].removeprefix('tcp://')}/{name}"


@asynccontextmanager
async def house(tmp_path: Path, *lines: str, **options: Any) -> AsyncIterator[House]:
    """A gateway whose trust file has these lines, or the usual ones."""
    path = tmp_path / "authorized_peers"
    path.write_text("\n".join(lines or LINES) + "\n")
    gateway = Gateway()
    defaults: dict[str, Any] = {"identity": GATEWAY, "trust": Trust.load(path), "services": gateway}
    async with chanlink.listen(TCP, **defaults | options) as listener:
        yield House(gateway, listener, path)


@asynccontextmanager
async def behind(
    there: House, name: str = "build", identity: Identity = SERVER, **options: Any
) -> AsyncIterator[Listener]:
    """A server that has offered itself there."""
    defaults: dict[str, Any] = {"identity": identity, "trust": Trust.of(ALICE.public_key), "services": SERVICES}
    async with chanlink.listen(Behind(there.hop_of(identity), name=name), **defaults | options) as listener:
        await until(lambda: name in there.gateway.offered)
        yield listener


@asynccontextmanager
async def connected(there: House, **options: Any) -> AsyncIterator[chanlink.Session]:
    """A client of what is behind the gateway, by a session that it has with that."""
    defaults: dict[str, Any] = {"identity": ALICE, "peer": SERVER.public_key, "wait": PATIENCE}
    known = there.trust.parent / "known_peers"
    known.write_text(f"* {GATEWAY.public_key}\n{there.address()} {SERVER.public_key}\n")
    trust = {"trust": chanlink.KnownPeers.load(known)}
    async with connect(there.address(), **{**defaults, **trust, **options}) as session:
        yield session
