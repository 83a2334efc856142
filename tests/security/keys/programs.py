"""The programs of OpenSSH, for tests: ssh-keygen, ssh-agent."""

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chanlink import Identity
from chanlink.security.keys.certificate import Certificate
from tests.patience import PATIENCE

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
needs_ssh_agent = pytest.mark.skipif(
    not all(map(shutil.which, ("ssh-agent", "ssh-add", "ssh-keygen"))), reason="openssh-client is not installed"
)


def ssh_keygen(*args: str | Path, input: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", *map(str, args)]
    return subprocess.run(command, input=input, capture_output=True, check=check, timeout=PATIENCE)


def armored(certificate: Certificate) -> str:
    """The signature as ``ssh-keygen -Y verify -n chanlink-static-v1 -s FILE`` reads it (PROTOCOL.sshsig section 1)."""
    text = base64.b64encode(certificate.sshsig).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""))


def run(*command: str | Path, env: dict[str, str] | None = None, input: bytes = b"") -> bytes:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, env=os.environ | (env or {}), input=input, capture_output=True, check=True, timeout=PATIENCE
    )
    return done.stdout


class AgentProcess:
    """A process of ssh-agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "agent"
        self.process = subprocess.Popen(["ssh-agent", "-D", "-a", self.socket], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _listens(self) -> bool:
        """Its socket is there before somebody listens at it."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def add(self, key: Identity | str, *options: str) -> Path:
        """Add a key, or a new one of a type."""
        path = self.folder / f"key{len(list(self.folder.iterdir()))}"
        if isinstance(key, Identity):
            key.save(path)
        else:
            run("ssh-keygen", "-q", "-t", key, "-N", "", "-C", key, "-f", path)
        self.ssh_add("-q", *options, path)
        return path

    def ssh_add(self, *options: str | Path, env: dict[str, str] | None = None) -> None:
        run("ssh-add", *options, env={"SSH_AUTH_SOCK": str(self.socket)} | (env or {}))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def ssh_agent(tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path)
    yield process
    process.stop()
