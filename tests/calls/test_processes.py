"""Calls of another process that is killed: what a caller was told is true of what has happened there."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import CallLost, CallRefused, Identity
from tests.patience import PATIENCE, until

from .ledger import LEDGER

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
CALLS = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    for name in ("server", "client"):
        Identity.generate(name).save(tmp_path / name)
    with subprocess.Popen([sys.executable, "-m", "tests.calls.ledger", tmp_path], cwd=ROOT) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("moment", range(4))
async def test_a_server_that_is_killed(server: "subprocess.Popen[bytes]", tmp_path: Path, moment: int) -> None:
    """What has a result has ended there, and what was refused has never begun. The rest is lost, and nothing hangs."""
    chance = random.Random(moment)
    await until((tmp_path / "socket").exists)
    came_to: dict[int, str] = {}
    at_work = anyio.Event()

    async with (
        chanlink.connect(
            f"unix:{tmp_path}/socket",
            identity=Identity.load(tmp_path / "client"),
            peer=Identity.load(tmp_path / "server").public_key,
            wait=PATIENCE,
        ) as session,
        anyio.create_task_group() as tasks,
    ):
        ledger = LEDGER.client(session, "ledger")

        async def call(number: int) -> None:
            await anyio.sleep(chance.random() * 0.05)
            try:
                assert await ledger.write(number, chance.random() * 0.01) == number
            except (CallRefused, CallLost) as exc:
                came_to[number] = type(exc).__name__
            else:
                came_to[number] = "result"
                if len(came_to) == CALLS * (moment + 1) // 5:
                    at_work.set()

        for number in range(CALLS):
            tasks.start_soon(call, number)
        with anyio.fail_after(PATIENCE):
            await at_work.wait()
            server.kill()
            await session.wait_closed()
            await call(CALLS)  # too late for all
    assert len(came_to) == CALLS + 1
    lines = Counter((tmp_path / "ledger").read_text().splitlines())
    assert set(lines.values()) == {1}
    for number, what in came_to.items():
        if what == "result":
            assert lines[f"ended {number}"]
        elif what == "CallRefused":
            assert not lines[f"began {number}"]
    assert came_to[CALLS] == "CallRefused"
    assert "result" in came_to.values()
