"""A server on this machine, with throw-away keys, and clients that it lets in."""

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from types import NoneType
from typing import Any, Protocol

import anyio
from anyio.abc import ByteStream as AnyByteStream

import chanlink
from chanlink import Identity, Limits, Listener, PublicKey, Services, Session
from chanlink.arguments import expect

from .faulty_stream import FaultyStream
from .guests import Guests
from .pairs import Faults


class LocalServer:
    """A server that listens on this machine. Made by `local_server`."""

    def __init__(self, listener: Listener, public_key: PublicKey, guests: Guests) -> None:
        self.listener = listener
        self.address: str = listener.addresses[0]
        """As `chanlink.connect` takes it."""
        self.public_key = public_key
        self.wires: dict[str, FaultyStream] = {}
        """Of each client that was connected with faults, by its name, what its bytes go through; the last one."""
        self._guests = guests

    def identity(self, name: str, may_use: Collection[str] | None = None) -> Identity:
        """Let a client in that is called so, and return its key: for `chanlink.reconnecting`, or another process.

        It is the same key each time. ``may_use`` names the services that it may use from now on; None means all.
        """
        return self._guests.let_in(name, may_use)

    @asynccontextmanager
    async def connect(
        self,
        name: str = "client",
        *,
        may_use: Collection[str] | None = None,
        faults: Faults | None = None,
        **options: Any,
    ) -> AsyncGenerator[Session, None]:
        """A session of a client that is called so: an async context manager, as `chanlink.connect` is.

        The server lets it in; ``may_use`` is as for `identity`. ``faults`` are arguments of a `FaultyStream` that the
        client's bytes go through then, and `wires` has it, for faults at a moment. ``options`` are those of
        `chanlink.connect`: ``services``, ``limits`` and others. Raises what that does.
        """
        expect("faults", faults, Mapping, NoneType)
        identity = self.identity(name, may_use)
        address: str | AnyByteStream = self.address
        wire: FaultyStream | None = None
        if faults is not None:
            address = self.wires[name] = wire = FaultyStream(await self._dial(), **faults)
        async with chanlink.connect(address, identity=identity, peer=self.public_key, **options) as session:
            try:
                yield session
            finally:
                if wire is not None:
                    await wire.cut_if_stalled()

    async def _dial(self) -> AnyByteStream:
        if self.address.startswith("unix:"):
            return await anyio.connect_unix(self.address.removeprefix("unix:"))
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        return await anyio.connect_tcp(host.strip("[]"), int(port))


@asynccontextmanager
async def local_server(
    services: Services | None = None,
    *,
    address: str = "tcp://127.0.0.1:0",
    limits: Limits | None = None,
) -> AsyncGenerator[LocalServer, None]:
    """A server with a key that is made for it: an async context manager that gives a `LocalServer`.

    ``services`` are served; without them, sessions come out of `chanlink.Listener.accept` of its ``listener``.
    ``address`` is where it listens: a free port of the loopback interface, or ``unix:/path``. Nobody gets in but the
    clients of `LocalServer.connect` and `LocalServer.identity`. Raises what `chanlink.listen` does.
    """
    guests, identity = Guests(), Identity.generate("server")
    async with chanlink.listen(address, identity=identity, trust=guests, services=services, limits=limits) as listener:
        yield LocalServer(listener, identity.public_key, guests)


class StartServer(Protocol):
    """What the fixture ``chanlink_server`` is."""

    async def __call__(
        self, services: Services | None = None, *, address: str = "tcp://127.0.0.1:0", limits: Limits | None = None
    ) -> LocalServer:
        """Start a server, which serves until the test is over. As `local_server`."""
        ...
