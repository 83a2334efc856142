"""1 GiB through a remote process, there and back: examples/rexec beside OpenSSH and beside two processes and a pipe.

OpenSSH is a server of our own on a loopback port, with keys made for the run, as the user who runs this.
"""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import chanlink

from .harness import ROOT, Bench, Goal, Missing, Row

SIZE = 1024 * 1024 * 1024
SOURCE = ["dd", "if=/dev/zero", "bs=1M", f"count={SIZE // 2**20}"]
SINK = ["dd", "of=/dev/null", "bs=1M"]
CIPHER = "aes128-gcm@openssh.com"


def pump(there: list[str], back: list[str]) -> float:
    """MB/s of ``there | back``; the last of the two `dd` says whether all has arrived."""
    began = time.perf_counter()
    source = subprocess.Popen(there, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT)
    sink = subprocess.Popen(back, stdin=source.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
    assert source.stdout is not None
    source.stdout.close()
    said = sink.communicate()[1].decode()
    elapsed = time.perf_counter() - began
    source.communicate()
    if f"{SIZE} bytes" not in said or source.returncode or sink.returncode:
        raise RuntimeError(f"not all has arrived: {said.strip()}")
    return SIZE / elapsed / 1e6


def rows(bench: Bench) -> list[Row]:
    rexec = cache(lambda: _rexec(bench))
    openssh = cache(lambda: _openssh(bench))

    def into(remote: Callable[[], list[str]]) -> Callable[[], float]:
        return lambda: pump(SOURCE, [*remote(), *SINK])

    def out_of(remote: Callable[[], list[str]]) -> Callable[[], float]:
        return lambda: pump([*remote(), *SOURCE], SINK)

    def profiled(path: Path) -> list[str]:
        command = rexec()
        return [command[0], "-m", "cProfile", "-o", str(path), *command[1:]]

    goal = Goal("ratio", ">=", 0.6)
    return [
        Row(
            f"rexec-{name}",
            f"1 GiB {what}",
            "MB/s",
            through(rexec),
            {f"OpenSSH {CIPHER}": through(openssh), "a pipe": through(list)},
            goal,
            repeats=3,
            profile=lambda path, through=through: through(lambda: profiled(path))(),  # type: ignore[misc]
        )
        for name, what, through in (
            ("in", "from dd into a remote dd", into),
            ("out", "from a remote dd into dd", out_of),
        )
    ]


# --- examples/rexec -----------------------------------------------------------------------------


def _rexec(bench: Bench) -> list[str]:
    """Start a server; the command line that runs something there."""
    if not (ROOT / "examples/rexec/__main__.py").exists():
        raise Missing("needs examples/rexec")
    server_key, client_key = bench.directory / "server", bench.directory / "client"
    server, client = chanlink.Identity.generate("server"), chanlink.Identity.generate("client")
    server.save(str(server_key))
    client.save(str(client_key))
    _public(server_key).write_text(f"{server.public_key}\n")
    _public(client_key).write_text(f"{client.public_key}\n")
    program = [sys.executable, "-m", "examples.rexec"]
    options = ["--listen", "tcp://127.0.0.1:0", "--identity", str(server_key), "--trust", str(_public(client_key))]
    process = bench.spawn([*program, "serve", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    address = next(word for line in process.stdout for word in line.split() if word.startswith("tcp://"))
    return [*program, "run", "--identity", str(client_key), "--peer", str(_public(server_key)), address, "--"]


def _public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


# --- OpenSSH ------------------------------------------------------------------------------------


def _openssh(bench: Bench) -> list[str]:
    """Start an sshd of our own; the command line that runs something there."""
    ssh, sshd, keygen = (
        shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("ssh", "sshd", "ssh-keygen")
    )
    if not ssh or not sshd or not keygen:
        raise Missing("needs sshd: apt-get install openssh-server openssh-client")
    directory = bench.directory / "openssh"
    directory.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it confines what is not authenticated yet
    port = _free_port()
    (directory / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\n"
        f"PidFile none\nStrictModes no\nPermitRootLogin prohibit-password\nUsePAM no\nPasswordAuthentication no\n"
    )
    (directory / "known").write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    bench.spawn([sshd, "-D", "-e", "-f", str(directory / "config")], stderr=subprocess.DEVNULL)
    options = [f"UserKnownHostsFile={directory}/known", "IdentitiesOnly=yes", "BatchMode=yes", "LogLevel=ERROR"]
    command = [ssh, "-F", "/dev/null", "-T", "-c", CIPHER, "-i", str(directory / "user"), "-p", str(port)]
    command += [part for option in options for part in ("-o", option)] + [f"{getpass.getuser()}@127.0.0.1"]
    _wait_for(command)
    return command


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
