"""The users and groups of this machine, and who is at the other end of a Unix socket.

What asks for users and groups may ask a server of the network for them: those functions block.
"""

import grp
import pwd
import re
import socket
import struct
from typing import NamedTuple

from chanlink.errors import ConfigError

IPC, IMPORT = "ipc", "import"
"""The two directions: their folders of sockets, and what the names of their groups begin with."""
GOOD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
"""Names of users that can be those of folders."""
_CREDENTIALS = struct.Struct("3i")


class Caller(NamedTuple):
    """A process at the other end of a Unix socket, as the kernel says; the user is that of when it connected."""

    pid: int
    uid: int


def caller_of(sock: socket.socket) -> Caller:
    """Who has connected. Raises `OSError`."""
    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(packed)
    return Caller(pid, uid)


def user_of(uid: int) -> str:
    """What the user is called. Raises `ConfigError` if it has no name, or none that a folder can have."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError as exc:
        raise ConfigError(f"the user {uid} has no name on this machine") from exc
    return checked_name(name)


def name_of(uid: int) -> str:
    """What the user is called, for people who read it: the number if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def checked_name(name: str) -> str:
    """The name of a user, which names a folder. Raises `ConfigError`."""
    if not GOOD_NAME.fullmatch(name):
        raise ConfigError(f"{name[:64]!r} can't be the name of a user here: letters, digits, and _ . @ - only")
    return name


def group_of(direction: str, service: str) -> int:
    """The group that may reach this service in this direction. Raises `ConfigError` if there is none."""
    name = f"{direction}-{service}"
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as exc:
        raise ConfigError(f"there is no group {name}; run: groupadd --system {name}") from exc
