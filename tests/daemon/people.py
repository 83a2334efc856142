"""Users and groups of this machine, made for a test and removed after it, and programs that they run.

A program begins as root, since others may not be able to read the interpreter, and becomes the user before it does
anything: see `person`.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.rexec.servers import until

ROOT = Path(__file__).parents[2]
TOOLS = ("useradd", "userdel", "groupadd", "groupdel", "usermod")


def needs_root() -> None:
    """Skip the test where there can be no users."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if os.geteuid() != 0 or any(shutil.which(tool, path=path) is None for tool in TOOLS):
        pytest.skip("users and groups of the machine take root, and useradd and groupadd")


def _run(*words: str) -> None:
    """Other tests do so at the same time, and the tools do not wait for each other for long."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}

    def is_done() -> bool:
        done = subprocess.run(words, capture_output=True, env=environment, timeout=PATIENCE)
        assert not done.returncode or b"lock" in done.stderr, (words, done.stderr)
        return not done.returncode

    until(is_done)


class People:
    """Users and groups."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._tag = f"cl{os.getpid()}"

    def group(self, name: str) -> None:
        _run("groupadd", "--system", name)
        self._stack.callback(_run, "groupdel", name)

    def user(self, name: str, *groups: str) -> str:
        """A user with these groups besides its own; returns what it is called."""
        full = f"{self._tag}{name}"
        _run(
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            *(("-G", ",".join(groups)) if groups else ()),
            full,
        )
        self._stack.callback(_run, "userdel", full)
        return full

    def service(self, name: str) -> str:
        """A service with both of its groups; returns what it is called."""
        full = f"{self._tag}{name}"
        for direction in ("ipc", "import"):
            self.group(f"{direction}-{full}")
        return full


@contextmanager
def people() -> Iterator[People]:
    """Skips the test where there can be none."""
    needs_root()
    with ExitStack() as stack:
        yield People(stack)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, with a short name: sockets are in it."""
    folder = Path(tempfile.mkdtemp(prefix="chanlink-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


def as_user(user: str, *words: object) -> "subprocess.Popen[str]":
    """Start ``python -m tests.daemon.person`` as a user."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.daemon.person", user, *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def said(user: str, *words: object) -> list[str]:
    """What such a program prints until it ends by itself."""
    with as_user(user, *words) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out
    return out.splitlines()


def uid_of(user: str) -> int:
    return pwd.getpwnam(user).pw_uid
