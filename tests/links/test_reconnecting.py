"""The block of a link, and links over processes that are killed, or hang."""

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

import chanlink
from chanlink import (
    AddressError,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    Identity,
    Limits,
    PeerTimeout,
)
from tests.patience import PATIENCE, until

from .servers import ALICE, SERVER, WORK, Server

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("no_leaks")
async def test_wrong_arguments_are_said_at_once() -> None:
    with pytest.raises(AddressError):
        async with chanlink.reconnecting("nowhere", identity=ALICE, peer=SERVER.public_key):
            pass
    here, there = chanlink.byte_pipe()
    with pytest.raises(TypeError, match="ByteStreamConnectable"):
        async with chanlink.reconnecting(here):  # type: ignore[arg-type]
            pass
    here.close(), there.close()
    with pytest.raises(ConfigError, match="resume must be"):
        async with chanlink.reconnecting("unix:/nowhere", identity=ALICE, peer=SERVER.public_key, resume=-1):
            pass
    async with chanlink.reconnecting("unix:/nowhere", identity=Identity.generate(), peer=SERVER.public_key) as link:
        with pytest.raises(TypeError, match="by its name"):
            link.client(WORK, 5)  # type: ignore[arg-type]
        assert "connecting" in repr(link)


SERVING = """
import sys
import anyio
import chanlink
from tests.links.servers import WORK, Worker

async def main():
    worker = Worker(int(sys.argv[2]))
    worker.go.set()
    trust = chanlink.Trust.of(chanlink.PublicKey.load(sys.argv[4]))
    identity, services = chanlink.Identity.load(sys.argv[3]), {"work": WORK.serving(worker)}
    async with chanlink.listen(sys.argv[1], identity=identity, trust=trust, services=services):
        print("listening", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.fixture
async def start(server: Server, tmp_path: Path) -> AsyncIterator[Callable[[int], Awaitable[Process]]]:
    """Starts a server in a process of its own, and waits until it listens."""
    SERVER.save(tmp_path / "server")
    (tmp_path / "alice.pub").write_text(str(ALICE.public_key))
    started: list[Process] = []

    async def start(number: int) -> Process:
        files = [str(tmp_path / "server"), str(tmp_path / "alice.pub")]
        command = [sys.executable, "-c", SERVING, server.address, str(number), *files]
        started.append(await anyio.open_process(command, cwd=ROOT, stderr=None))
        stdout = started[-1].stdout
        assert stdout is not None
        assert (await stdout.receive()).startswith(b"listening")
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        await process.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["is killed", "hangs"])
async def test_a_process_that(
    server: Server, start: Callable[[int], Awaitable[Process]], number: signal.Signals
) -> None:
    """It is noticed, also when it says nothing; the next one at the address is found."""
    process = await start(1)
    limits = Limits(keepalive=0.3, peer_timeout=1)
    async with server.link(limits=limits, timeout=2) as link:
        work = link.client(WORK, "work")
        assert await work.number() == 1
        process.send_signal(number)
        expected = PeerTimeout if number == signal.SIGSTOP else ConnectionLost
        with anyio.fail_after(PATIENCE):
            await until(lambda: link.problem)
            assert isinstance(link.problem, expected | ConnectFailed)
            if number == signal.SIGSTOP:
                process.kill()
            await process.wait()
            await start(2)
            assert await work.number() == 2
