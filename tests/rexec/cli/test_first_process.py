"""A server that is the first process of a container."""

import os
import signal
from pathlib import Path

import pytest

from tests.rexec.servers import serving, until
from tests.rexec.surroundings import can


@pytest.mark.skipif(not can("unshare", "--pid", "--fork", "--mount-proc", "true"), reason="is the first process")
class TestFirstProcess:
    INSIDE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    STATES = "cat /proc/[0-9]*/stat | sed 's/.*) //' | cut -c 1"

    def test_it_reaps_what_commands_leave_and_ends_when_told(self, tmp_path: Path) -> None:
        with serving(tmp_path, inside=self.INSIDE) as server:
            assert b"Z" not in server.run("sh", "-c", self.STATES).stdout
            for _ in range(3):
                assert server.run("sh", "-c", "(true &); (sleep 0.01 &); (exec true) &").returncode == 0
            until(lambda: b"Z" not in server.run("sh", "-c", self.STATES).stdout)
            (first,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGTERM)
            assert server.wait() == 0

    def test_one_that_is_killed_says_so(self, tmp_path: Path) -> None:
        with serving(tmp_path, inside=self.INSIDE) as server:
            (first,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
            (serve,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
            os.kill(int(serve), signal.SIGKILL)
            assert server.wait() == 128 + signal.SIGKILL
