"""Sockets that listen: on all addresses of a name, or on the path of a Unix socket."""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup

from chanlink.errors import ConfigError, ConnectFailed
from chanlink.forks import forget_in_child, let_go

from .accepting import Acceptor, accept_each, accept_waiting
from .address import Address, Place, look_up, reason_of
from .sockets import SocketTransport

BACKLOG = 4_096
"""What Linux allows if nobody has changed it. A full one costs a good client a second: its first packet is dropped."""
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""A machine without IPv6 says so, though its "localhost" has an IPv6 address."""


class ListeningSockets:
    """Sockets that listen on every address of a name, all on one port, or on a path."""

    def __init__(self, sockets: Sequence[socket.socket], path: str = "") -> None:
        self.sockets = sockets
        self.addresses = [str(Address.of(sock.getsockname())) for sock in sockets]
        """As `connect_socket` takes them, with their real ports."""
        self._path = path
        """The file that is ours to remove."""
        self._file = _file_id(path)
        self._acceptor: Acceptor
        forget_in_child(self)

    def start(self, tasks: TaskGroup, acceptor: Acceptor) -> None:
        """As `Listening`."""
        self._acceptor = acceptor
        for sock in self.sockets:
            tasks.start_soon(accept_each, sock, self._accepted, acceptor.no_room)

    def give_waiting(self) -> None:
        """As `Listening`."""
        for sock in self.sockets:
            accept_waiting(sock, self._accepted, BACKLOG)

    def _accepted(self, connection: socket.socket, address: object) -> None:
        self._acceptor.accepted(SocketTransport(connection), address)

    def forget(self) -> None:
        """In a forked child: it is the parent that listens."""
        self._file = None
        for sock in self.sockets:
            let_go(sock)

    def close(self) -> None:
        """Listen no more, and remove the file of a Unix socket."""
        # While we listen, nobody takes the file for a stale one; while the socket is open, its id is not used again.
        if self._file is not None and _file_id(self._path) == self._file:
            with suppress(OSError):
                os.unlink(self._path)
        for sock in self.sockets:
            anyio.notify_closing(sock)
            sock.close()


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def listening_sockets(address: Address, *, shared: bool = False) -> ListeningSockets:
    """Listen on every address of a name, or on a path; with ``shared``, beside others: the system says who gets which
    connection. Raises `ConnectFailed`, and `ConfigError` where an address can't be shared."""
    if shared and (address.path or not hasattr(socket, "SO_REUSEPORT")):
        raise ConfigError(f"{address} can't be shared: only a port of TCP can, where the system has SO_REUSEPORT")
    found = [] if address.path else await look_up(address, socket.AI_PASSIVE)
    try:
        if address.path:
            return ListeningSockets([_listen_unix(address.path)], address.path)
        return ListeningSockets(_listen_tcp(found, shared=shared))
    except OSError as exc:
        raise ConnectFailed(f"can't listen on {address}: {reason_of(exc)}", code="listen") from exc


def _listen_tcp(found: Sequence[Place], *, shared: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    try:
        for family, (host, port, *rest) in found:
            if port == 0 and sockets:  # the same free port on all of them
                port = sockets[0].getsockname()[1]
            try:
                sockets.append(_listen(family, (host, port, *rest), shared=shared))
            except OSError as exc:
                if exc.errno not in _NOT_HERE:
                    raise
                problem = exc
        if not sockets and problem is not None:
            raise problem
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen(family: int, sockaddr: Any, *, shared: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX and os.name == "posix":  # elsewhere it would let others take the port over
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_unix(path: str) -> socket.socket:
    _remove_stale(path)
    return _listen(socket.AF_UNIX, path)


def _remove_stale(path: str) -> None:
    """Remove a socket that a killed process left: one that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind says that it is in use
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            with suppress(FileNotFoundError):
                os.unlink(path)
