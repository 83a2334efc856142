"""Pastes the shell blocks of a page into an interactive shell on a terminal, one after the other, as a reader would.

The shell is ``bash -i`` in a fresh folder, which is also the home; nothing of the user's own is there. What a reader
has before the first block is there:

- For README.md a copy of the repository, `chanlink`, and a Python. It says how chanlink is installed.
- For the other pages what that gives: `chanlink`, `rexec` and `python` are on the path (`installed.py`).
- For the README.md of a folder of examples also the files of this folder.

Nothing else is done that a reader's shell does not do, with three exceptions:

- Where the system allows it, the shell has a network of its own, so that its ports are free. Elsewhere, and for a page
  that installs something from the network, those of ``PORTS`` are replaced by free ones.
- A command that fails is noticed and ends the page (by a trap, which changes nothing). One that is to fail is written
  ``if ! command; then ...`` or ``command || echo "status $?"``.
- A comment ``# prints: some words`` is checked: these lines are printed, in this order, among others.

At the end the terminal is closed, which ends everything that was started on it.
"""

import fcntl
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.patience import PATIENCE
from tests.ports import free_port

from .pages import ROOT, Block, pasted

OPTIONAL = ("bash", "pg_virtualenv", "ssh-keygen", "ssh-agent", "ssh-add", "ssh", "dot")
PORTS = ("9323", "8080", "8000")
SHELL = Path(__file__).with_name("shell.py")
OF_THE_MACHINE = ("PIP_", "UV_", "SSL_CERT_", "http_proxy", "https_proxy", "no_proxy")
"""Variables that say how this machine reaches an index of packages."""

