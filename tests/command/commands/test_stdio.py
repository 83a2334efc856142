"""``chanlink stdio``: what it is run with, and what it carries. By a real ssh: tests/transport/test_ssh.py."""

from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import Exec, Identity, Trust
from tests.command.calls import COMMAND, environment, run
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


def test_without_anything_it_says_what_it_is_for(tmp_path: Path) -> None:
    _, said = run(tmp_path, "stdio", status=2)
    assert "give the ADDRESS of a server on this machine" in said


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    out, said = run(tmp_path, "stdio", "unix:/no/such/socket", "--token", "0" * 32, status=1)
    assert out == ""
    assert said.startswith("chanlink: unix:/no/such/socket: No such file or directory")
    assert said.count("\n") == 1


def test_a_token_that_is_none(tmp_path: Path) -> None:
    _, said = run(tmp_path, "stdio", "--token", "x", "--key", "A" * 68, status=1)
    assert "chanlink: " in said
    assert "Traceback" not in said


async def test_it_leads_to_a_server_of_its_machine(tmp_path: Path) -> None:
    me, server, path = Identity.generate(), Identity.generate(), tmp_path / "socket"
    bridge = Exec([*COMMAND, "stdio", f"unix:{path}"], env=environment(tmp_path))
    with anyio.fail_after(PATIENCE):
        async with (
            chanlink.listen(f"unix:{path}", identity=server, trust=Trust.of(me.public_key)) as listener,
            chanlink.connect(bridge, identity=me, peer=server.public_key, timeout=PATIENCE) as session,
        ):
            accepted = await listener.accept()
            sender, receiver = chanlink.pipe()
            async with await session.open("talk") as channel:
                await channel.send({"big": bytes(500_000), "end": receiver})
                async with (await accepted.accept()).end as there:
                    message = await there.receive()
                    await sender.send("also back")
                    assert (len(message["big"]), await message["end"].receive()) == (500_000, "also back")
