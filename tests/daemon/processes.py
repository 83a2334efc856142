"""Daemons as processes of their own, which can be killed, and be in a network of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chanlink.daemon import settings
from chanlink.daemon.folder import Folder
from tests.patience import PATIENCE
from tests.rexec.servers import until

from .people import ROOT


class DaemonProcess:
    """``chanlink daemon run``, again and again."""

    def __init__(self, base: Path, name: str, *, groups: bool, listen: str = "", before: Sequence[str] = ()) -> None:
        self.folder = Folder.made(base / name, settings.fresh(groups=groups), f"host@{name}")
        self.run = base / f"{name}-run"
        self.log = base / f"{name}.log"
        self.key = self.folder.host().public_key
        self.listen = listen
        self._before = before
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it can be used."""
        self.log.write_bytes(b"")
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [*self._before, sys.executable, "-m", "chanlink", "daemon", "run", *self._options()],
                cwd=ROOT,
                stderr=log,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        until(lambda: b"listening on" in self.log.read_bytes() or self._process.poll() is not None)  # type: ignore[union-attr]
        assert self._process.poll() is None, self.log.read_text()

    def _options(self) -> list[str]:
        where = ["--listen", self.listen] if self.listen else ["--no-listen"]
        return ["--folder", str(self.folder.path), "--run", str(self.run), *where]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Without a word, as when memory runs out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """In order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(PATIENCE) == 0

    def add(self, *services: str, users: Sequence[str] = ()) -> None:
        """Services for the network, and identities for users."""
        for service in services:
            settings.add_service(self.folder.settings, settings.Service(service, incoming=True))
        for user in users:
            self.folder.add_user(user, f"{user}@{self.folder.path.name}")

    def know(self, **hosts: tuple[str, "DaemonProcess"]) -> None:
        """Other daemons have these names here."""
        tables = [f'[{name}]\naddress = "{address}"\nkey = "{other.key}"\n' for name, (address, other) in hosts.items()]
        self.folder.hosts.write_text("\n".join(tables))


@contextmanager
def stopped(*daemons: DaemonProcess) -> Iterator[None]:
    """They are stopped behind the block."""
    try:
        yield
    finally:
        for daemon in daemons:
            daemon.stop()
