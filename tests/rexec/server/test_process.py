"""A command that runs here, and why one does not."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.rexec.servers import PATIENCE, ROOT


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="gives up rights of root")
def test_a_server_that_is_not_root_says_that_it_can_not_switch_users() -> None:
    script = """
import anyio
from examples.rexec.server.starter import Starter
from examples.rexec.policy.order import Order
from examples.rexec.messages import StartError
from examples.rexec.policy.users import look_up

async def main():
    async with Starter(1) as starter:
        try:
            await starter.start(Order([b"true"], {}, user=look_up("daemon")))
        except StartError as exc:
            print(exc.code, exc.text)

anyio.run(main)
"""
    command = ["setpriv", "--bounding-set", "-setuid,-setgid", sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.startswith("not-permitted daemon: the server, which is not root,"), done
