"""What a daemon has had of a session is worth nothing a round trip later, also to one who records all that is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

import chanlink
from chanlink import Advertised, Identity, RemoteProtocolError, Trust
from chanlink.handover.messages import HandedOver
from chanlink.security import suites
from chanlink.security.rekey import RecordKeys, Secrets
from tests.handover.little_daemon import little_daemon
from tests.patience import until

from .test_local_connecting import SERVICES, call
from .test_local_connecting import world as clients_world

pytestmark = pytest.mark.anyio

ALICE, HOST = Identity.generate("alice"), Identity.generate("host")


class Wire:
    """Passes on what comes to it, and keeps all of that."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.address = ""
        self.sent = {"client": bytearray(), "server": bytearray()}

    async def run(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.address = f"tcp://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        task_status.started()
        async with listener:
            await listener.serve(self._pass)

    async def _pass(self, client: ByteStream) -> None:
        host, _, port = self._target.removeprefix("tcp://").rpartition(":")
        server = await anyio.connect_tcp(host, int(port))
        async with client, server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._one_way, client, server, self.sent["client"])
            await self._one_way(server, client, self.sent["server"])
            tasks.cancel_scope.cancel()

    async def _one_way(self, there: ByteStream, here: ByteStream, kept: bytearray) -> None:
        async for data in there:
            kept += data
            await here.send(data)

    def observed(self, handed: HandedOver, side: str) -> bytes:
        """What somebody reads of this side's records who has what was handed over."""
        messages = list(_messages(bytes(self.sent[side])[9:] if side == "client" else bytes(self.sent[side])))
        records = messages[3:] if side == "client" else messages[1:]
        keys = RecordKeys(
            Secrets(handed.client_key, handed.server_key, handed.exporter_secret, handed.h),
            suites.suite(handed.suite),
            client_side=side == "server",
            now=0.0,
            plain=memoryview(bytearray(65_535)),
        )
        found = bytearray()
        for record in records:
            try:
                found += keys.open(memoryview(record))
            except RemoteProtocolError:
                break
        return bytes(found)


def _messages(data: bytes) -> list[bytes]:
    """What has its length in front: the offer, the messages of the handshake, and the records."""
    found = []
    while len(data) >= 2 and len(data) >= 2 + (size := int.from_bytes(data[:2], "big")):
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


@asynccontextmanager
async def wire_to(target: str) -> AsyncIterator[Wire]:
    wire = Wire(target)
    async with anyio.create_task_group() as tasks:
        await tasks.start(wire.run)
        yield wire
        tasks.cancel_scope.cancel()


def epoch(session: chanlink.Session) -> int:
    below: Any = session._below
    return int(below.epoch)


async def talk(session: chanlink.Session, other: chanlink.Session) -> None:
    """Say something at once, and something else a round trip later."""
    await call(session, "said at once")
    await until(lambda: epoch(session) == epoch(other) == 1)
    await call(session, "said later")


def assert_only_the_beginning_is_read(wire: Wire, handed: HandedOver) -> None:
    """The observer does read, but nothing of what was said once there were new keys."""
    for side in ("client", "server"):
        observed = wire.observed(handed, side)
        assert observed
        assert b"said later" not in observed
    assert b"code" in wire.observed(handed, "server")  # of the welcome


async def test_nobody_reads_on_with_what_was_handed_over_to_a_client(tmp_path: Path) -> None:
    async with clients_world(tmp_path) as (daemon, listener, local):
        address, key = daemon.hosts["web1"]
        async with wire_to(address) as wire:
            daemon.hosts["web1"] = wire.address, key
            async with chanlink.connect(local, eager=True) as session:
                await until(lambda: listener.sessions)
                await talk(session, listener.sessions[0])
            assert_only_the_beginning_is_read(wire, daemon.handed[0])


async def test_nobody_reads_on_with_what_was_handed_over_to_a_server(tmp_path: Path) -> None:
    async with (
        little_daemon(tmp_path, "echo", identity=HOST) as daemon,
        chanlink.listen(Advertised("echo", folder=tmp_path), services=SERVICES) as listener,
        wire_to(daemon.address) as wire,
    ):
        daemon.trust = Trust.of(ALICE.public_key)
        options = {"identity": ALICE, "peer": HOST.public_key, "service": "echo", "eager": True}
        async with chanlink.connect(wire.address, **options) as session:
            await until(lambda: listener.sessions)
            await talk(session, listener.sessions[0])
        assert_only_the_beginning_is_read(wire, daemon.handed[0])
