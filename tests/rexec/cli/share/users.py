"""Those who share sessions."""

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.rexec.servers import COMMAND, PATIENCE, ROOT, Server


class User:
    """Somebody with a home of their own, and so with a keeper of their own."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server = server
        self.home = home
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}

    def command(self, *words: Any, options: tuple[Any, ...] = ()) -> list[Any]:
        keys = ["--identity", self.server.directory / "client", "--peer", self.server.directory / "server.pub"]
        return [*COMMAND, "run", "--share", *keys, *options, self.server.address, "--", *words]

    def run(self, *words: Any, options: tuple[Any, ...] = (), **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        return self.call(self.command(*words, options=options), **kwargs)

    def call(self, command: list[Any], **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, timeout=PATIENCE, **kwargs
        )

    def start(self, *words: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command(*words), cwd=self.home, env=self.environment, **{**pipes, **kwargs})

    def share(self, *options: str) -> list[str]:
        done = self.call([*COMMAND, "share", *options])
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode().splitlines()

    @property
    def folder(self) -> Path:
        return self.home / ".cache" / "rexec"

    @property
    def socket(self) -> Path:
        (path,) = (path for path in self.folder.iterdir() if path.suffix != ".lock")
        return path

    def keeper(self) -> int:
        """Its process id."""
        return int(self.share("--list")[0].rpartition(" ")[2])
