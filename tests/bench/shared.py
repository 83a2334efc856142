"""``rexec run --share ... -- true`` when the session is there already: the whole process of the client.

Beside it, the same without sharing, and OpenSSH with a connection that its ControlMaster keeps. OpenSSH runs commands
by the user's shell, which may read files of its own first, a tenth of a second long: that is not measured.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from . import rexec
from .harness import ROOT, Bench, Goal, Row


def elapsed(command: list[str], environment: dict[str, str] | None = None) -> float:
    """Milliseconds of a process, from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1e3


class Servers:
    """An rexec server and an OpenSSH server of one module, started when they are asked for."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        self.directory = bench.directory / name
        self.rexec = cache(lambda: rexec._rexec(self._made()))
        self.openssh = cache(lambda: _without_shell_files(self, rexec._openssh(self._made())))

    spawn = property(lambda self: self._bench.spawn)

    def _made(self) -> Any:
        self.directory.mkdir(exist_ok=True)
        return self


def rows(bench: Bench) -> list[Row]:
    servers = Servers(bench, "shared")
    server = servers.rexec
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(bench.directory)}

    def shared() -> float:
        command = _with(server(), "--share", "--share-for", "60")
        elapsed(command, environment)  # the first call opens the session
        return elapsed(command, environment)

    return [
        Row(
            "shared",
            "run true on a kept session, whole process",
            "ms",
            shared,
            {
                "OpenSSH ControlMaster": _control_master(servers),
                "rexec, not shared": lambda: elapsed(_with(server())),
                "python -c pass": lambda: elapsed([server()[0], "-c", "pass"]),
            },
            Goal("ours", "<=", 60),
            repeats=15,
        )
    ]


def _with(command: list[str], *options: str) -> list[str]:
    """The command line that `rexec._rexec` gave, with options, to run ``true``."""
    run = command.index("run")
    return [*command[: run + 1], *options, *command[run + 1 :], "true"]


def _without_shell_files(servers: Servers, command: list[str]) -> list[str]:
    """The command line for a second sshd, which has bash believe that another shell has read its files."""
    folder = servers.directory / "openssh"
    port, new = command[command.index("-p") + 1], str(rexec._free_port())
    config = (folder / "config").read_text().replace(f":{port}", f":{new}")
    (folder / "config2").write_text(f"{config}SetEnv SHLVL=5\n")
    with (folder / "known").open("a") as known:
        known.write((folder / "known").read_text().replace(port, new))
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    servers.spawn([sshd, "-D", "-e", "-f", str(folder / "config2")], stderr=subprocess.DEVNULL)
    command = [new if word == port else word for word in command]
    rexec._wait_for(command)
    return command


def _control_master(servers: Servers) -> Callable[[], float]:
    @cache
    def command() -> list[str]:
        ssh, *rest = servers.openssh()
        path = servers.directory / "control"
        options = ["-o", "ControlMaster=auto", "-o", f"ControlPath={path}", "-o", "ControlPersist=60"]
        return [ssh, *options, *rest, "true"]

    def measure() -> float:
        # The master that stays must not hold the descriptors of this run.
        subprocess.run(command(), check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return elapsed(command())

    return measure
