"""A real sshd, which believes the authorities of a file, and clients that show it a credential."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.rexec.servers import until

from .client import is_admitted
from .making import Authorities

PROGRAMS = ("sshd", "ssh", "ssh-keygen")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
needs_sshd = pytest.mark.skipif(
    any(shutil.which(name, path=PATH) is None for name in PROGRAMS) or os.geteuid() != 0,
    reason="sshd is not installed (openssh-server), or this is not root, and sshd runs as root on servers",
)
NO_PENALTIES = "PerSourcePenalties no"
"""Since OpenSSH 9.8: else it would soon refuse whoever is refused often."""


class Verdict(NamedTuple):
    """What became of an attempt."""

    admitted: bool
    why: str
    """What sshd has written about it."""


class Sshd:
    """A server whose files a test may change: they are read for each client."""

    def __init__(self, authorities: Authorities, port: int) -> None:
        self.authorities = authorities
        self.port = port
        self._log = authorities.folder / "log"

    def judge(self, kind: str, blob: bytes, sign: Callable[[bytes], bytes], host: str) -> Verdict:
        """Whether it lets in who shows these bytes for a credential."""
        start = self._log.stat().st_size
        try:
            admitted = is_admitted((host, self.port), getpass.getuser(), kind, blob, sign)
        except ConnectionError as exc:
            return Verdict(False, f"{exc}\n{self._log.read_bytes()[start:].decode(errors='replace')}")
        return Verdict(admitted, self._log.read_bytes()[start:].decode(errors="replace"))

    def run(self, key: Path, *options: str) -> str:
        """What a real ssh prints that has this key, and shows the credential beside it."""
        command = ["ssh", "-F", "none", "-i", str(key), "-p", str(self.port)]
        for option in (
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            f"UserKnownHostsFile={self.authorities.folder / 'known'}",
        ):
            command += ["-o", option]
        command += ["-o", "HostKeyAlias=server", "-o", "IdentityAgent=none", "-l", getpass.getuser(), *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        return done.stdout.decode(errors="replace")


@contextmanager
def serving(made: Authorities, authorities: str, principals: str) -> Iterator[Sshd]:
    """One that lets in whoever an authority (a line each) calls by one of the principals (a line each)."""
    folder = made.folder
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host"], check=True)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it confines who is not authenticated yet
    port = free_port()
    files = {"authorities": authorities, "principals": principals, "revoked": "", "log": ""}
    files["known"] = f"server {(folder / 'host.pub').read_text()}"
    files["config"] = (
        f"ListenAddress 127.0.0.1:{port}\n{f'ListenAddress [::1]:{port}' if has_ipv6() else ''}\n"
        f"HostKey {folder}/host\nAuthorizedKeysFile none\nTrustedUserCAKeys {folder}/authorities\n"
        f"AuthorizedPrincipalsFile {folder}/principals\nRevokedKeys {folder}/revoked\nLogLevel VERBOSE\nPidFile none\n"
        "StrictModes no\nPermitRootLogin prohibit-password\nUsePAM no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nMaxStartups 100\nSetEnv HOME={folder}\n"
    )
    for name, text in files.items():
        (folder / name).write_text(text)
    sshd, config = str(shutil.which("sshd", path=PATH)), folder / "config"
    if subprocess.run([sshd, "-t", "-f", config, "-o", NO_PENALTIES], capture_output=True).returncode == 0:
        config.write_text(f"{config.read_text()}{NO_PENALTIES}\n")
    process = subprocess.Popen([sshd, "-D", "-f", config, "-E", folder / "log"], stderr=subprocess.PIPE)
    try:
        _wait_for(port, process)
        yield Sshd(made, port)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    def listens() -> bool:
        assert process.poll() is None, process.communicate()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    until(listens)
