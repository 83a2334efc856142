"""A real sshd whose users have keys, for clients with a folder of their own; its login shell may say what it likes."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.authority.sshd import NO_PENALTIES, PATH, _wait_for
from tests.ports import free_port

SSH = """#!/bin/sh
exec {ssh} -F {folder}/ssh_config "$@"
"""


class Machine:
    """Where only sshd is."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.bin = folder / "bin"
        """Programs of who logs in. On our side: the ssh that knows this machine, as ``web1``."""

    @property
    def path(self) -> str:
        """Our PATH, on which that ssh comes first."""
        return f"{self.folder / 'ours'}:{os.environ['PATH']}"

    def say_at_login(self, script: str) -> None:
        """What the login shell runs before anything else."""
        (self.folder / "login").write_text(script)


@contextmanager
def serving(folder: Path) -> Iterator[Machine]:
    """One that lets us in as the user who runs the tests. What it runs is run by a shell that has a banner."""
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port, machine = free_port(), None
    machine = Machine(folder, port)
    machine.bin.mkdir()
    (folder / "ours").mkdir()
    files = {
        "login": "",
        "config": f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/key.pub\n"
        "StrictModes no\nPermitRootLogin prohibit-password\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
        f"KbdInteractiveAuthentication no\nMaxStartups 100\n"
        f"SetEnv HOME={folder} PATH={machine.bin}:{os.environ['PATH']}\n"
        f'ForceCommand . {folder}/login; eval "$SSH_ORIGINAL_COMMAND"\n',
        "known": f"web1 {(folder / 'host.pub').read_text()}",
        "ssh_config": f"Host web1\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias web1\nHost *\n"
        f"  User {getpass.getuser()}\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {folder}/known\n  BatchMode yes\n  LogLevel ERROR\n",
        "ours/ssh": SSH.format(ssh=shutil.which("ssh"), folder=folder),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "ours" / "ssh").chmod(0o755)
    sshd, config = str(shutil.which("sshd", path=PATH)), folder / "config"
    if subprocess.run([sshd, "-t", "-f", config, "-o", NO_PENALTIES], capture_output=True).returncode == 0:
        config.write_text(f"{config.read_text()}{NO_PENALTIES}\n")
    process = subprocess.Popen([sshd, "-D", "-f", config, "-E", folder / "log"], stderr=subprocess.PIPE)
    try:
        _wait_for(port, process)
        yield machine
    finally:
        process.terminate()
        process.communicate()


def install(machine: Machine, name: str, script: str) -> None:
    """A program there."""
    path = machine.bin / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
