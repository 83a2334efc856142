"""Servers of etcd of the tests' own: in a temporary folder, on ports of loopback, forgotten afterwards."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chanlink.directory.etcd import gateway, watching

from .patience import PATIENCE
from .ports import free_port

DETACHED = """
exec </dev/null >>"$1.log" 2>&1
shift
"$@" &
"""
"""Its process is nobody's child, and no test counts it among those that it has left."""
GUARD = """
exec </dev/null >/dev/null 2>&1
while kill -0 "$1" && [ -d "$2" ]; do sleep 1; done
for file in "$2"/*.pid; do kill -KILL "$(cat "$file")"; done
rm -rf "$2"
"""
"""When this process is killed, nothing of what it has started remains."""


def detached(log: Path, *command: str, **environment: str) -> None:
    """Start a program, with a session of its own: what ends us may be for all processes of ours."""
    arguments = ["sh", "-c", DETACHED, "sh", str(log), *command]
    environment = {"PATH": os.environ.get("PATH", ""), **environment}
    subprocess.run(arguments, env=environment, start_new_session=True, check=True)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Member:
    """One server of a cluster."""

    def __init__(self, folder: Path, number: int, client_port: int, peer_port: int) -> None:
        self.name = f"m{number}"
        self.endpoint = f"http://127.0.0.1:{client_port}"
        self.peer = f"http://127.0.0.1:{peer_port}"
        self._folder = folder
        self._pid = folder / f"{self.name}.pid"

    def start(self, cluster: str) -> None:
        """Returns at once."""
        path = shutil.which("etcd")
        assert path is not None
        arguments = [
            *("--name", self.name, "--data-dir", str(self._folder / self.name)),
            *("--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint),
            *("--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer),
            *("--initial-cluster", cluster, "--initial-cluster-token", str(self._folder)),
            *("--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "error"),
        ]
        command = ["sh", "-c", 'echo $$ > "$1"; shift; exec "$@"', "sh", str(self._pid), path, *arguments]
        detached(self._folder / self.name, *command)

    def kill(self) -> None:
        """As a machine that loses its power."""
        if not self._pid.exists():
            return
        pid = int(self._pid.read_text())
        self._pid.unlink()
        os.kill(pid, signal.SIGKILL)
        while is_alive(pid):
            time.sleep(0.005)

    def stop_and_go(self, number: signal.Signals) -> None:
        """SIGSTOP: as a machine that answers no more; SIGCONT: it does so again."""
        os.kill(int(self._pid.read_text()), number)

    @property
    def is_healthy(self) -> bool:
        """Whether it, and most of the others, agree."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=1) as answer:
                return json.load(answer)["health"] == "true"
        except (OSError, ValueError, urllib.error.URLError):
            return False


class Cluster:
    """Some of them."""

    def __init__(self, folder: Path, size: int) -> None:
        self.members = [Member(folder, number, free_port(), free_port()) for number in range(size)]
        self._cluster = ",".join(f"{member.name}={member.peer}" for member in self.members)

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def start(self, *members: Member) -> None:
        """These, or all; returns when they answer."""
        for member in members or self.members:
            member.start(self._cluster)
        self.wait(*members)

    def wait(self, *members: Member) -> None:
        """Until these, or all, are healthy."""
        until = time.monotonic() + PATIENCE
        for member in members or self.members:
            while not member.is_healthy:
                assert time.monotonic() < until, f"{member.name} does not come"
                time.sleep(0.02)

    def kill(self) -> None:
        for member in self.members:
            member.kill()


@contextmanager
def new_cluster(size: int = 1) -> Iterator[Cluster]:
    """One that runs in this block. Skips the test where there is no etcd."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    with tempfile.TemporaryDirectory(prefix="etcd-") as folder:
        cluster = Cluster(Path(folder), size)
        detached(Path(folder) / "guard", "sh", "-c", GUARD, "sh", str(os.getpid()), folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()


@pytest.fixture(scope="session")
def server_of_etcd() -> Iterator[Cluster]:
    with new_cluster() as cluster:
        yield cluster


@pytest.fixture
def etcd(server_of_etcd: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The one server of this process. Whoever stops it starts it again.

    Stores wait for its answers as long as a busy machine takes; a test that is about that says for how long.
    """
    for module, name in ((gateway, "PATIENCE"), (gateway, "ONE_TRY"), (watching, "CATCHING_UP")):
        monkeypatch.setattr(module, name, PATIENCE)
    return server_of_etcd
