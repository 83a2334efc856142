"""The files of docs/howto/deploy.md do what the page says, as far as that can be tried without a container."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from chanlink import Identity
from tests.patience import PATIENCE
from tests.rexec.servers import until

from .pages import ROOT, blocks_of

FILES = {block.file: block.text for block in blocks_of(ROOT / "docs" / "howto" / "deploy.md") if block.file}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The program, with its folder beside it."""
    Identity.generate("shout").save(tmp_path / "shout" / "key")
    (tmp_path / "shout" / "may_connect").write_text(f"{Identity.generate('alice').public_key}\n")
    (tmp_path / "server.py").write_text(FILES["server.py"])
    return tmp_path / "server.py"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_takes_the_unit(server: Path, installed: Path) -> None:
    """With our paths in the place of those in /opt, which have to be there."""
    text = FILES["shout.service"].replace("/opt/shout/env", os.fspath(installed))
    unit = server.with_name("shout.service")
    unit.write_text(text.replace("/opt/shout", os.fspath(server.parent)))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert "shout.service" not in done.stderr, done.stderr
    assert done.returncode == 0


def test_the_supervisor_waits_longer_than_the_server_needs() -> None:
    (drain,) = re.findall(r"drain=(\d+)", FILES["server.py"])
    (stop,) = re.findall(r"TimeoutStopSec=(\d+)", FILES["shout.service"])
    assert int(stop) > int(drain)


def _can_be_process_1() -> bool:
    command = ["unshare", "--pid", "--fork", "true"]
    return (
        shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not _can_be_process_1(), reason="no process namespaces here, or not for this user")
def test_as_process_1_of_a_container_it_ends_in_order(server: Path, installed: Path) -> None:
    """The command of the Dockerfile, as the first process of a namespace: signals without a handler are lost there."""
    (command,) = re.findall(r'^CMD \["python", "(.*)"\]$', FILES["Dockerfile"], re.MULTILINE)
    assert command == "/opt/shout/server.py"
    socket = server.with_name("socket")
    environment = {"SHOUT_FOLDER": os.fspath(server.with_name("shout")), "SHOUT_ADDRESS": f"unix:{socket}"}
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", "--", installed / "bin" / "python", server],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(socket.exists)
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "SIGTERM: no more is taken, what was begun goes on\n")
