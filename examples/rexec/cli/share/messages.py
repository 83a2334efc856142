"""Shared sessions: where a client and the keeper meet, and what they say.

``rexec run --share`` hands its command to a **keeper**: a process of the same user that keeps sessions open for a
while, and runs commands over them with the standard descriptors of the calls that ask for them. A client passes its
descriptors over a Unix socket, forwards signals, and waits for the status; it imports next to nothing, nor does this
module.

The socket is in a folder that only the user can enter, which both sides check. There is one keeper for each set of
`SETTINGS`, because they decide which keys are used.

What travels are *records*: fields with a zero byte after each, after their length in eight digits. What comes from a
command line are the bytes that it had, whatever the locales of both sides are; texts are UTF-8. The first one comes
with the three descriptors:

    run, FOLDER, TERM, WORD...    a command line of rexec, called in this folder, on a terminal of this type
    list / stop                   what is open; end

The client goes on with ``signal, NAME`` and ``answer, yes``, the keeper with ``error, TEXT``, ``output, TEXT``,
``ask, QUESTION``, and in the end ``status, NUMBER``. A client that closes the connection before that is dead,
or might as well be: the command is stopped.
"""

import hashlib
import os
import stat

from ...settings_file import expanded

RECORD_MAX = 4 * 1024 * 1024
"""More than the system takes as a command line."""
SETTINGS = ("HOME", "CHANLINK_IDENTITY", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")
LENGTH = 8


class ShareError(Exception):
    """Sharing a session does not work here; the text says why."""


def control_folder() -> str:
    """The folder of the control sockets; it is made if it is missing. Raises `ShareError` if others could use it."""
    try:
        folder = os.path.join(_runtime_folder() or expanded("~/.cache"), "rexec")
    except OSError as exc:
        raise ShareError(f"{exc.filename}: {exc.strerror}") from None
    try:
        if not os.path.lexists(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)  # somebody else may have made it meanwhile
        found = os.lstat(folder)
    except OSError as exc:
        raise ShareError(f"{folder}: {exc.strerror}") from exc
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ShareError(f"{folder}: must be a folder of our own that nobody else can enter (chmod 700)")
    return folder


def _runtime_folder() -> str | None:
    """What the system has made for the user; after su and sudo the variable may name that of another one."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        return folder if os.stat(folder).st_uid == os.geteuid() else None
    except OSError:
        return None


def control_path() -> str:
    """The control socket for those with our settings. Raises `ShareError`."""
    settings = [os.environ.get(name, "") for name in SETTINGS]
    text = "\0".join([*settings, os.path.abspath(__file__)])
    return os.path.join(control_folder(), hashlib.blake2b(os.fsencode(text), digest_size=8).hexdigest())


def check_socket(path: str) -> None:
    """Raises `ShareError` for a socket that is not ours, and `FileNotFoundError` if there is none."""
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ShareError(f"{path}: must be a socket of our own that nobody else can use; remove it")


def record(*fields: str | bytes) -> bytes:
    encoded = (field.encode(errors="replace") if isinstance(field, str) else field for field in fields)
    data = b"".join(field.replace(b"\0", b"") + b"\0" for field in encoded)
    return b"%0*d" % (LENGTH, len(data)) + data


class Records:
    """Cuts what arrives into records."""

    def __init__(self) -> None:
        self._data = b""

    def add(self, data: bytes) -> None:
        self._data += data

    def take(self) -> list[bytes] | None:
        """The fields of the next record, or None if more has to arrive. Raises `ShareError`."""
        head, rest = self._data[:LENGTH], self._data[LENGTH:]
        if len(head) < LENGTH:
            return None
        if not head.isdigit() or not 0 < (size := int(head)) <= RECORD_MAX:
            raise ShareError("what arrived at a control socket can't be understood")
        if len(rest) < size:
            return None
        self._data = rest[size:]
        return rest[:size].split(b"\0")[:-1]
