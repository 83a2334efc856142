"""A daemon in this process, what is at the other side of it, and applications that speak section 16 by themselves."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack

import chanlink
from chanlink.daemon import settings
from chanlink.daemon.accounts import user_of
from chanlink.daemon.folder import Folder
from chanlink.daemon.handing import OURS, entries_of
from chanlink.daemon.running import Daemon, Place, running
from chanlink.handover.messages import Advertise, Advertised, Connect, HandedOver, Refused
from chanlink.handover.passing import Line, Received, open_line
from chanlink.limits import Limits
from chanlink.security import suites
from chanlink.security.handshake import keys_for
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.records import WELCOME
from chanlink.security.rekey import Secrets
from chanlink.transport.sockets import SocketTransport

US = user_of(os.getuid())
SERVICES = {"ping": settings.Service("ping", incoming=True), "echo": settings.Service("echo")}
QUICK = Limits(trust_interval=0.05)


class Host:
    """A machine with a daemon, whose one user is who runs this."""

    def __init__(self, base: Path) -> None:
        self.folder = Folder.made(base / "daemon", settings.fresh(groups=False), "host@here")
        self.run = base / "run"
        self.key = self.folder.host().public_key
        self.user_key = self.folder.add_user(US, f"{US}@here")
        for service in SERVICES.values():
            settings.add_service(self.folder.settings, service)

    def know(self, **hosts: tuple[str, PublicKey]) -> None:
        """Hosts have these names here, these addresses and these keys."""
        tables = [f'[{name}]\naddress = "{address}"\nkey = "{key}"\n' for name, (address, key) in hosts.items()]
        self.folder.hosts.write_text("\n".join(tables))

    def trust(self, *keys: PublicKey) -> None:
        """Clients with these keys may come from the network."""
        self.folder.trust.write_text("".join(f"{key}\n" for key in keys))

    @asynccontextmanager
    async def running(self, limits: Limits = QUICK) -> AsyncIterator[Daemon]:
        place = Place(self.folder, self.run, ["tcp://127.0.0.1:0"])
        async with running(place, audit=self.folder.audit, limits=limits) as daemon:
            yield daemon

    async def line(self, direction: str = "ipc", service: str = "ping") -> Line:
        return await open_line(str(self.run / direction / service))

    async def connect(self, host: str = "web1", **more: Any) -> "Got":
        """As an application that connects."""
        line = await self.line()
        with suppress(chanlink.ConnectionLost):  # one that has too many is refused before
            await line.send(asking(host, **more))
        return Got(line, await line.receive_any((HandedOver, Refused)))

    async def advertise(self, resume: int | None = None, service: str = "ping") -> Line:
        """As an application that serves."""
        line = await self.line("import", service)
        await line.send(Advertise(features=sorted(OURS), resume=resume))
        assert isinstance(await line.receive(Advertised, Refused), Advertised)
        return line


def asking(host: str = "web1", **more: Any) -> Connect:
    """A request."""
    entries = {"id": os.urandom(16), "limits": entries_of(Limits()), "features": sorted(OURS)}
    return Connect(host=host, **{**entries, **more})


class Got:
    """What an application gets."""

    def __init__(self, line: Line, received: Received) -> None:
        self.line = line
        self.message: Any = received.message
        self._connection = received.connection

    @property
    def id(self) -> bytes:
        id_: bytes = self.message.id
        return id_

    def stream(self, role: Role) -> NoiseStream:
        """The records of the session."""
        assert self._connection is not None
        message: HandedOver = self.message
        secrets = Secrets(message.client_key, message.server_key, message.exporter_secret, message.h)
        keys, buffers = keys_for(secrets, suites.suite(message.suite), role)
        return NoiseStream(SocketTransport(self._connection), keys, secrets, buffers)

    async def welcomed(self) -> NoiseStream:
        """As a client: the records behind the welcome."""
        stream = self.stream(Role.CLIENT)
        stream.expect_welcome(PublicKey(self.message.identity), resumes=True)
        await stream.receive_welcome()
        return stream

    async def welcomes(self) -> NoiseStream:
        """As a server: the records behind the welcome."""
        stream = self.stream(Role.SERVER)
        await stream.send_record(WELCOME, msgpack.packb({"code": "", "you": self.message.peer["key"]}))
        return stream

    def close(self) -> None:
        """Be gone, as a process that is killed."""
        self.line.close()
        if self._connection is not None:
            self._connection.close()


async def taken(line: Line) -> Got:
    """What comes to an application that serves."""
    return Got(line, await line.receive_any((HandedOver,)))


async def _nothing(receiver: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for _ in receiver:
        pass


@asynccontextmanager
async def serving(*clients: PublicKey, services: Any = None, **more: Any) -> AsyncIterator[tuple[str, PublicKey]]:
    """A server of the network that has no daemon: its address and its key."""
    services = {"ping": _nothing} if services is None else services
    options = {"identity": chanlink.Identity.generate("server"), "trust": chanlink.Trust.of(*clients), **more}
    async with chanlink.listen("tcp://127.0.0.1:0", services=services, **options) as listener:
        yield listener.addresses[0], options["identity"].public_key
