"""What arrives, before it is complete: it grows next to what it will replace, and takes its place once it is right.

The next attempt has to find it, so its name can be foreseen, and others may have put something there: in /tmp anybody
may. What is not ours, or others could have written into, is left alone; then the copy grows under a name that nobody
can foresee, and the next attempt begins anew.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import chain, repeat
from typing import IO

from .messages import CopyError, new_hash
from .place import open_inner

SUFFIX = b".rexec-part"
STEM_MAX = 100
"""With what is added, it is shorter than any file system wants names to be; a longer name is hashed."""
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
ATTEMPTS = 10
"""To open something that others take away, or put there, at the same moment."""
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def part_name(name: bytes) -> bytes:
    """How the unfinished copy of an entry is called, so that the next attempt finds it."""
    return b"." + _stem(name) + SUFFIX


def secret_name(name: bytes) -> bytes:
    """How it is called so that nobody can foresee it; another one each time."""
    return b"." + _stem(name) + b"." + secrets.token_hex(8).encode() + SUFFIX


def is_part(name: bytes) -> bool:
    """Whether it is called as an unfinished copy is."""
    return name.startswith(b".") and name.endswith(SUFFIX)


def _stem(name: bytes) -> bytes:
    return name if len(name) <= STEM_MAX else new_hash(name).hexdigest().encode()


# --- files --------------------------------------------------------------------------------------


class Part:
    """The unfinished copy of a file, ours alone while it is open.

    Closed early, it stays, so that another attempt can go on from there. Blocking, for worker threads. Raises
    `OSError`, and `CopyError` when another copy writes the same file.
    """

    def __init__(self, folder: int, name: bytes, shown_as: str) -> None:
        self._folder = folder
        self.name = name
        self._shown = shown_as
        self._part = part_name(name)
        self._is_secret = False
        self.file = self._open()
        self.hash = new_hash()

    def _open(self) -> IO[bytes]:
        for _ in range(ATTEMPTS):
            with suppress(FileExistsError):
                if (file := self._claimed(NEW, found=False)) is not None:
                    return file
            with suppress(FileNotFoundError):
                try:
                    file = self._claimed(OLD, found=True)
                except OSError as exc:
                    if exc.errno not in (errno.ELOOP, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENXIO):
                        raise
                    break  # it is somebody else's, or no file
                if file is not None:
                    return file
        return self._open_secret()

    def _claimed(self, flags: int, found: bool) -> IO[bytes] | None:
        """The file under the name that can be foreseen, if that is ours now; else it is gone, or somebody else's."""
        with ExitStack() as stack:
            file = stack.enter_context(self._open_once(flags))
            about = os.fstat(file.fileno())
            is_ours = about.st_uid == os.geteuid()
            if found and not is_ours:
                raise PermissionError(errno.EPERM, "is somebody else's")
            if not is_ours or not self._lock(file):  # the file system does not tell; then nobody could go on from it
                self._unlink(file)
                return self._open_secret()
            if not _is(about, self._folder, self._part):  # it has become the file since we opened it
                return None
            if found and not _is_private(about):
                self._unlink(file)
                return None
            stack.pop_all()
            return file

    def _lock(self, file: IO[bytes]) -> bool:
        """Whether we have it for ourselves; False where the file system can't tell."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CopyError(f"{self._shown}: another copy writes it at this moment") from None
        except OSError as exc:
            if exc.errno not in NO_LOCKS:
                raise
            return False
        return True

    def _open_secret(self) -> IO[bytes]:
        self._part, self._is_secret = secret_name(self.name), True
        return self._open_once(NEW)

    def _open_once(self, flags: int) -> IO[bytes]:
        def opener(name: bytes, _: int) -> int:
            return os.open(name, flags, 0o600, dir_fd=self._folder)

        return open(self._part, "r+b", buffering=0, opener=opener)  # type: ignore[arg-type]

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def begin(self, offset: int) -> None:
        """Write from this offset on: the end of what was hashed, or the beginning."""
        if offset != self.file.tell():
            self.file.seek(offset)
            self.hash = new_hash()
        self.file.truncate()

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self.file.write(left) or 0 :]
        self.hash.update(data)

    def finish(self, digest: bytes, dress: Callable[[int], None]) -> None:
        """Compare the hash, have mode and time set by ``dress``, and take the place of the file.

        Raises `CopyError` if the hash is wrong; nothing is kept then.
        """
        if self.hash.digest() != digest:
            self._unlink(self.file)
            raise CopyError(f"{self._shown}: what arrived has another hash than what was sent")
        dress(self.file.fileno())
        if not _is(os.fstat(self.file.fileno()), self._folder, self._part):
            raise CopyError(f"{self._shown}: somebody has taken away what had arrived of it")
        try:
            os.replace(self._part, self.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as exc:
            self._unlink(self.file)
            if isinstance(exc, IsADirectoryError):
                raise OSError(errno.EISDIR, "there is a folder of that name") from None
            raise

    def close(self) -> None:
        """Without `finish`: keep what is there for the next time, unless that is nothing, or would not be found."""
        if not self.file.closed:
            with self.file:
                if self._is_secret or not self.size:
                    self._unlink(self.file)

    def _unlink(self, file: IO[bytes]) -> None:
        if _is(os.fstat(file.fileno()), self._folder, self._part):
            os.unlink(self._part, dir_fd=self._folder)


def _is(found: os.stat_result, folder: int, name: bytes) -> bool:
    try:
        return os.path.samestat(found, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _is_private(about: os.stat_result) -> bool:
    """Whether nobody else can have written into this file of ours, or can now."""
    return stat.S_ISREG(about.st_mode) and about.st_nlink == 1 and not about.st_mode & 0o022


# --- folders ------------------------------------------------------------------------------------


def open_part_folder(folder: int, name: bytes) -> tuple[bytes, int]:
    """Make the unfinished copy of a folder in a folder, or find it; returns its name, and a descriptor to own."""
    for part in chain([part_name(name)], map(secret_name, repeat(name))):
        made = True
        try:
            os.mkdir(part, 0o700, dir_fd=folder)
        except FileExistsError:
            made = False
        with ExitStack() as stack:
            try:
                inner = open_inner(folder, part)
            except OSError:
                if made:
                    raise
                continue
            stack.callback(os.close, inner)
            if _is_ours(inner, folder, made):
                stack.pop_all()
                return part, inner
        if made:
            raise PermissionError(errno.EPERM, "somebody else has put a folder there at this moment")
    raise AssertionError("there is always another name")


def _is_ours(inner: int, folder: int, made: bool) -> bool:
    """Whether we alone write into a folder that was opened after we made it, or that was there.

    Not every file system says that what we make is ours. Then it has to be of those who own the folder that it is in,
    or that folder lets nobody take away what others have made.
    """
    about, around = os.fstat(inner), os.fstat(folder)
    if about.st_uid == os.geteuid():
        return made or not about.st_mode & 0o022
    return made and (about.st_uid == around.st_uid or bool(around.st_mode & stat.S_ISVTX) or not around.st_mode & 0o022)
