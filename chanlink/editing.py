"""Changing a file that others read and change at the same time: trust files, known peers.

The file is replaced as a whole, so that nobody reads half of it and a full disk leaves the old one, and who changes it
holds a lock of the old one meanwhile. So a reader needs no lock. Synchronous: such files are small and local.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from chanlink.openssh import make_private_directory


class Edit:
    """The file as it is while nobody else changes it."""

    def __init__(self, file: Path, stream: IO[bytes]) -> None:
        self._file = file
        self._stream = stream

    def read(self, limit: int) -> bytes:
        """At most ``limit`` bytes of what it holds.  Raises `OSError`."""
        self._stream.seek(0)
        return self._stream.read(limit)

    def replace(self, data: bytes) -> None:
        """Let it hold this instead, with the mode and the owner that it has.  Raises `OSError`."""
        status = os.fstat(self._stream.fileno())
        descriptor, name = tempfile.mkstemp(dir=self._file.parent, prefix=".chanlink-")
        try:
            with open(descriptor, "wb") as stream:
                with suppress(PermissionError):  # somebody else's file in a directory of ours
                    os.fchown(descriptor, status.st_uid, status.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            os.replace(name, self._file)
        except BaseException:
            os.unlink(name)
            raise


@contextmanager
def edit(path: str | os.PathLike[str]) -> Iterator[Edit]:
    """Lock a file, and make it with mode 0600 if it is missing; who does the same waits.  Raises `OSError`."""
    import fcntl  # not on Windows, where everything else here works

    file = Path(os.path.realpath(path))  # a link stays one
    make_private_directory(file.parent)
    while True:
        with open(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if _is_at(file, stream):  # else it was replaced while we waited
                yield Edit(file, stream)
                return


def _is_at(file: Path, stream: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(file))
    except FileNotFoundError:
        return False


def create(path: str | os.PathLike[str], data: bytes, mode: int) -> None:
    """Make a file, complete and only where nothing is.  Raises `OSError`."""
    file = Path(path).expanduser()
    make_private_directory(file.parent)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".chanlink-") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        os.link(stream.name, file)
