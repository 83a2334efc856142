"""The daemon's sockets: for each service one by which applications connect, and one by which they serve.

Whom the kernel lets in, the mode and the group of each file say, before anybody can connect. Who then has connected,
the kernel says, too.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from chanlink.errors import ConfigError
from chanlink.printing import printable_logger
from chanlink.transport.accepting import accept_each
from chanlink.transport.listen import BACKLOG

from .accounts import IMPORT, IPC, group_of
from .settings import Service

logger = printable_logger(__name__)

PAUSE = 0.1
"""Seconds to accept nothing when nothing more can be opened."""
AT_ONCE = 64
"""Connections that are met before others run: of a user who floods most are only closed, and who comes behind waits."""

Key = tuple[str, str]
"""The direction and the service."""
Met = Callable[[str, str, socket.socket], None]
"""Somebody has connected: the direction, the service, the connection."""


class Doors:
    """The sockets of all services, in a folder."""

    def __init__(self, run: Path, *, groups: bool, given: dict[str, socket.socket] | None = None) -> None:
        """``given`` are sockets that listen already, by their paths: who has made them has said who may connect."""
        self._run = run
        self._groups = groups
        self._given = given or {}
        self._kept: set[str] = set(self._given)
        """Files that are not ours to remove."""
        self._open: dict[Key, tuple[socket.socket, CancelScope]] = {}

    def prepare(self) -> None:
        """Make the folders. Raises `ConfigError`."""
        try:
            for direction in (IPC, IMPORT):
                folder = self._run / direction
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                for each in (self._run, folder):
                    if os.stat(each).st_uid == os.geteuid():  # whatever the umask is: the sockets say who may connect
                        os.chmod(each, 0o755)
        except OSError as exc:
            raise ConfigError(f"{self._run}: {exc.strerror}") from exc

    def path(self, direction: str, service: str) -> Path:
        return self._run / direction / service

    def wanted(self, services: dict[str, Service]) -> set[Key]:
        """Which sockets there should be."""
        imports = {(IMPORT, service.name) for service in services.values() if service.incoming}
        return {(IPC, name) for name in services} | imports

    def missing(self, services: dict[str, Service]) -> set[Key]:
        """Those that are not open."""
        return self.wanted(services) - self._open.keys()

    def make(self, direction: str, service: str) -> socket.socket:
        """A socket that listens for this service (synchronously: groups may be far away). Raises `ConfigError`.

        It gets its name last: whoever finds it can connect.
        """
        path = self.path(direction, service)
        if (given := self._given.pop(str(path), None)) is not None:
            return given
        group = group_of(direction, service) if self._groups else None
        unnamed = path.with_name(f".{path.name}")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setblocking(False)
            for file in (path, unnamed):
                _remove(file)
            if os.path.lexists(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            sock.bind(str(unnamed))
            os.chmod(unnamed, 0o600)
            if group is not None:
                _give(unnamed, group, path)
                os.chmod(unnamed, 0o660)
            sock.listen(BACKLOG)
            unnamed.rename(path)
        except OSError as exc:
            sock.close()
            raise ConfigError(f"{path}: {exc.strerror or exc}") from exc
        return sock

    def open(self, key: Key, sock: socket.socket, tasks: TaskGroup, met: Met) -> None:
        """Take who connects to this socket from now on."""
        scope = CancelScope()
        self._open[key] = sock, scope
        tasks.start_soon(self._accept, key, sock, scope, met)

    async def _accept(self, key: Key, sock: socket.socket, scope: CancelScope, met: Met) -> None:
        def take(connection: socket.socket, address: object) -> None:
            connection.setblocking(False)
            met(*key, connection)

        with scope:
            await accept_each(sock, take, lambda problem: PAUSE, at_once=AT_ONCE)

    def close(self, keep: set[Key]) -> None:
        """Close those that are not among these."""
        for key in self._open.keys() - keep:
            sock, scope = self._open.pop(key)
            scope.cancel()
            if str(self.path(*key)) not in self._kept:
                with suppress(OSError):
                    os.unlink(self.path(*key))
            anyio.notify_closing(sock)
            sock.close()
            logger.info("%s is closed", self.path(*key))


def _give(file: Path, group: int, path: Path) -> None:
    """``path`` is what the file is to be called."""
    try:
        os.chown(file, -1, group)
    except PermissionError as exc:
        _remove(file)  # nobody could connect to it
        raise ConfigError(f"{path}: a group that the daemon is not in gets it only with CAP_CHOWN") from exc


def _remove(path: Path) -> None:
    """Remove the socket of a daemon before: who is here has the lock of the folder."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
