"""A server that is told to stop while many call it: no call that has begun is lost, and no other one has begun."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import CallRefused, Identity
from tests.patience import PATIENCE, until

from .ledger import LEDGER

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
PROGRAM = """
import signal, sys
from pathlib import Path
import anyio, chanlink
from tests.calls.ledger import LEDGER

class Ledger:
    began = 0

    async def write(self, number, seconds):
        Ledger.began += 1
        await anyio.sleep(seconds)
        return number

async def main(folder):
    await chanlink.serve(
        {"ledger": LEDGER.serving(Ledger())},
        f"unix:{folder}/socket",
        identity=chanlink.Identity.load(folder / "server"),
        trust=chanlink.Trust.of(chanlink.Identity.load(folder / "client").public_key),
        signals=(signal.SIGTERM,),
        drain=600,
    )
    print(Ledger.began)

anyio.run(main, Path(sys.argv[2]), backend=sys.argv[1])
"""
SESSIONS, CALLERS = 4, 10


@pytest.fixture
def server(tmp_path: Path, anyio_backend_name: str) -> Iterator["subprocess.Popen[str]"]:
    for name in ("server", "client"):
        Identity.generate(name).save(tmp_path / name)
    command = [sys.executable, "-c", PROGRAM, anyio_backend_name, os.fspath(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_each_call_has_its_result_or_was_refused_before_it_began(
    server: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    came_to: Counter[str] = Counter()
    identity = Identity.load(tmp_path / "client")
    peer = Identity.load(tmp_path / "server").public_key
    await until((tmp_path / "socket").exists)

    async def calls(session: chanlink.Session, first: int) -> None:
        """One after the other, until there is no more."""
        ledger, number = LEDGER.client(session, "ledger"), first
        try:
            while True:
                assert await ledger.write(number, 0.01 + number % 5 / 100) == number
                came_to["result"] += 1
                number += 1
        except CallRefused as exc:
            came_to[exc.code] += 1

    with anyio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            where = f"unix:{tmp_path}/socket"
            connecting = [chanlink.connect(where, identity=identity, peer=peer, wait=PATIENCE) for _ in range(SESSIONS)]
            sessions = [await stack.enter_async_context(one) for one in connecting]
            async with anyio.create_task_group() as tasks:
                for caller in range(SESSIONS * CALLERS):
                    tasks.start_soon(calls, sessions[caller % SESSIONS], 1_000 * caller)
                await until(lambda: came_to["result"] > 2 * SESSIONS * CALLERS)
                server.send_signal(signal.SIGTERM)
            causes = [await session.wait_closed() for session in sessions]
    assert {str(cause) for cause in causes} == {"the session was closed"}
    refused = came_to.total() - came_to["result"]
    assert refused == SESSIONS * CALLERS
    assert refused == came_to["draining"] + came_to["session-lost"]  # (of a call that was made when all was over)
    output, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert int(output) == came_to["result"]
