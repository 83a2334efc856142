"""The users of this system, as far as commands can be run as them."""

import os
import pwd
from typing import NamedTuple

from .patterns import matches_any

PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = "/bin/sh"
LOCALE = ("LANG", "LC_*", "TZ")
"""What commands of other users get of the server's own environment."""


class User(NamedTuple):
    """Whom to run a command as."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    def is_our_own(self) -> bool:
        return (self.uid, self.gid) == (os.geteuid(), os.getegid())


def look_up(name: str) -> User:
    """Raises `KeyError` if there is no such user."""
    entry = pwd.getpwnam(name)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir or "/", entry.pw_shell or SHELL)


def shell_of(user: User | None) -> str:
    """The login shell, which is what sshd runs a command by; of the server's own user (None), too."""
    if user is not None:
        return user.shell
    try:
        return pwd.getpwuid(os.geteuid()).pw_shell or SHELL
    except KeyError:  # a user without a name, as containers have them
        return SHELL


def environment_of(user: User | None) -> dict[bytes, bytes]:
    """What a command begins with: all that the server has for its own user (None), else what a login gives."""
    if user is None:
        return dict(os.environb)
    login = {"HOME": user.home, "USER": user.name, "LOGNAME": user.name, "SHELL": user.shell}
    kept = {name: text for name, text in os.environb.items() if matches_any(os.fsdecode(name), LOCALE)}
    return {b"PATH": PATH, **kept, **{os.fsencode(name): os.fsencode(text) for name, text in login.items()}}
