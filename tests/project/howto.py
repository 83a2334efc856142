"""Pastes the shell blocks of a page into an interactive shell on a terminal, one after the other, as a reader would.

The shell is ``bash -i`` in a fresh folder, which is also the home; nothing of the user's own is there. Nothing is done
that a reader's shell does not do, with three exceptions:

- ``rexec`` and ``chanlink`` are on the path, and the ports 9323, 8080 and 8000 are others, which are free.
- A command that fails is noticed and ends the page (by a trap, which changes nothing). One that is to fail is written
  ``if ! command; then ...`` or ``command || echo "status $?"``.
- A comment ``# prints: some words`` is checked: these lines are printed, in this order, among others.

Blocks are marked ``sh``; what is only to be read (it asks the reader, or needs a second machine) is marked ``console``.
At the end the terminal is closed, which ends everything that was started on it.
"""

import fcntl
import os
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
COMMANDS = {"rexec": "examples.rexec", "chanlink": "chanlink"}
OPTIONAL = ("bash", "ssh-keygen", "ssh-agent", "ssh-add", "ssh")
PORTS = ("9323", "8080", "8000")

PASTE = "\x1b[200~{}\x1b[201~\r"
"""As terminals mark what is pasted: the shell reads all of it before it runs the first line."""
RUNS, PROMPT = "\x1b[?2004l", "\x1b[?2004h$ "
"""What readline says to the terminal when it gives a line to the shell, and when it waits for the next command."""
FAILED = "a command of the page has failed: "
STARTUP = f"""\
PS1='$ '
trap 'printf "{FAILED}%s\\n" "$? $BASH_COMMAND"' ERR
bind 'set enable-bracketed-paste on'
"""
START = "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('bash', ['bash', '-i'])"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")
SIZE = struct.pack("HHHH", 50, 1000, 0, 0)
"""Rows and columns: lines are not wrapped."""


class Done(NamedTuple):
    problem: str
    """What went wrong; empty if nothing did."""
    output: list[str]
    """All lines that were printed, without what the shell echoes."""


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def missing_programs(page: Path) -> list[str]:
    """What a page uses that is not installed here, of what is not on every machine."""
    used = {"bash", *re.findall(r"[a-z-]+", "".join(blocks_of(page)))}
    return [program for program in OPTIONAL if program in used and shutil.which(program) is None]


def promised_output(page: Path) -> list[str]:
    return re.findall(r"# prints: (.*)", "".join(blocks_of(page)))


def run_page(page: Path, patience: float = PATIENCE) -> Done:
    """Paste all blocks of a page; ``patience`` is for each of them."""
    output: list[str] = []
    with _fresh_home() as home, _Shell(home, patience) as shell:
        for block in _with_free_ports(blocks_of(page)):
            said = CONTROL.sub("", shell.paste(block))
            output += said.splitlines()
            if shell.problem:
                break
        return Done(shell.problem, output)


def _with_free_ports(blocks: list[str]) -> list[str]:
    for port in PORTS:
        free = str(_free_port())
        blocks = [block.replace(port, free) for block in blocks]
    return blocks


class _Shell:
    """An interactive shell at the other end of a terminal."""

    def __init__(self, home: Path, patience: float) -> None:
        (home / ".bashrc").write_text(STARTUP)
        self.problem = ""
        self._patience = patience
        self._unread = ""
        environment = {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
        environment |= {"LC_ALL": "C.UTF-8", "USER": "me", "TERM": "xterm"}
        self._terminal, there = os.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, SIZE)
        self._process = subprocess.Popen(
            [sys.executable, "-c", START], cwd=home, env=environment,
            stdin=there, stdout=there, stderr=there, start_new_session=True,
        )  # fmt: skip
        os.close(there)
        self._until(PROMPT)

    def paste(self, block: str) -> str:
        """Paste, wait for the next prompt, and return what was printed until then."""
        os.write(self._terminal, PASTE.format(block.rstrip("\n")).encode())
        self._until(RUNS)  # what it echoed
        return self._until(PROMPT)

    def _until(self, mark: str) -> str:
        """What comes before ``mark``, or before a problem."""
        deadline = time.monotonic() + self._patience
        while mark not in self._unread and not self._has_failed():
            if not select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self.problem = f"not done after {self._patience:g} s"
                break
            try:
                data = os.read(self._terminal, 65_536)
            except OSError:  # the shell has ended
                self.problem = self.problem or "the shell has ended"
                break
            self._unread += data.decode(errors="replace")
        self._has_failed()
        before, _, self._unread = self._unread.partition(mark)
        return before

    def _has_failed(self) -> bool:
        if found := re.search(f"{FAILED}(.*)\r\n", self._unread):
            self.problem = found[0].strip()
        return bool(found)

    def __enter__(self) -> "_Shell":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)  # the shell gets HUP, and gives it to its jobs
        _end_session(self._process.pid)
        self._process.wait(PATIENCE)


@contextmanager
def _fresh_home() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has little room."""
    home = Path(tempfile.mkdtemp(prefix="howto-"))
    try:
        (home / "bin").mkdir()
        for name, module in COMMANDS.items():
            command = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m {module}"
            (home / "bin" / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
            (home / "bin" / name).chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _end_session(leader: int) -> None:
    """Wait for what a closed terminal ends, and end what does not listen to that."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
        if not (left := _members(leader)):
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + min(20, PATIENCE)
        while _members(leader) and time.monotonic() < deadline:
            time.sleep(0.05)


def _members(session: int) -> list[int]:
    """The processes of a session that are not merely waiting to be reaped."""
    listed = subprocess.run(["ps", "-eo", "sess=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in listed.splitlines()]
    return [int(pid) for its_session, pid, state, *_ in found if int(its_session) == session and "Z" not in state]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
