"""The chanlink command for tests: as a process, and as a call for what needs none of its own."""

import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import chanlink
from chanlink.command import main
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "chanlink"]
MIB = 1024 * 1024
ANYWHERE = "tcp://127.0.0.1:0"
NOT_AGAIN = """
import os
opened = os.open
def open_but(path, *args, **kwargs):
    if str(path).startswith("/proc/self/fd"):
        raise PermissionError(13, "Permission denied", path)
    return opened(path, *args, **kwargs)
os.open = open_but
"""
"""What Python runs first, for a terminal or pipe of another user (as after su), or a system without /proc."""


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of whoever runs the tests: a home of its own, no agent, no identity."""
    kept = {name: value for name, value in os.environ.items() if name not in ("SSH_AUTH_SOCK", "CHANLINK_IDENTITY")}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


def run(home: Path, *words: Any, input: bytes = b"", status: int | None = 0, **more: str) -> tuple[str, str]:
    """Run the command in its own process, in its home; returns its output and what it said."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        input=input, capture_output=True, cwd=home, env=environment(home, **more), timeout=PATIENCE,
    )  # fmt: skip
    out, err = done.stdout.decode(), done.stderr.decode()
    assert status is None or done.returncode == status, (done.returncode, out, err)
    return out, err


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class Called(NamedTuple):
    status: int
    out: str
    err: str


Call = Callable[..., Called]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command in this process, with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CHANLINK_IDENTITY", raising=False)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def call(*words: object) -> Called:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as exc:
            status = int(exc.code or 0)
        return Called(status, *capsys.readouterr())

    return call


def assert_one_line(done: Called | tuple[str, str], *parts: str, status: int = 1) -> None:
    """An error of one line, with these words in it."""
    err = done[-1]
    assert err.startswith("chanlink: "), err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    for part in parts:
        assert part in err, err
    if isinstance(done, Called):
        assert (done.status, done.out) == (status, "")


class Keys(NamedTuple):
    """A home with a key for each side and the files that know them."""

    home: Path

    @property
    def server(self) -> list[str]:
        return ["--identity", str(self.home / "server"), "--trust", str(self.home / "trust")]

    @property
    def client(self) -> list[str]:
        return ["--identity", str(self.home / "client"), "--peer", str(self.home / "server.pub")]


def make_keys(home: Path, trust: str = "") -> Keys:
    for name in ("server", "client", "stranger"):
        chanlink.Identity.generate(name).save(home / name)
    (home / "trust").write_text(trust + (home / "client.pub").read_text())
    return Keys(home)


class Server:
    """A process that listens; `address` is where."""

    def __init__(self, keys: Keys, *words: Any, command: Sequence[str] = COMMAND, **kwargs: Any) -> None:
        self.log = keys.home / f"log{len(list(keys.home.glob('log*')))}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, words[0], *keys.server, *map(str, words[1:])],
                stderr=log, cwd=keys.home, env=environment(keys.home), **kwargs,
            )  # fmt: skip
        self.address = self.said(r"listening on (\S+)")[1]

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until it has said this on standard error."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll() is not None
            if (found := re.search(pattern, self.log.read_text())) is not None:
                return found
            assert not ended, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(keys: Keys, *words: Any, **kwargs: Any) -> Iterator[Server]:
    server = Server(keys, *words, **kwargs)
    try:
        yield server
    finally:
        server.process.kill()
        with server.process:
            server.process.wait(PATIENCE)


def start(keys: Keys, *words: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
    environ = environment(keys.home)
    return subprocess.Popen([*COMMAND, *map(str, words)], cwd=keys.home, env=environ, **kwargs)
