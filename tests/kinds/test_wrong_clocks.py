"""A clock that is wrong: the server says nothing to whom it can't believe, and so the client says what it may be."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

import chanlink
from chanlink import Identity, Trust
from tests.command.calls import ROOT, environment
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

PROGRAM = """
import sys, time
real, skew = time.time, float(sys.argv.pop(1))
time.time = lambda: real() + skew
from {} import main
sys.exit(main(sys.argv[1:]))
"""
MINUTE = 60
KEY = bytes(range(32))


@pytest.mark.parametrize("skew", [-6 * MINUTE, 6 * MINUTE, -2 * 24 * 60 * MINUTE])
@pytest.mark.parametrize("program", ["chanlink", "rexec"])
async def test_a_clock_that_is_wrong_by_six_minutes_is_named(program: str, skew: int, tmp_path: Path) -> None:
    said = await refused(program, skew, tmp_path)
    assert "one of the two clocks may be wrong, ours says 20" in said
    for misleading in ("pre-shared", "is it a chanlink server", "check that it is"):
        assert misleading not in said


@pytest.mark.parametrize("skew", [-2 * MINUTE, 2 * MINUTE])
async def test_with_a_pre_shared_key_two_minutes_are_named_beside_the_key(skew: int, tmp_path: Path) -> None:
    said = await refused("chanlink", skew, tmp_path, psk=KEY)
    assert "another pre-shared key, or none; or one of the two clocks may be wrong, ours says 20" in said


async def refused(program: str, skew: int, folder: Path, psk: bytes | None = None) -> str:
    me, server = Identity.generate("me"), Identity.generate("server")
    me.save(folder / "me")
    options: dict[str, Any] = {"identity": server, "trust": Trust.of(me.public_key), "psk": psk}
    keys = ["--identity", "me", "--peer", str(server.public_key)]
    if psk is not None:
        (folder / "psk").write_bytes(psk)
        (folder / "psk").chmod(0o600)
        keys += ["--psk", "psk"]
    async with chanlink.listen("tcp://127.0.0.1:0", **options) as listener:
        words = {"chanlink": ["ping", *keys], "rexec": ["ps", *keys]}[program] + listener.addresses
        module = {"chanlink": "chanlink.command", "rexec": "examples.rexec.cli.main"}[program]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-c", PROGRAM.format(module), str(skew), *words],
                cwd=folder,
                env=environment(folder, PYTHONPATH=str(ROOT)),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        )
    assert done.returncode in (1, 255), done.stderr
    (said,) = done.stderr.splitlines()
    return said
