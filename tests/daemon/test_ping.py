"""netStackGo's ping, as the page about keys outside of applications has it."""

import os
import sys
from pathlib import Path

import anyio
import pytest

from tests.patience import PATIENCE
from tests.project.pages import ROOT, blocks_of

from .places import Host

PAGE = ROOT / "docs" / "explanation" / "authority.md"
PROGRAMS = {block.file: block.text for block in blocks_of(PAGE) if block.file}


def test_the_programs_of_the_page_have_fewer_than_ten_lines() -> None:
    assert set(PROGRAMS) == {"ping_server.py", "ping_client.py"}
    for text in PROGRAMS.values():
        assert len([line for line in text.splitlines() if line and not line.startswith("#")]) < 10


@pytest.mark.anyio
async def test_the_programs_of_the_page_talk_to_each_other(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.trust(host.user_key)
    environment = {**os.environ, "CHANLINK_RUN": str(host.run), "PYTHONPATH": str(ROOT)}
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    async with host.running() as daemon:
        host.know(web1=(daemon.addresses[0], host.key))
        with anyio.fail_after(PATIENCE):
            command = [sys.executable, str(tmp_path / "ping_server.py")]
            async with await anyio.open_process(command, env=environment, stderr=None) as server:
                while not len(daemon.applications):
                    assert server.returncode is None
                    await anyio.sleep(0.01)
                client = [sys.executable, str(tmp_path / "ping_client.py")]
                done = await anyio.run_process(client, env=environment, stderr=None)
                server.terminate()
    assert done.stdout == b"b'hello'\n"
