"""``rexec stdio`` over pipes; with a real ssh it is tried in tests/transport/test_ssh.py."""

import sys
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import Exec, Identity
from chanlink.transport.banner import Reader
from chanlink.transport.base import BufferedTransport
from examples.rexec.client import run
from tests.command.calls import environment
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
TOKEN = "a" * 32
REXEC = [sys.executable, "-m", "examples.rexec", "stdio"]


async def test_a_command_for_whom_it_was_started_for(tmp_path: Path) -> None:
    me, reader, answer = Identity.generate(), Reader(TOKEN), None
    words = [*REXEC, "--token", TOKEN, "--key", str(me.public_key).split(" ")[1]]
    with anyio.fail_after(PATIENCE):
        stream = await Exec(words, env=environment(tmp_path)).connect()
        while answer is None:
            answer = reader.feed(await stream.receive())
        key = chanlink.PublicKey.parse(answer.key)
        async with chanlink.connect(BufferedTransport(stream), identity=me, peer=key) as session:
            done = await run(session, ["sh", "-c", "echo here; exit 3"])
    assert done.status == 3
