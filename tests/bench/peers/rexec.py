"""examples/rexec: remote commands over chanlink, as a command line and on an open session."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import chanlink
from examples.rexec.client import run as run_there
from tests.bench.ends import PROFILE
from tests.bench.meter import Meter

from . import commands, copies

Where = dict[str, Any]
REXEC = [sys.executable, "-m", "examples.rexec"]


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    for name in ("server", "client"):
        chanlink.Identity.generate(name).save(folder / name)
    options = ["--listen", "tcp://127.0.0.1:0", "--identity", f"{folder}/server", "--trust", f"{folder}/client.pub"]
    command = commands.with_profile([*REXEC, "serve", *options], os.environ.get(PROFILE))
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert server.stdout is not None
    address = re.search(rb"tcp://\S+", server.stdout.readline())
    assert address is not None
    keys = {"identity": f"{folder}/client", "key": f"{folder}/server.pub", "address": address[0].decode()}
    client = [*REXEC, "run", "--identity", keys["identity"], "--peer", keys["key"], keys["address"], "--"]
    try:
        yield {"command": client, **keys}
    finally:
        server.terminate()
        server.wait()


async def command(where: Where, meter: Meter, *, count: int) -> None:
    """Run ``true`` on a session that is open already."""
    identity, key = chanlink.Identity.load(where["identity"]), chanlink.PublicKey.load(where["key"])
    async with chanlink.connect(where["address"], identity=identity, peer=key) as session:
        await run_there(session, ["true"])
        with meter.over(count):
            for _ in range(count):
                done = await run_there(session, ["true"])
                assert done.status == 0


async def kept(where: Where, meter: Meter, *, count: int) -> None:
    """Run ``true`` by the session that the first call has opened, and that a process keeps."""
    share = ["--share", "--share-for", "60"]
    run = where["command"].index("run") + 1
    # Where its socket is: a folder of this run's own, with a short name.
    os.environ["XDG_RUNTIME_DIR"] = str(Path(where["identity"]).parent)
    await commands.cold({"command": [*where["command"][:run], *share, *where["command"][run:]]}, meter, count=count)


async def copy(where: Where, meter: Meter, *, what: str, count: int) -> None:
    """Copy a folder to the server."""
    options = ["--identity", where["identity"], "--peer", where["key"]]

    def words(source: Path, target: Path) -> list[str]:
        return [*REXEC, "cp", "-r", *options, str(source), f"{where['address']}:{target}"]

    copies.copy(meter, words, what, count)


WORKS = {**commands.WORKS, "command": command, "kept": kept, "copy": copy}
