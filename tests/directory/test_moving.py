"""A server moves under open channels and a stream, and a second client finds it with its first message.

Both things at once: it goes on at another address, and who comes then has it from the directory.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ByteStream, KnownPeers, KnownPrekeys, Peer, Receiver, Trust, connect, serve, service, streams
from chanlink.directory import Registration
from tests.attacker.man import Man, attacker
from tests.patience import PATIENCE, until

from .hosting import served
from .made import ALICE, MALLORY

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
CLIENT = MALLORY
PART, PARTS = bytes(range(256)) * 256, 160
"""10 MiB."""


async def count(requests: Receiver[Any], peer: Peer) -> None:
    """Say each number again, in order."""
    async for request in requests:
        await request["reply"].send(request["n"])


async def digest(stream: ByteStream, peer: Peer) -> None:
    """Take all that comes, and say what it was."""
    found = sha256()
    async for part in stream:
        found.update(part)
    await stream.send(found.digest())


class Place:
    """An address that leads to the server, as long as it is open."""

    def __init__(self) -> None:
        self._leave = anyio.Event()

    async def run(self, target: str, *, task_status: Any) -> None:
        async with attacker(target) as man:
            task_status.started(man)
            await self._leave.wait()

    def close(self) -> None:
        self._leave.set()


@asynccontextmanager
async def moving(path: Path) -> AsyncIterator[tuple[Registration, Any, Place, Man, Man]]:
    """A registered server behind its first address, and the second one; and what makes connections to its name."""
    async with (
        served() as host,
        host.directory(ALICE) as ours,
        host.directory(CLIENT) as theirs,
        anyio.create_task_group() as tasks,
    ):
        services = {"count": service(count, early=True), "digest": streams(digest)}
        place: dict[str, Any] = {"identity": ALICE, "trust": Trust.of(CLIENT.public_key)}

        async def run(register: Registration, *, task_status: Any) -> None:
            await serve(services, "tcp://127.0.0.1:0", register=register, task_status=task_status, **place)

        # Where the server is, is known once it listens: it is told to the directory as a move.
        register = Registration(ours, "web1", addresses=["tcp://192.0.2.1:9"], life=3_600)
        listener = await tasks.start(run, register)
        old, new = Place(), Place()
        first, second = (
            await tasks.start(old.run, listener.addresses[0]),
            await tasks.start(new.run, listener.addresses[0]),
        )
        register.move(first.address)
        with anyio.fail_after(PATIENCE):
            while [entry.addresses for entry in await theirs.lookup("web1", fresh=True)] != [(first.address,)]:
                await anyio.sleep(0.01)

        def by_name(**options: Any) -> Any:
            known = KnownPeers.load(path / "known_peers")
            return connect(
                "chanlink://web1", identity=CLIENT, trust=known, directory=theirs, trust_directory=True, **options
            )

        yield register, by_name, old, first, second
        new.close()
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_server_moves_under_a_stream_and_a_second_client_finds_it_there(tmp_path: Path) -> None:
    sent, numbers = sha256(), list[int]()
    async with moving(tmp_path) as (register, by_name, old, first, second), by_name(resume=PATIENCE) as session:
        body = await session.open_stream("digest")
        requests = await session.open("count")
        for number in range(PARTS):
            if number == PARTS // 2:
                register.move(second.address)
                old.close()  # and all that was under way there
            if number == PARTS // 2 + 1:
                await until(lambda: second.connections)
                async with by_name(early=True, known_prekeys=KnownPrekeys()) as other:
                    assert await ask(await other.open("count"), 7) == 7
                    assert other.early == "taken"
            sent.update(PART)
            await body.send(PART)
            numbers.append(await ask(requests, number))
        await body.send_eof()
        with anyio.fail_after(PATIENCE):
            found = b"".join([part async for part in body])
        assert found == sent.digest()
        assert numbers == list(range(PARTS))
        assert session.state == "open"
    assert len(first.connections) == 1
    assert len(second.connections) >= 2


async def ask(requests: Any, number: int) -> int:
    reply, replies = chanlink.pipe()
    await requests.send({"n": number, "reply": reply})
    with anyio.fail_after(PATIENCE):
        return int(await replies.receive())
