"""``chanlink top``: who may look, and what is shown."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from typing import Any

import pytest

from chanlink import Identity
from tests.command.calls import ANYWHERE, COMMAND, PATIENCE, Keys, assert_one_line, environment, run, serving

pytestmark = pytest.mark.slow


def test_top_shows_who_waits_for_whom(keys: Keys, server: str) -> None:
    out, _ = run(keys.home, "top", "--once", "--all", *keys.client, server)
    assert out.startswith("1 session\n")
    assert "client at 127.0.0.1:" in out
    assert "chanlink.top" in out
    (line,) = run(keys.home, "top", "--json", "--once", *keys.client, server)[0].splitlines()
    (session,) = json.loads(line)["sessions"]
    assert session["key"] == Identity.load(keys.home / "client").public_key.fingerprint
    assert {one["service"] for one in session["channels"]} == {"chanlink.top", None}
    out, _ = run(keys.home, "top", "--once", "--all", "--tasks", *keys.client, server)
    assert "held by chanlink.top at " in out


def test_the_trust_file_says_who_may_look(keys: Keys) -> None:
    (keys.home / "some").write_text(f'services="chanlink.bench" {(keys.home / "client.pub").read_text()}')
    with serving(keys, "bench", "--listen", ANYWHERE, "--inspect", "--trust", "some") as server:
        refused = run(keys.home, "top", "--once", *keys.client, server.address, status=1)
        assert_one_line(refused, "chanlink.top", "trust file")


@pytest.mark.parametrize(
    ("how", "loop"),
    [("q", "asyncio"), ("\x03", "asyncio"), ("\x03", "trio"), ("TERM", "uvloop"), ("killed server", "asyncio")],
    indirect=["loop"],
)
def test_top_on_a_terminal_leaves_it_as_it_was(keys: Keys, how: str, loop: None) -> None:
    with serving(keys, "bench", "--listen", ANYWHERE, "--inspect") as server:
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(keys.home)
            words = [*COMMAND, "top", "-i", "0.05", *keys.client, server.address]
            os.execve(sys.executable, words, environment(keys.home, TERM="vt100"))
        before = termios.tcgetattr(terminal)
        shown = b""
        while shown.count(b"client at") < 3:
            shown += os.read(terminal, 10_000)
        assert b"\x1b[?1049h" in shown
        assert termios.tcgetattr(terminal) != before
        if how == "TERM":
            os.kill(pid, signal.SIGTERM)
        elif how == "killed server":
            server.stop(signal.SIGKILL)
        else:
            os.write(terminal, how.encode())
        while b"\x1b[?1049l" not in shown:
            shown += os.read(terminal, 10_000)
        assert termios.tcgetattr(terminal) == before
        with suppress(OSError):
            while select.select([terminal], [], [], PATIENCE)[0] and (more := os.read(terminal, 10_000)):
                shown += more
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
        assert status == {"q": 0, "TERM": 0, "\x03": -signal.SIGINT, "killed server": 1}[how]
        assert (b"the connection was lost" in shown) == (how == "killed server")
        assert b"Traceback" not in shown


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ('await reply.send("nonsense")', "not one that this version knows"),
        ('while True: await reply.send({"channels": [], "peer": "x" * 1_000_000})', "too long"),
    ],
)
def test_a_server_that_reports_nonsense_is_one_line(keys: Keys, report: str, words: str) -> None:
    program = """
import anyio, chanlink, sys
async def top(requests, peer):
    async for reply in requests:
        async with reply:
            REPORT
async def main():
    identity, trust = chanlink.Identity.load("server"), chanlink.Trust.load("trust")
    services = {"chanlink.top": top}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=trust, services=services) as listener:
        print(*listener.addresses, flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""
    command = [sys.executable, "-c", program.replace("REPORT", report)]
    pipes: Any = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=keys.home, env=environment(keys.home), **pipes) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            assert_one_line(run(keys.home, "top", "--once", *keys.client, address, status=1), words)
        finally:
            server.kill()
