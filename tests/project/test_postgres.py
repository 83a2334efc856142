"""What becomes of the PostgreSQL server of the tests."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.postgres import new_server, program

from .pages import ROOT

OWNER = """
import time
from tests.postgres import new_server
with new_server() as server:
    print(server.pid(), server.folder, flush=True)
    time.sleep(600)
"""

pytestmark = pytest.mark.skipif(program("initdb") is None, reason="PostgreSQL is not installed (Debian: postgresql)")


def runs(pid: int) -> bool:
    """And is not merely waiting to be reaped."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return listed != "" and not listed.startswith("Z")


def wait_until_gone(pid: int, folder: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while runs(pid) or folder.exists():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_it_is_gone_with_its_folder_after_the_block() -> None:
    with new_server() as server:
        pid = server.pid()
        assert runs(pid)
    assert not runs(pid)
    assert not server.folder.exists()


def test_it_goes_with_its_folder_when_its_owner_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        number, name = owner.stdout.readline().split()
        pid, folder = int(number), Path(name)
        assert runs(pid)
        owner.kill()
    wait_until_gone(pid, folder)