PASTE = "\x1b[200~{}\x1b[201~\r"
"""As terminals mark what is pasted: the shell reads all of it before it runs the first line."""
RUNS, PROMPT = re.compile(r"\x1b\[\?2004l"), re.compile(r"\x1b\[\?2004h([^\x1b]*\n)?\$ ")
"""What readline says to the terminal when it gives a line to the shell, and when it waits for the next command. A line
of a job in the background may come before the text of the prompt."""
FAILED = "a command of the page has failed: "
STARTUP = f"""\
PS1='$ '
trap 'printf "{FAILED}%s\\n" "$? $BASH_COMMAND"' ERR
bind 'set enable-bracketed-paste on'
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")
SIZE = struct.pack("HHHH", 50, 1000, 0, 0)
"""Rows and columns: lines are not wrapped."""


class Done(NamedTuple):
    problem: str
    """What went wrong; empty if nothing did."""
    output: list[str]
    """All lines that were printed, without what the shell echoes."""
    seconds: list[float]
    """How long each block took."""


def missing_programs(page: Path) -> list[str]:
    """What a page uses that is not installed here, of what is not on every machine."""
    used = {"bash", *re.findall(r"[a-z_-]+", "".join(block.text for block in pasted(page)))}
    return [program for program in OPTIONAL if program in used and shutil.which(program) is None]


def run_page(page: Path, programs: Path, patience: float = PATIENCE) -> Done:
    """Paste all blocks of a page, each with so much patience; the folder ``programs`` is first on the path."""
    blocks = pasted(page)
    private = networks_of_their_own() and not any("pip install" in block.text for block in blocks)
    if not private:
        blocks = with_free_ports(blocks)
    output: list[str] = []
    seconds: list[float] = []
    waited_for: list[list[str]] = [[]]
    with _fresh_home(page) as home, _Shell(home, _path(programs), private, patience) as shell:
        for block in blocks:
            began = time.monotonic()
            said = CONTROL.sub("", shell.paste(block.text if block.language == "sh" else _saving(block)))
            seconds.append(time.monotonic() - began)
            output += said.splitlines()
            if block.language == "sh":
                waited_for[0] += block.promises
            elif block.promises:
                waited_for.append([*output, *block.promises])
            if shell.problem:
                break
        return Done(shell.problem or _not_printed(waited_for, output), output, seconds)


def _not_printed(waited_for: list[list[str]], output: list[str]) -> str:
    for lines in waited_for:
        printed = iter(output)
        for line in lines:
            if line not in printed:
                return f"{line!r} is not printed, or not in its turn"
    return ""


def _saving(block: Block) -> str:
    """What saves a file in the folder of the shell, wherever that is."""
    return f"cat > '{block.file}' <<'the end of {block.file}'\n{block.text}the end of {block.file}\n"


def with_free_ports(blocks: list[Block]) -> list[Block]:
    for port in PORTS:
        free = str(free_port())
        blocks = [block._replace(text=block.text.replace(port, free)) for block in blocks]
    return blocks


class _Shell:
    """An interactive shell at the other end of a terminal."""

    def __init__(self, home: Path, path: str, private: bool, patience: float) -> None:
        (home / ".bashrc").write_text(STARTUP)
        self.problem = ""
        self._patience = patience
        self._unread = ""
        environment = {"HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8", "USER": "me", "TERM": "xterm"}
        environment |= {"VIRTUAL_ENV_DISABLE_PROMPT": "1"}  # the prompt is how we see that it waits
        environment |= {name: value for name, value in os.environ.items() if name.startswith(OF_THE_MACHINE)}
        self._terminal, there = os.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, SIZE)
        self._process = subprocess.Popen(
            [sys.executable, SHELL, *(["private"] if private else [])], cwd=home, env=environment,
            stdin=there, stdout=there, stderr=there, start_new_session=True,
        )  # fmt: skip
        os.close(there)
        os.set_blocking(self._terminal, False)
        self._until(PROMPT)

    def paste(self, block: str) -> str:
        """Paste, wait for the next prompt, and return what was printed until then."""
        self._until(RUNS, PASTE.format(block.rstrip("\n")).encode())  # what it echoed
        return self._until(PROMPT)

    def _until(self, mark: re.Pattern[str], typed: bytes = b"") -> str:
        """Type, and return what comes before ``mark``, or before a problem."""
        deadline = time.monotonic() + self._patience
        while not mark.search(self._unread) and not self._has_failed():
            left = max(0.0, deadline - time.monotonic())
            readable, writable, _ = select.select([self._terminal], [self._terminal] if typed else [], [], left)
            if not readable and not writable:
                self.problem = f"not done after {self._patience:g} s"
                break
            try:
                if writable:
                    typed = typed[os.write(self._terminal, typed) :]
                if readable:
                    self._unread += os.read(self._terminal, 65_536).decode(errors="replace")
            except OSError:  # the shell has ended
                self.problem = self.problem or "the shell has ended"
                break
        self._has_failed()
        if (found := mark.search(self._unread)) is None:
            before, self._unread = self._unread, ""
            return before
        before, self._unread = self._unread[: found.start()], self._unread[found.end() :]
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
def _fresh_home(page: Path) -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has little room."""
    home = Path(tempfile.mkdtemp(prefix="page-"))
    try:
        if page == ROOT / "README.md":
            copy_of_the_repository(home / "chanlink")
        elif page.name == "README.md" and page.parent.parent == ROOT / "examples":
            shutil.copytree(page.parent, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def copy_of_the_repository(folder: Path) -> None:
    """As a clone, with what is not committed yet."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def programs_of_a_reader(page: Path, installed: Path) -> Path:
    """The folder with what a reader of the page has: a Python, and, but for the first page, what is installed there."""
    return Path(sys.base_prefix) / "bin" if page == ROOT / "README.md" else installed / "bin"


def _path(programs: Path) -> str:
    own = os.fspath(Path(sys.executable).parent)
    return os.pathsep.join([os.fspath(programs), *(one for one in os.environ["PATH"].split(os.pathsep) if one != own)])


@cache
def networks_of_their_own() -> bool:
    """Whether a process may leave the network of the machine."""
    return subprocess.run([sys.executable, SHELL, "try"], capture_output=True, check=False).returncode == 0


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
