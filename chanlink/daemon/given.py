"""Sockets that listen already when the daemon starts, from who has started it (sd_listen_fds(3), sd_notify(3))."""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from chanlink.errors import ConfigError

FIRST = 3
"""The first descriptor that is given."""
MOST = 4_096


class Given:
    """What was given."""

    def __init__(self) -> None:
        self.network: list[socket.socket] = []
        """Sockets of TCP."""
        self.doors: dict[str, socket.socket] = {}
        """Unix sockets of packets, by their paths."""

    @classmethod
    def taken(cls, environment: MutableMapping[str, str]) -> "Given":
        """Take what is there; what this process starts gets none of it. Raises `ConfigError`."""
        given = cls()
        pid, number = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
        environment.pop("LISTEN_FDNAMES", None)
        if pid != str(os.getpid()) or not number.isdigit():
            return given
        for descriptor in range(FIRST, FIRST + min(int(number), MOST)):
            os.set_inheritable(descriptor, False)
            given._take(socket.socket(fileno=descriptor))
        return given

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigError("a socket that was given does not listen")
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            self.network.append(sock)
        elif sock.family == socket.AF_UNIX and sock.type == socket.SOCK_SEQPACKET:
            self.doors[os.fsdecode(sock.getsockname())] = sock
        else:
            raise ConfigError("a socket that was given is neither of TCP nor a Unix socket of packets")


def notify(environment: MutableMapping[str, str], state: str) -> None:
    """Tell who has started us, if that wants to know."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)
