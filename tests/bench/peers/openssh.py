"""OpenSSH: a server of our own on a loopback port, with keys made for the run, as the user who runs this.

The key exchange is X25519 and the keys are Ed25519, as ours are. ``cipher`` says which of the two command lines.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench.meter import Meter, Missing

from . import commands, copies

Where = dict[str, Any]
CIPHERS = {"aes128-gcm": "aes128-gcm@openssh.com", "chacha20-poly1305": "chacha20-poly1305@openssh.com"}


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    ssh, sshd, keygen = (_find(name) for name in ("ssh", "sshd", "ssh-keygen"))
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it confines what is not authenticated yet
    port = _free_port()
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nStrictModes no\nPermitRootLogin prohibit-password\nUsePAM no\nPasswordAuthentication no\n"
        "KexAlgorithms curve25519-sha256\nMaxStartups 100\n"
        f"SetEnv HOME={folder}\n"  # what the shell would read at its start is not OpenSSH's cost
    )
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    server = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL)
    where = {"ssh": ssh, "folder": str(folder), "host": "127.0.0.1", "port": port, "user": getpass.getuser()}
    try:
        _wait_for(_command(where, "aes128-gcm"))
        yield where
    finally:
        server.terminate()
        server.wait()


def _find(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        raise Missing(f"needs {name}: apt-get install openssh-server openssh-client")
    return path


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(command: list[str]) -> None:
    for _ in range(50):
        if (tried := subprocess.run([*command, "true"], capture_output=True, text=True)).returncode == 0:
            return
        time.sleep(0.1)
    raise Missing(f"sshd does not let us in: {tried.stderr.strip()[-200:]}")


def _command(where: Where, cipher: str) -> list[str]:
    options = [f"UserKnownHostsFile={where['folder']}/known", "IdentitiesOnly=yes", "BatchMode=yes", "LogLevel=ERROR"]
    options += ["KexAlgorithms=curve25519-sha256", f"IdentityFile={where['folder']}/user", f"Port={where['port']}"]
    command = [where["ssh"], "-F", "/dev/null", "-T", "-c", CIPHERS[cipher]]
    return command + [part for option in options for part in ("-o", option)] + [f"{where['user']}@{where['host']}"]


def _with_cipher(work: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def wrapped(where: Where, meter: Meter, *, cipher: str, count: int) -> None:
        await work({**where, "command": _command(where, cipher)}, meter, count=count)

    return wrapped


async def kept(where: Where, meter: Meter, *, cipher: str, count: int) -> None:
    """As `commands.cold`, by a connection that the first call has opened, and that a process keeps."""
    options = ["-o", "ControlMaster=auto", "-o", f"ControlPath={where['folder']}/control", "-o", "ControlPersist=60"]
    command = _command(where, cipher)
    command = [*command[:-1], *options, command[-1]]
    # The process that stays must not hold our pipes.
    subprocess.run([*command, "true"], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await commands.cold({"command": command}, meter, count=count)


async def copy(where: Where, meter: Meter, *, cipher: str, what: str, count: int) -> None:
    """Copy a folder to the server, by the protocol that has no requests of its own for each piece."""
    _, *options, host = _command(where, cipher)
    options.remove("-T")

    def words(source: Path, target: Path) -> list[str]:
        return [_find("scp"), "-O", "-q", "-rp", *options, str(source), f"{host}:{target}"]

    copies.copy(meter, words, what, count)


WORKS = {name: _with_cipher(work) for name, work in commands.WORKS.items()} | {"kept": kept, "copy": copy}
