"""A file that arrives: it grows beside the one that it will replace, and takes its place when it has proved right."""

import errno
import fcntl
import hashlib
import os
import stat
from typing import IO

from .copying import MODE_BITS, CopyError, new_hash, shown

SUFFIX = b".rexec-part"
STEM_MAX = 200
PIECE = 1024 * 1024


def part_name(name: bytes) -> bytes:
    """How the unfinished copy of an entry is called, so that the next attempt finds it."""
    return b"." + name[:STEM_MAX] + SUFFIX


def is_part(name: bytes) -> bool:
    """Whether it is called as an unfinished copy is."""
    return name.startswith(b".") and name.endswith(SUFFIX)


class Part:
    """The unfinished copy of a file, ours alone while it is open.

    Closed early, it stays, so that another attempt can go on from there. Blocking, for worker threads. Raises
    `OSError`, and `CopyError` when another copy writes the same file.
    """

    def __init__(self, folder: int, name: bytes) -> None:
        self._folder = folder
        self.name = name
        self._part = part_name(name)
        self._file = self._open()
        self._hash = new_hash()

    def _open(self) -> IO[bytes]:
        while True:
            file = self._open_once()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found = os.fstat(file.fileno())
                if _is(found, self._folder, self._part):  # else it has become the file since we opened it
                    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid():
                        return file
                    os.unlink(self._part, dir_fd=self._folder)  # put here by others, for us to write into it
                file.close()
            except BlockingIOError:
                file.close()
                raise CopyError(f"{shown(self.name)}: another copy writes it at this moment") from None
            except BaseException:
                file.close()
                raise

    def _open_once(self) -> IO[bytes]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return open(os.open(self._part, flags, 0o600, dir_fd=self._folder), "r+b", buffering=0)
        except OSError as exc:
            if exc.errno != errno.ELOOP:
                raise
            os.unlink(self._part, dir_fd=self._folder)
            return self._open_once()

    def have(self, at_most: int) -> tuple[int, bytes]:
        """How many bytes are there, and their hash; what is more than ``at_most`` is of another file."""
        size = os.fstat(self._file.fileno()).st_size
        if size > at_most:
            return 0, self._hash.digest()
        hash_file(self._file, self._hash)
        return self._file.tell(), self._hash.digest()

    def begin(self, offset: int) -> None:
        """Write from here: where `have` ended, or from the beginning."""
        if offset != self._file.tell():
            self._file.seek(offset)
            self._hash = new_hash()
        self._file.truncate()

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]
        self._hash.update(data)

    def finish(self, digest: bytes, mode: int, mtime: int) -> None:
        """Compare the hash and take the place of the file.  Raises `CopyError` if it is wrong; nothing is kept then."""
        if self._hash.digest() != digest:
            os.unlink(self._part, dir_fd=self._folder)
            raise CopyError(f"{shown(self.name)}: what arrived has another hash than what was sent")
        os.fchmod(self._file.fileno(), mode & MODE_BITS)
        os.utime(self._file.fileno(), ns=(mtime, mtime))
        try:
            os.replace(self._part, self.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except IsADirectoryError:
            os.unlink(self._part, dir_fd=self._folder)
            raise OSError(errno.EISDIR, "there is a folder of that name") from None

    def close(self) -> None:
        """Without `finish`: keep what is there for the next time, unless that is nothing."""
        if not self._file.closed:
            found = os.fstat(self._file.fileno())
            if not found.st_size and _is(found, self._folder, self._part):
                os.unlink(self._part, dir_fd=self._folder)
            self._file.close()


def hash_file(file: IO[bytes], digest: hashlib.blake2b, size: int | None = None) -> None:
    """Add the rest of a file to a hash, or so many bytes of it, if it has them."""
    buffer = memoryview(bytearray(PIECE))
    while size is None or size > 0:
        count = file.readinto(buffer if size is None else buffer[:size])  # type: ignore[attr-defined]
        if not count:
            return
        digest.update(buffer[:count])
        size = None if size is None else size - count


def _is(found: os.stat_result, folder: int, name: bytes) -> bool:
    try:
        return os.path.samestat(found, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False
