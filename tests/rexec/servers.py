"""``rexec serve`` in a process of its own, and clients of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import chanlink
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "examples.rexec"]
MIB = 1024 * 1024
FAMILY = "sleep 1000 & echo $$ $!; wait"
"""A command with a child; it says the ids of both."""


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits only to be reaped does not."""
    if not Path("/proc/self").exists():
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        return bool(state) and not state.startswith("Z")
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def gone(pids: list[int]) -> None:
    until(lambda: not any(map(alive, pids)))


class Server:
    """With files for a client that it trusts. ``inside`` is a command that runs it, in a surrounding of its own."""

    def __init__(self, directory: Path, *options: Any, inside: Sequence[str] = (), **kwargs: Any) -> None:
        self.directory = directory
        for name in ("server", "client", "stranger"):
            if not (directory / name).exists():
                chanlink.Identity.generate(name).save(directory / name)
        keys = ["--identity", directory / "server", "--trust", directory / "client.pub"]
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*inside, *COMMAND, "serve", "--listen", "tcp://127.0.0.1:0", *keys, *options],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, **kwargs,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]
        self.key = self.process.stdout.readline().removeprefix("public key ").strip()

    @property
    def guard(self) -> int:
        """The id of its guard; 0 when that was killed and no command has come since."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        guards = [int(pid) for pid in children if b"rexec.guard" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return guards[0] if guards else 0

    @property
    def spare(self) -> int:
        """The id of the child that waits for the next order; 0 while there is none."""
        guard = self.guard
        for pid in Path(f"/proc/{guard}/task/{guard}/children").read_text().split() if guard else []:
            with suppress(FileNotFoundError):  # a command that has just ended
                if b"rexec.guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return 0

    def rexec(self, name: str, *words: Any, identity: str = "client", peer: Any = None) -> list[Any]:
        """A subcommand that talks to this server."""
        keys = ["--identity", self.directory / identity, "--peer", peer or self.directory / "server.pub"]
        return [*COMMAND, name, *keys, self.address, *words]

    def command(self, *words: str | bytes, options: Any = (), **kwargs: Any) -> list[Any]:
        command = self.rexec("run", **kwargs)
        return [*command[:-1], *options, command[-1], "--", *words]

    def run(self, *words: str | bytes, input: bytes | None = b"", **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        command = self.command(*words, **kwargs)
        return subprocess.run(command, cwd=ROOT, input=input, capture_output=True, timeout=PATIENCE)

    def call(self, name: str, *words: Any) -> subprocess.CompletedProcess[bytes]:
        command = self.rexec(name, *words)
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        with self.process:
            try:
                return self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise


@contextmanager
def serving(directory: Path, *options: Any, **kwargs: Any) -> Iterator[Server]:
    server = Server(directory, *options, **kwargs)
    try:
        yield server
    finally:
        server.stop()


def serves(*options: Any) -> Any:
    """A fixture: one server, with these options, for all tests of a module."""

    @pytest.fixture(scope="module")
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        with serving(tmp_path_factory.mktemp("rexec"), *options) as server:
            yield server

    return server


@contextmanager
def running(command: list[Any], **kwargs: Any) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A client that runs `FAMILY`, and the ids of the two remote processes."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **{**pipes, **kwargs}) as client:
        try:
            assert client.stdout is not None
            pids = [int(pid) for pid in client.stdout.readline().split()]
            assert len(pids) == 2
            yield client, pids
        finally:
            client.kill()


def rexec_command(*words: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)


def assert_one_line(done: subprocess.CompletedProcess[bytes], *parts: str, status: int = 255) -> None:
    text = done.stderr.decode()
    assert (done.returncode, done.stdout, text.count("\n")) == (status, b"", 1), text
    assert text.startswith("rexec: ")
    for part in parts:
        assert part in text


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
